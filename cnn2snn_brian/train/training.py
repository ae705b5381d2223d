"""Train a CNN: augmented images, a one-cycle schedule, a checkpoint every epoch."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.data.labelled_images import LabelledImages
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_from_memory
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.train.pixels import augmented, to_pixels
from cnn2snn_brian.train.settings import TrainingSettings

__all__ = ["train"]


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


class _Training:
    """What an epoch changes: the CNN, its optimizer, the schedule. Goes to a file."""

    def __init__(
        self, module: nn.Module, settings: TrainingSettings, steps_per_epoch: int
    ) -> None:
        self.module, self.settings = module, settings
        rate, decay = settings.learning_rate, settings.weight_decay
        self.optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(
                module.parameters(),
                rate,
                momentum=0.9,
                nesterov=True,
                weight_decay=decay,
            )
        else:
            self.optimizer = torch.optim.AdamW(
                module.parameters(), rate, weight_decay=decay
            )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=steps_per_epoch * settings.epochs
        )
        self.average: AveragedModel | None = None
        if settings.average:
            self.average = AveragedModel(
                module,
                multi_avg_fn=get_ema_multi_avg_fn(settings.average),
                use_buffers=True,
            )

    def step(self, loss: torch.Tensor) -> None:
        """Change the weights."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.module)

    def finish(self) -> None:
        """Give the CNN the mean of its weights, if one is kept."""
        if self.average is not None:
            self.module.load_state_dict(self.average.module.state_dict())

    def save(self, path: Path, made_with: dict[str, Any], epochs: int) -> None:
        """Write all that `restore` needs."""
        with written_from_memory(path) as image:
            torch.save(
                {
                    "settings": made_with,
                    "epochs": epochs,
                    "module": self.module.state_dict(),
                    "random_state": torch.get_rng_state(),
                    "optimizer": self.optimizer.state_dict(),
                    "schedule": self.schedule.state_dict(),
                    "average": (
                        None if self.average is None else self.average.state_dict()
                    ),
                },
                image,
            )

    def restore(self, path: Path, made_with: dict[str, Any]) -> int:
        """Read what `save` wrote, and return the number of epochs that are done."""
        state = _checkpoint(path, made_with)
        try:
            self.module.load_state_dict(state["module"])
        except RuntimeError as error:
            message = f"{path}: made with another CNN: {error}"
            raise InputError(message) from error
        torch.set_rng_state(state["random_state"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        return int(state["epochs"])


def _checkpoint(path: Path, made_with: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        message = f"{path}: not a readable checkpoint: {error}"
        raise InputError(message) from error
    if not isinstance(state, dict) or "settings" not in state:
        message = f"{path}: not a checkpoint of a training"
        raise InputError(message)
    found = state["settings"]
    if found != made_with:
        message = f"{path}: made with other settings: {found} instead of {made_with}"
        raise InputError(message)
    return state


def _outputs(
    module: nn.Module,
    teacher: nn.Module | None,
    pixels: torch.Tensor,
    settings: TrainingSettings,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Compute the outputs of a CNN, and of its teacher."""
    with (
        torch.autocast("cpu", dtype=torch.bfloat16)
        if settings.bfloat16
        else nullcontext()
    ):
        outputs = module(pixels)
        with torch.no_grad():
            taught = None if teacher is None else teacher(pixels).float()
    return outputs.float(), taught


def _epoch(
    work: _Training,
    epoch: int,
    data: LabelledImages,
    teacher: nn.Module | None,
    advance: Callable[..., None],
) -> None:
    """Show a CNN all images once, and change its weights."""
    settings = work.settings
    # A generator of its own for each epoch; the checkpoint has torch's state.
    rng = np.random.default_rng([settings.seed, epoch])
    work.module.train()
    seen, correct, loss_sum = 0, 0, 0.0
    order = rng.permutation(len(data))
    for start in range(0, len(data), settings.batch_size):
        batch = order[start : start + settings.batch_size]
        pixels = to_pixels(augmented(data.images[batch], rng, settings))
        labels = torch.from_numpy(data.labels[batch])
        outputs, taught = _outputs(work.module, teacher, pixels, settings)
        loss = _loss(outputs, labels, taught, settings)
        if not torch.isfinite(loss):
            message = (
                f"the loss is {loss.item()} in epoch {epoch + 1}; "
                f"try a learning rate below {settings.learning_rate}"
            )
            raise InputError(message)
        work.step(loss)
        seen += len(batch)
        loss_sum += loss.item() * len(batch)
        correct += int((outputs.argmax(1) == labels).sum())
        note = f"epoch {epoch + 1}/{settings.epochs}"
        note += f"  loss {loss_sum / seen:.3f}"
        note += f"  accuracy {100 * correct / seen:.1f} %"
        advance(1, note)


def _reset(module: nn.Module) -> None:
    """Draw all weights anew."""
    for child in module.modules():
        reset = getattr(child, "reset_parameters", None)
        if callable(reset):
            reset()


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
        A trained CNN whose outputs are soft targets.
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
        message = "there are no images to train with"
        raise InputError(message)
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and not path.absolute().parent.is_dir():
        message = f"{path}: the folder for the checkpoint does not exist"
        raise InputError(message)
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
    if fresh:
        _reset(module)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if teacher is not None:
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher.eval()
    steps_per_epoch = -(-len(training) // settings.batch_size)
    work = _Training(module, settings, steps_per_epoch)
    done = 0
    if resume and path is not None and path.exists():
        done = work.restore(path, made_with)
    total = steps_per_epoch * settings.epochs
    with progress_bar("training", total, show=progress) as advance:
        advance(done * steps_per_epoch, "resumed" if done else "")
        for epoch in range(done, settings.epochs):
            _epoch(work, epoch, training, teacher, advance)
            if path is not None:
                work.save(path, made_with, epoch + 1)
    work.finish()
    module.eval()
    return module
