"""Train a CNN: flips and shifts, a one-cycle schedule, a checkpoint every epoch."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.progress import progress_bar

__all__ = ["TrainingSettings", "accuracy", "classify", "train"]


@dataclass(frozen=True)
class TrainingSettings:
    """
    How to train.

    Attributes
    ----------
    epochs : int
        Passes over the training pictures.
    optimizer : {"sgd", "adamw"}
        SGD has Nesterov momentum 0.9.
    learning_rate : float
        Peak of the one-cycle schedule [1]_.
    batch_size : int
        Pictures of one step.
    weight_decay : float
        Decay of the weights.
    flip : bool
        Mirror half of the pictures left to right.
    shift : int
        Shift each picture by up to this many pixels in both directions; what comes in
        at the border is black.
    label_smoothing : float
        Share of the target that is spread over all classes.
    distillation : float
        With a teacher: weight of its soft targets [2]_, the rest is the labels'.
    temperature : float
        With a teacher: what both CNNs' outputs are divided by before the softmax.
    clip_norm : float
        Largest norm of the gradient of a step; longer ones are shortened to it. It
        keeps a CNN without normalization layers from diverging at high rates.
    bfloat16 : bool
        Compute layers in bfloat16, twice as fast on processors that know it.
    seed : int
        Seed of the initial weights, the order of the pictures, flips and shifts.

    Raises
    ------
    InputError
        If a value is out of range.

    References
    ----------
    .. [1] Smith and Topin (2019), Super-convergence, doi:10.1117/12.2520589
    .. [2] Hinton, Vinyals and Dean (2015), Distilling the Knowledge in a Neural
       Network, doi:10.48550/arXiv.1503.02531
    """

    epochs: int = 40
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05
    batch_size: int = 128
    weight_decay: float = 5e-4
    flip: bool = False
    shift: int = 0
    label_smoothing: float = 0.0
    distillation: float = 0.9
    temperature: float = 4.0
    clip_norm: float = float("inf")
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adamw"):
            message = f"optimizer {self.optimizer!r}: expected 'sgd' or 'adamw'"
            raise InputError(message)
        for name, least in (
            ("epochs", 1),
            ("batch_size", 1),
            ("shift", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                message = f"{name} is {getattr(self, name)}, at least {least} is needed"
                raise InputError(message)
        for name in ("learning_rate", "temperature", "clip_norm"):
            if not getattr(self, name) > 0:
                message = f"{name} is {getattr(self, name)}, expected above 0"
                raise InputError(message)
        if not self.weight_decay >= 0:
            message = f"weight_decay is {self.weight_decay}, expected at least 0"
            raise InputError(message)
        for name in ("label_smoothing", "distillation"):
            if not 0 <= getattr(self, name) <= 1:
                message = f"{name} is {getattr(self, name)}, expected 0 to 1"
                raise InputError(message)


def _pixels(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Turn 8-bit pictures into the pixels in [0, 1] that a CNN sees."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).float() / 255
    # Twice as fast as torch's own order for these CNNs on a CPU.
    return pixels.contiguous(memory_format=torch.channels_last)


def _augmented(
    images: npt.NDArray[np.uint8], rng: np.random.Generator, settings: TrainingSettings
) -> npt.NDArray[np.uint8]:
    """Flip and shift a batch, each picture on its own."""
    n, _, height, width = images.shape
    if settings.flip:
        images = images.copy()
        mirrored = rng.random(n) < 0.5
        images[mirrored] = images[mirrored, :, :, ::-1]
    if settings.shift:
        border = settings.shift
        padded = np.pad(images, ((0, 0), (0, 0), (border, border), (border, border)))
        top = np.asarray(rng.integers(0, 2 * border + 1, size=n))
        left = np.asarray(rng.integers(0, 2 * border + 1, size=n))
        rows = (top[:, None] + np.arange(height))[:, None, :, None]
        columns = (left[:, None] + np.arange(width))[:, None, None, :]
        channels = np.arange(images.shape[1])[None, :, None, None]
        images = padded[np.arange(n)[:, None, None, None], channels, rows, columns]
    return images


def classify(
    module: nn.Module, images: npt.NDArray[np.uint8], batch_size: int = 500
) -> npt.NDArray[np.int64]:
    """
    Classify pictures with a CNN.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is put into evaluation mode.
    images : ndarray of uint8, shape (n_images, channels, height, width)
        The pictures.
    batch_size : int
        Pictures that are computed at once.

    Returns
    -------
    predictions : ndarray of int64, shape (n_images,)
        The class with the largest output.
    """
    module.eval()
    with torch.inference_mode():
        batches = [
            module(_pixels(images[start : start + batch_size])).argmax(1)
            for start in range(0, len(images), batch_size)
        ]
        return torch.cat(batches).numpy()


def accuracy(module: nn.Module, data: LabelledImages) -> float:
    """
    Share of pictures that a CNN classifies correctly.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is put into evaluation mode.
    data : LabelledImages
        Pictures and their classes.

    Returns
    -------
    float
        From 0 to 1.
    """
    return float((classify(module, data.images) == data.labels).mean())


def _loss(
    outputs: torch.Tensor,
    labels: torch.Tensor,
    taught: torch.Tensor | None,
    settings: TrainingSettings,
) -> torch.Tensor:
    by_label = F.cross_entropy(
        outputs, labels, label_smoothing=settings.label_smoothing
    )
    if taught is None:
        return by_label
    temperature = settings.temperature
    by_teacher = F.kl_div(
        F.log_softmax(outputs / temperature, dim=1),
        F.log_softmax(taught / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    share = settings.distillation
    # The gradient of soft targets shrinks with temperature**2 (section 2 of [2]).
    return (1 - share) * by_label + share * temperature**2 * by_teacher


def _restore(path: Path, expected: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        message = f"{path}: not a readable checkpoint: {error}"
        raise InputError(message) from error
    if not isinstance(state, dict) or "settings" not in state:
        message = f"{path}: not a checkpoint of a training"
        raise InputError(message)
    if state.get("settings") != expected:
        found = state.get("settings")
        message = f"{path}: made with other settings: {found} instead of {expected}"
        raise InputError(message)
    return state


@torch.random.fork_rng(devices=[])  # the caller's random numbers are left alone
def train(
    module: nn.Module,
    training: LabelledImages,
    settings: TrainingSettings | None = None,
    *,
    teacher: nn.Module | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> nn.Module:
    """
    Train a CNN.

    The same arguments give the same weights, also when a training is interrupted and
    resumed, as far as torch itself repeats its results on the machine at hand.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is trained in place, from weights that are drawn anew by
        ``reset_parameters`` of its layers.
    training : LabelledImages
        Pictures to train with.
    settings : TrainingSettings, optional
        How to train.
    teacher : nn.Module, optional
        A trained CNN whose outputs are soft targets.
    checkpoint : path-like, optional
        A file that is written after each epoch.
    resume : bool
        Whether to go on from `checkpoint`, if it exists.
    progress : bool
        Whether to show a progress bar with the loss and the accuracy on the
        (augmented) training pictures.

    Returns
    -------
    nn.Module
        `module`, trained, in evaluation mode.

    Raises
    ------
    InputError
        If there are no pictures, the checkpoint can't be read or was made with other
        settings, or the loss is no longer a finite number.
    """
    settings = settings or TrainingSettings()
    if not len(training):
        message = "there are no pictures to train with"
        raise InputError(message)
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and not path.absolute().parent.is_dir():
        message = f"{path}: the folder for the checkpoint does not exist"
        raise InputError(message)
    expected: dict[str, Any] = {
        **vars(settings),
        "n_training": len(training),
        "teacher": teacher is not None,
    }
    torch.manual_seed(settings.seed)
    for child in module.modules():
        reset = getattr(child, "reset_parameters", None)
        if callable(reset):
            reset()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if teacher is not None:
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher.eval()

    decay = settings.weight_decay
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            module.parameters(),
            settings.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=decay,
        )
    else:
        optimizer = torch.optim.AdamW(
            module.parameters(), settings.learning_rate, weight_decay=decay
        )
    steps_per_epoch = -(-len(training) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps_per_epoch * settings.epochs
    )

    first_epoch = 0
    if resume and path is not None and path.exists():
        state = _restore(path, expected)
        try:
            module.load_state_dict(state["module"])
        except RuntimeError as error:
            message = f"{path}: made with another CNN: {error}"
            raise InputError(message) from error
        torch.set_rng_state(state["random_state"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first_epoch = state["epochs"]

    total = steps_per_epoch * settings.epochs
    with progress_bar("training", total, show=progress) as advance:
        advance(first_epoch * steps_per_epoch, "resumed" if first_epoch else "")
        for epoch in range(first_epoch, settings.epochs):
            # A generator of its own for each epoch; the checkpoint has torch's state.
            rng = np.random.default_rng([settings.seed, epoch])
            module.train()
            seen, correct, loss_sum = 0, 0, 0.0
            order = rng.permutation(len(training))
            for start in range(0, len(training), settings.batch_size):
                batch = order[start : start + settings.batch_size]
                pixels = _pixels(_augmented(training.images[batch], rng, settings))
                labels = torch.from_numpy(training.labels[batch])
                with (
                    torch.autocast("cpu", dtype=torch.bfloat16)
                    if settings.bfloat16
                    else nullcontext()
                ):
                    outputs = module(pixels)
                    with torch.no_grad():
                        taught = None if teacher is None else teacher(pixels).float()
                loss = _loss(outputs.float(), labels, taught, settings)
                if not torch.isfinite(loss):
                    message = (
                        f"the loss is {loss.item()} in epoch {epoch + 1}; "
                        f"try a learning rate below {settings.learning_rate}"
                    )
                    raise InputError(message)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
                optimizer.step()
                schedule.step()
                seen += len(batch)
                loss_sum += loss.item() * len(batch)
                correct += int((outputs.argmax(1) == labels).sum())
                note = f"epoch {epoch + 1}/{settings.epochs}"
                note += f"  loss {loss_sum / seen:.3f}"
                note += f"  accuracy {100 * correct / seen:.1f} %"
                advance(1, note)
            if path is not None:
                with written_whole(path) as unfinished:
                    torch.save(
                        {
                            "settings": expected,
                            "epochs": epoch + 1,
                            "module": module.state_dict(),
                            "random_state": torch.get_rng_state(),
                            "optimizer": optimizer.state_dict(),
                            "schedule": schedule.state_dict(),
                        },
                        unfinished,
                    )
    module.eval()
    return module
