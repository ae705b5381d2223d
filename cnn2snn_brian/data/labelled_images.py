"""Labelled images, as 8-bit arrays in torch's order."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed

__all__ = ["LabelledImages"]


@dataclass(frozen=True)
class LabelledImages(Printed):
    """
    Images and their classes.

    Attributes
    ----------
    images : ndarray of uint8, shape (n_images, channels, height, width)
        Intensities, 255 is brightest.
    labels : ndarray of int64, shape (n_images,)
        Index into `classes`.
    classes : tuple of str
        Names of the classes.

    Raises
    ------
    InputError
        If the shapes don't fit each other, or a label is out of range.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            message = (
                "images have to be uint8 of shape (n, channels, height, width), "
                f"found {self.images.dtype} of shape {self.images.shape}"
            )
            raise InputError(message)
        if self.labels.shape != (len(self.images),):
            message = f"{len(self.images)} images, labels of shape {self.labels.shape}"
            raise InputError(message)
        if len(self.labels) and not (
            self.labels.min() >= 0 and self.labels.max() < len(self.classes)
        ):
            message = f"labels have to be from 0 to {len(self.classes) - 1}"
            raise InputError(message)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(
        self, index: slice | npt.NDArray[np.intp] | npt.NDArray[np.bool_]
    ) -> "LabelledImages":
        return LabelledImages(self.images[index], self.labels[index], self.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one image, (channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def per_class(self, n: int, seed: int) -> "LabelledImages":
        """
        Draw images at random, equally many of every class.

        Parameters
        ----------
        n : int
            Number of images of a class.
        seed : int
            Seed of the draw.

        Returns
        -------
        LabelledImages
            The drawn images, in the order of this set.

        Raises
        ------
        InputError
            If a class has fewer than `n` images, or `n` or `seed` is no whole number.
        """
        check_whole("n", n, 1)
        rng = np.random.default_rng(check_whole("seed", seed, 0))
        chosen = []
        for label, name in enumerate(self.classes):
            members = np.flatnonzero(self.labels == label)
            if len(members) < n:
                message = f"class {name!r} has {len(members)} images, {n} were asked"
                raise InputError(message)
            chosen.append(rng.choice(members, size=n, replace=False))
        return self[np.sort(np.concatenate(chosen))]
