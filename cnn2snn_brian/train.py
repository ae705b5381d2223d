"""Train a CNN: augmented images, a one-cycle schedule, a checkpoint every epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cnn2snn_brian.checkpoint import say_kept
from cnn2snn_brian.checks import check_choice, check_number, check_whole
from cnn2snn_brian.cnn import ClipFloorShift
from cnn2snn_brian.data import LabelledImages
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import check_folder, damage, written_from_memory
from cnn2snn_brian.progress import Advance, progress_bar

__all__ = ["MeanOutputs", "TrainingSettings", "accuracy", "classify", "train"]


@dataclass(frozen=True)
class TrainingSettings:
    """
    How to train.

    Attributes
    ----------
    epochs : int
        Passes over the training images.
    optimizer : {"sgd", "adamw"}
        SGD has Nesterov momentum 0.9.
    learning_rate : float
        Peak of the one-cycle schedule [1]_.
    batch_size : int
        Images of one step.
    weight_decay : float
        Decay of the weights.
    flip : bool
        Mirror half of the images left to right.
    shift : int
        Shift each image by up to this many pixels in both directions; what comes in
        at the border is black.
    cutout : int
        Side of a square of each image, around a random place, that is set to
        mid-grey [3]_; 0 leaves them whole.
    trivial_augment : bool
        Change each image by one operation, drawn with its strength: TrivialAugment
        [4]_, torchvision's ``TrivialAugmentWide``. For grey and colour images.
    label_smoothing : float
        Share of the target that is spread over all classes.
    distillation : float
        With a teacher: weight of its soft targets [2]_, the rest is the labels'.
    temperature : float
        With a teacher: what both CNNs' outputs are divided by before the softmax.
    clip_norm : float
        Largest norm of the gradient of a step; longer ones are shortened to it. It
        keeps a CNN without normalization layers from diverging at high rates.
    average : float
        Decay, in each step, of a running mean of the weights, which is what is kept in
        the end (0.999 remembers the last thousand steps); 0 keeps the last weights.
        The statistics of BatchNorm are averaged with them.
    bfloat16 : bool
        Compute layers in bfloat16, twice as fast on processors that know it.
    seed : int
        Seed of the initial weights, the order of the images and their changes.

    Raises
    ------
    InputError
        If a value is out of range.

    References
    ----------
    .. [1] Smith and Topin (2019), Super-convergence, doi:10.1117/12.2520589
    .. [2] Hinton, Vinyals and Dean (2015), Distilling the Knowledge in a Neural
       Network, doi:10.48550/arXiv.1503.02531
    .. [3] DeVries and Taylor (2017), Improved Regularization of Convolutional Neural
       Networks with Cutout, doi:10.48550/arXiv.1708.04552
    .. [4] Müller and Hutter (2021), TrivialAugment: Tuning-free Yet State-of-the-Art
       Data Augmentation, doi:10.1109/ICCV48922.2021.00081
    """

    epochs: int = 40
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05
    batch_size: int = 128
    weight_decay: float = 5e-4
    flip: bool = False
    shift: int = 0
    cutout: int = 0
    trivial_augment: bool = False
    label_smoothing: float = 0.0
    distillation: float = 0.9
    temperature: float = 4.0
    clip_norm: float = math.inf
    average: float = 0.0
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, ("sgd", "adamw"))
        least = {"epochs": 1, "batch_size": 1, "shift": 0, "cutout": 0, "seed": 0}
        for name, smallest in least.items():
            check_whole(name, getattr(self, name), smallest)
        check_number("learning_rate", self.learning_rate, above=0)
        check_number("temperature", self.temperature, above=0)
        check_number("weight_decay", self.weight_decay, 0)
        check_number("label_smoothing", self.label_smoothing, 0, 1)
        check_number("distillation", self.distillation, 0, 1)
        check_number("average", self.average, 0, below=1)
        if self.clip_norm != math.inf:
            check_number("clip_norm", self.clip_norm, above=0)


def to_pixels(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Turn 8-bit images into the pixels that a CNN sees."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).float() / 255
    # Twice as fast as torch's own order for these CNNs on a CPU.
    return pixels.contiguous(memory_format=torch.channels_last)


def augmented(
    images: npt.NDArray[np.uint8], rng: np.random.Generator, settings: TrainingSettings
) -> npt.NDArray[np.uint8]:
    """Flip, shift, change and cut a batch, each image on its own."""
    n, channels, height, width = images.shape
    if settings.flip:
        mirrored = rng.random((n, 1, 1, 1)) < 0.5
        images = np.where(mirrored, images[..., ::-1], images)
    if settings.shift:
        around = 2 * (settings.shift,)
        padded = np.pad(images, ((0, 0), (0, 0), around, around))
        windows = sliding_window_view(padded, (1, channels, height, width))
        top, left = rng.integers(0, 2 * settings.shift + 1, size=(2, n))
        images = windows[np.arange(n), 0, top, left, 0]
    if settings.trivial_augment:
        from torchvision.transforms.v2 import TrivialAugmentWide

        # It draws from torch's generator, whose state is in the checkpoint.
        changed = map(TrivialAugmentWide(), torch.tensor(images))
        images = torch.stack(list(changed)).numpy()
    if side := settings.cutout:
        # At the border part of the square is outside.
        rows = np.arange(height) - rng.integers(0, height, size=(n, 1)) + side // 2
        columns = np.arange(width) - rng.integers(0, width, size=(n, 1)) + side // 2
        in_rows, in_columns = ((at >= 0) & (at < side) for at in (rows, columns))
        cut = in_rows[:, None, :, None] & in_columns[:, None, None, :]
        images = np.where(cut, np.uint8(128), images)
    return images


def classify(
    module: nn.Module, images: npt.NDArray[np.uint8], batch_size: int = 500
) -> npt.NDArray[np.int64]:
    """
    Classify images with a CNN.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is put into evaluation mode.
    images : ndarray of uint8, shape (n_images, channels, height, width)
        The images.
    batch_size : int
        Images that are computed at once.

    Returns
    -------
    predictions : ndarray of int64, shape (n_images,)
        The class with the largest output.
    """
    module.eval()
    with torch.inference_mode():
        batches = [
            module(to_pixels(images[start : start + batch_size])).argmax(1)
            for start in range(0, len(images), batch_size)
        ]
        return torch.cat(batches).numpy()


def accuracy(module: nn.Module, data: LabelledImages) -> float:
    """
    Share of images that a CNN classifies correctly.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is put into evaluation mode.
    data : LabelledImages
        Images and their classes.

    Returns
    -------
    float
        From 0 to 1.
    """
    return float((classify(module, data.images) == data.labels).mean())


class MeanOutputs(nn.ModuleList):
    """Several CNNs as one, for instance as a teacher: the mean of their outputs."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the mean."""
        return torch.stack([module(pixels) for module in self]).mean(0)


