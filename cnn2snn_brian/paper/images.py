"""The images of a reproduction: CIFAR-10, its classes in the order of the CNN."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnn2snn_brian.data import LabelledImages, load_data
from cnn2snn_brian.errors import InputError

__all__ = ["ALIASES", "Images", "with_classes"]

#: Other names of CIFAR-10's classes, as folders have them.
ALIASES = {"plane": "airplane", "aeroplane": "airplane", "car": "automobile"}


def with_classes(
    images: LabelledImages, classes: tuple[str, ...], where: str | Path
) -> LabelledImages:
    """
    Give the classes the numbers of the CNN's outputs of the same names.

    Parameters
    ----------
    images : LabelledImages
        Images whose classes have any order. ``plane`` is ``airplane``, ``car`` is
        ``automobile``; capital letters don't matter.
    classes : tuple of str
        Names of the CNN's outputs.
    where : str or path-like
        Where the images come from, for messages.

    Returns
    -------
    LabelledImages
        The same images, with labels that are indices into `classes`.

    Raises
    ------
    InputError
        If the classes are others.
    """
    lower = [name.lower() for name in images.classes]
    names = [ALIASES.get(name, name) for name in lower]
    if sorted(names) != sorted(classes):
        message = (
            f"{where}: the classes are {', '.join(images.classes)}, but the CNN has "
            f"{', '.join(classes)}. Rename the folders of the classes"
        )
        raise InputError(message)
    number = np.array([classes.index(name) for name in names], np.int64)
    return replace(images, labels=number[images.labels], classes=classes)


@dataclass(frozen=True)
class Images:
    """
    Training and test images.

    Attributes
    ----------
    training, test : LabelledImages
        The images.
    """

    training: LabelledImages
    test: LabelledImages

    @classmethod
    def load(
        cls,
        data: str | Path,
        classes: tuple[str, ...],
        n_test: int | None,
        seed: int,
    ) -> "Images":
        """
        Load them.

        Parameters
        ----------
        data : str or path-like
            As `load_data` takes it.
        classes : tuple of str
            Names of the CNN's outputs.
        n_test : int, optional
            Test images of each class, drawn at random; all by default.
        seed : int
            Seed of the draw.

        Returns
        -------
        Images
            The images.

        Raises
        ------
        InputError
            If they can't be loaded, a class has fewer than `n_test` images, or the
            classes are not the CNN's.
        """
        training, test = (
            with_classes(part, classes, data) for part in load_data(data, (3, 32, 32))
        )
        if n_test is not None:
            test = test.per_class(n_test, seed)
        return cls(training, test)

    def drawn(
        self, n: int, n_first: int, n_last: int, seed: int
    ) -> tuple[LabelledImages, LabelledImages]:
        """
        Draw training images.

        Parameters
        ----------
        n : int
            Images of each class that are drawn.
        n_first, n_last : int
            How many of those are in the first and in the second part.
        seed : int
            Seed of the draw.

        Returns
        -------
        first, last : LabelledImages
            The first and the last ones of each class.

        Raises
        ------
        InputError
            If a class has fewer than `n` images.
        """
        drawn = self.training.per_class(n, seed)
        rank = np.zeros(len(drawn), int)
        for label in range(len(drawn.classes)):
            members = drawn.labels == label
            rank[members] = np.arange(members.sum())
        return drawn[rank < n_first], drawn[rank >= n - n_last]

    def fingerprint(self) -> str:
        """
        Hash images and labels.

        Returns
        -------
        str
            16 hexadecimal digits.
        """
        digest = hashlib.sha256()
        for part in (self.training, self.test):
            digest.update(part.images.tobytes())
            digest.update(part.labels.tobytes())
        return digest.hexdigest()[:16]
