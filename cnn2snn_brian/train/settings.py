"""How to train: all numbers and choices of a training."""

from dataclasses import dataclass
from typing import Literal

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError

__all__ = ["TrainingSettings"]


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
        Seed of the initial weights, the order of the images, flips, shifts and cutouts.

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
    """

    epochs: int = 40
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05
    batch_size: int = 128
    weight_decay: float = 5e-4
    flip: bool = False
    shift: int = 0
    cutout: int = 0
    label_smoothing: float = 0.0
    distillation: float = 0.9
    temperature: float = 4.0
    clip_norm: float = float("inf")
    average: float = 0.0
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
            ("cutout", 0),
            ("seed", 0),
        ):
            check_whole(name, getattr(self, name), least)
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
        if not 0 <= self.average < 1:
            message = f"average is {self.average}, expected 0 or more, and below 1"
            raise InputError(message)
