"""Images that thresholds are set on, and others to check the result on."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.settings import check_images


def _check_labels(
    labels: Any, n_images: int, n_classes: int, what: str
) -> npt.NDArray[np.int64]:
    truth = np.asarray(labels)
    if truth.shape != (n_images,) or not np.issubdtype(truth.dtype, np.integer):
        raise InputError(
            f"{what}: {n_images} images need as many whole numbers, found "
            f"{truth.dtype} of shape {truth.shape}"
        )
    if n_images and not (truth.min() >= 0 and truth.max() < n_classes):
        raise InputError(
            f"{what} are from {truth.min()} to {truth.max()}, expected 0 to "
            f"{n_classes - 1}: the network has {n_classes} outputs"
        )
    return truth.astype(np.int64)


def _category_index(
    category: int | str, classes: tuple[str, ...] | None, n: int
) -> int:
    if isinstance(category, str):
        if classes is None or category not in classes:
            known = "has no class names" if classes is None else f"has {classes}"
            raise InputError(f"category={category!r}: the network {known}")
        return classes.index(category)
    if not isinstance(category, int | np.integer) or not 0 <= category < n:
        raise InputError(
            f"category={category!r}: expected 0 to {n - 1}, or a class name"
        )
    return int(category)


@dataclass(frozen=True)
class TuningSet:
    """
    Images with their classes, mixed so that any first ones have all classes.

    Attributes
    ----------
    images : ndarray of float32, shape (n_images, channels, height, width)
        Pixels in [0, 1].
    labels : ndarray of int64, shape (n_images,)
        Their classes.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        network: SpikingNetwork,
        images: Any,
        labels: Any,
        category: int | str | None,
        seed: int,
        what: str = "labels",
    ) -> "TuningSet":
        """Check images and labels, take those of a category, and mix them."""
        n_classes = int(np.prod(network.layers[-1].shape))
        pixels = check_images(images, network.input_shape)
        truth = _check_labels(labels, len(pixels), n_classes, what)
        if category is not None:
            index = _category_index(category, network.classes, n_classes)
            pixels, truth = pixels[truth == index], truth[truth == index]
            if not len(truth):
                raise InputError(
                    f"category={category!r}: no image has this label in {what}"
                )
        return cls.mixed(pixels, truth, seed)

    @classmethod
    def mixed(
        cls, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], seed: int
    ) -> "TuningSet":
        """Shuffle images, and take the classes in turn."""
        order = np.random.default_rng(seed).permutation(len(labels))
        rank = np.empty(len(labels), int)
        for label in np.unique(labels):
            members = order[labels[order] == label]
            rank[members] = np.arange(len(members))
        mixed = np.lexsort((labels, rank))
        return cls(images[mixed], labels[mixed])

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, share: float) -> "tuple[TuningSet, TuningSet]":
        """Keep a share of every class apart."""
        apart = np.zeros(len(self), bool)
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            n_apart = max(int(share > 0), int(share * len(members)))
            apart[members[max(1, len(members) - n_apart) :]] = True
        return (
            TuningSet(self.images[~apart], self.labels[~apart]),
            TuningSet(self.images[apart], self.labels[apart]),
        )

    def fingerprint(self) -> str:
        """Hash images and labels."""
        return arrays_fingerprint(self.images, self.labels)


def arrays_fingerprint(*arrays: npt.NDArray[Any]) -> str:
    """Hash images, or images and labels."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def tuning_sets(
    network: SpikingNetwork,
    images: Any,
    labels: Any,
    *,
    held_out: Any,
    category: int | str | None,
    seed: int,
) -> tuple[TuningSet, TuningSet | None]:
    """Take images to tune on, and others to check the result on."""
    tuned = TuningSet.of(network, images, labels, category, seed)
    if isinstance(held_out, tuple) and len(held_out) == 2:
        what = "labels of held_out"
        return tuned, TuningSet.of(network, *held_out, category, seed, what)
    if not isinstance(held_out, int | float) or not 0 <= held_out < 1:
        raise InputError(
            f"held_out is {held_out!r}, expected a share from 0 to below 1, or "
            "(images, labels)"
        )
    tuned, unseen = tuned.split(held_out)
    return tuned, unseen if len(unseen) else None