@dataclass
class _Training:
    """A CNN with all that changes it, and what of it goes to a file."""

    module: nn.Module
    data: LabelledImages
    settings: TrainingSettings
    teacher: nn.Module | None

    def __post_init__(self) -> None:
        module, settings = self.module, self.settings
        self.steps_per_epoch = -(-len(self.data) // settings.batch_size)
        rate, decay = settings.learning_rate, settings.weight_decay
        make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
        if settings.optimizer == "sgd":
            make = partial(torch.optim.SGD, momentum=0.9, nesterov=True)
        self.optimizer = make(module.parameters(), lr=rate, weight_decay=decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=self.steps_per_epoch * settings.epochs
        )
        self.average: AveragedModel | None = None
        if settings.average:
            mean = get_ema_multi_avg_fn(settings.average)
            self.average = AveragedModel(module, multi_avg_fn=mean, use_buffers=True)
        #: Everything that has a state, by its name in a checkpoint.
        self.parts: dict[str, Any] = {
            "module": module,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "average": self.average,
        }

    def loss(
        self, pixels: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss of a batch, and the outputs."""
        settings, taught = self.settings, None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings.bfloat16):
            outputs = self.module(pixels).float()
            if self.teacher is not None:
                with torch.no_grad():
                    taught = self.teacher(pixels).float()
        smoothing = settings.label_smoothing
        by_label = F.cross_entropy(outputs, labels, label_smoothing=smoothing)
        if taught is None:
            return by_label, outputs
        temperature, share = settings.temperature, settings.distillation
        by_teacher = F.kl_div(
            F.log_softmax(outputs / temperature, dim=1),
            F.log_softmax(taught / temperature, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        # The gradient of soft targets shrinks with temperature**2 (section 2 of [2]).
        loss = (1 - share) * by_label + share * temperature**2 * by_teacher
        return loss, outputs

    def epoch(self, number: int, advance: Advance) -> None:
        """Show all images once, and change the weights."""
        settings = self.settings
        # Each epoch has a generator; the checkpoint has torch's state.
        rng = np.random.default_rng([settings.seed, number])
        self.module.train()
        seen, correct, loss_sum = 0, 0, 0.0
        order = rng.permutation(len(self.data))
        for start in range(0, len(order), settings.batch_size):
            batch = order[start : start + settings.batch_size]
            pixels = to_pixels(augmented(self.data.images[batch], rng, settings))
            labels = torch.from_numpy(self.data.labels[batch])
            loss, outputs = self.loss(pixels, labels)
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss is {loss.item()} in epoch {number + 1}; "
                    f"try a learning rate below {settings.learning_rate}"
                )
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), settings.clip_norm)
            self.optimizer.step()
            self.schedule.step()
            if self.average is not None:
                self.average.update_parameters(self.module)
            seen += len(batch)
            loss_sum += loss.item() * len(batch)
            correct += int((outputs.argmax(1) == labels).sum())
            note = f"epoch {number + 1}/{settings.epochs}  loss {loss_sum / seen:.3f}"
            advance(1, f"{note}  accuracy {100 * correct / seen:.1f} %")

    def save(self, path: Path, made_with: dict[str, Any], epochs: int) -> None:
        """Write all that `restore` needs."""
        state = {"settings": made_with, "epochs": epochs}
        state["random_state"] = torch.get_rng_state()
        for name, part in self.parts.items():
            state[name] = None if part is None else part.state_dict()
        with written_from_memory(path) as image:
            torch.save(state, image)

    def restore(self, path: Path, made_with: dict[str, Any]) -> int:
        """Read what `save` wrote, and return the number of epochs that are done."""
        with damage(f"{path}: not a readable checkpoint"):
            # PyTorch does not look at the checksums that it writes.
            with ZipFile(path) as file:
                if file.testzip() is not None:
                    raise ValueError("a checksum is wrong")
            state: Any = torch.load(path, weights_only=True)
        if not isinstance(state, dict) or "settings" not in state:
            raise InputError(f"{path}: not a checkpoint of a training")
        found = state["settings"]
        if found != made_with:
            raise InputError(
                f"{path}: made with other settings: {found} instead of {made_with}"
            )
        with damage(f"{path}: made with another CNN"):
            for name, part in self.parts.items():
                if part is not None:
                    part.load_state_dict(state[name])
        torch.set_rng_state(state["random_state"])
        return int(state["epochs"])


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
    fresh: bool = True,
) -> nn.Module:
    """
    Train a CNN.

    The same arguments give the same weights, also when a training is interrupted and
    resumed, as far as torch itself repeats its results on the machine at hand.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is trained in place.
    training : LabelledImages
        Images to train with.
    settings : TrainingSettings, optional
        How to train.
    teacher : nn.Module, optional
        A trained CNN whose outputs are soft targets; see `MeanOutputs` for several.
    checkpoint : path-like, optional
        A file that is written after each epoch.
    resume : bool
        Whether to go on from `checkpoint`, if it exists.
    progress : bool
        Whether to show a progress bar with the loss and the accuracy on the
        (augmented) training images.
    fresh : bool
        Whether the training starts from weights that are drawn anew, by
        ``reset_parameters`` of the layers. False goes on from those that the CNN has:
        fine-tuning.

    Returns
    -------
    nn.Module
        `module`, trained, in evaluation mode.

    Raises
    ------
    InputError
        If there are no images, the checkpoint can't be read or was made with other
        settings, or the loss is no longer a finite number.
    """
    settings = settings or TrainingSettings()
    if not len(training):
        raise InputError("there are no images to train with")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None:
        check_folder(path)
    made_with: dict[str, Any] = {
        **vars(settings),
        "n_training": len(training),
        "teacher": teacher is not None,
    }
    # Only where they differ from the default: older checkpoints don't have them.
    if not fresh:
        made_with["fresh"] = False
    steps = [m.steps for m in module.modules() if isinstance(m, ClipFloorShift)]
    if steps:
        made_with["quantized_steps"] = steps
    torch.manual_seed(settings.seed)
    for child in module.modules() if fresh else ():
        if callable(reset := getattr(child, "reset_parameters", None)):
            reset()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if teacher is not None:
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher.eval()
    work = _Training(module, training, settings, teacher)
    done = 0
    if resume and path is not None and path.exists():
        done = work.restore(path, made_with)
    total = work.steps_per_epoch * settings.epochs
    try:
        with progress_bar("training", total, show=progress) as advance:
            advance(done * work.steps_per_epoch, "resumed" if done else "")
            for epoch in range(done, settings.epochs):
                work.epoch(epoch, advance)
                if path is not None:
                    work.save(path, made_with, epoch + 1)
    except KeyboardInterrupt as error:
        if path is not None and path.exists():
            say_kept(error, "this training", path, "Train with resume (--resume)")
        raise
    if work.average is not None:
        module.load_state_dict(work.average.module.state_dict())
    module.eval()
    return module
