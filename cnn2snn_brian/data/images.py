"""Labelled images, as 8-bit arrays in torch's order."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed


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
            raise InputError(
                "images have to be uint8 of shape (n, channels, height, width), "
                f"found {self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.shape != (len(self.images),):
            raise InputError(
                f"{len(self.images)} images, labels of shape {self.labels.shape}"
            )
        if len(self.labels) and not (
            self.labels.min() >= 0 and self.labels.max() < len(self.classes)
        ):
            raise InputError(f"labels have to be from 0 to {len(self.classes) - 1}")

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
            If a class has fewer than `n` images, or `n` or `seed` is not a whole
            number.
        """
        check_whole("n", n, 1)
        rng = np.random.default_rng(check_whole("seed", seed, 0))
        chosen = []
        for label, name in enumerate(self.classes):
            members = np.flatnonzero(self.labels == label)
            if len(members) < n:
                raise InputError(
                    f"class {name!r} has {len(members)} images, {n} were asked"
                )
            chosen.append(rng.choice(members, size=n, replace=False))
        return self[np.sort(np.concatenate(chosen))]

    def drawn(self, n: int, seed: int) -> "LabelledImages":
        """
        Draw images at random, of whatever class.

        Parameters
        ----------
        n : int
            Number of images.
        seed : int
            Seed of the draw.

        Returns
        -------
        LabelledImages
            The drawn images, in the order of this set.

        Raises
        ------
        InputError
            If there are fewer than `n` images, or `n` or `seed` is not a whole number.
        """
        if check_whole("n", n, 1) > len(self):
            raise InputError(f"n is {n}; there are {len(self)} images")
        rng = np.random.default_rng(check_whole("seed", seed, 0))
        return self[np.sort(rng.choice(len(self), n, replace=False))]

    def with_classes(self, classes: tuple[str, ...]) -> "LabelledImages":
        """
        Give the classes other numbers, such as those of a network's outputs.

        Parameters
        ----------
        classes : tuple of str
            Names in the order of the numbers; the classes of this set are among them.

        Returns
        -------
        LabelledImages
            The same images.

        Raises
        ------
        InputError
            If a class is not one of `classes`.
        """
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise InputError(
                f"the network has no class {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(classes)}"
            )
        number = np.array([classes.index(name) for name in self.classes], np.int64)
        return LabelledImages(self.images, number[self.labels], classes)


#: Share of a folder without ``train`` and ``test`` that is kept for testing.
TEST_SHARE = 0.1
#: Digests are numbers below this one.
DIGEST_END = 2**64
#: Tag of a TIFF.
BITS_PER_SAMPLE = 258


def load_folder(
    directory: str | Path, input_shape: tuple[int, ...] | None = None
) -> LabelledImages:
    """
    Load a folder of class folders (torchvision's ``ImageFolder``).

    Parameters
    ----------
    directory : path-like
        Every folder in it is a class, the files in that are its images.
    input_shape : tuple of int, optional
        (channels, height, width) to convert the images to: 1 channel is grey, 3 are
        RGB, another height or width is scaled. Without it, the images are read as
        RGB and must all have one size. Of 16 bits the upper 8 are kept.

    Returns
    -------
    LabelledImages
        All images, ordered by class and file name.

    Raises
    ------
    InputError
        If the folder is missing or empty, the images differ in size, or one can't be
        read or has other numbers than those of 8 or 16 bits.
    """
    folder = _opened(directory, input_shape)
    return _read(folder, range(len(folder)))


def split_folder(
    directory: Path,
    input_shape: tuple[int, ...] | None,
    parts: Sequence[str],
) -> list[LabelledImages]:
    """Load what trains of a folder of class folders, or what is kept for testing."""
    folder = _opened(directory, input_shape)
    kept = _kept_for_testing(folder)
    chosen = [np.flatnonzero(kept == (part == "test")) for part in parts]
    if not all(map(len, chosen)):
        raise InputError(
            f"{directory}: no class has two different images, so that none can be kept "
            "for testing"
        )
    return [_read(folder, indices) for indices in chosen]


def _opened(directory: str | Path, input_shape: tuple[int, ...] | None) -> Any:
    """List a folder as torchvision does; items are decoded when they are asked for."""
    from torchvision.datasets import ImageFolder

    if input_shape is not None and input_shape[0] not in (1, 3):
        raise InputError(f"an image has 1 or 3 channels, {input_shape[0]} were asked")
    try:
        return ImageFolder(directory, loader=partial(_decoded, input_shape=input_shape))
    except OSError as error:
        raise InputError(
            f"{directory}: not a folder of class folders with images: {error}"
        ) from error


def _read(folder: Any, indices: Iterable[int]) -> LabelledImages:
    items = [folder[index] for index in indices]
    images = [image for image, _ in items]
    n_shapes = len({image.shape for image in images})
    if n_shapes > 1:
        raise InputError(
            f"{folder.root}: the images have {n_shapes} different sizes; give one size "
            "to scale them to"
        )
    labels = np.array([label for _, label in items], np.int64)
    return LabelledImages(np.stack(images), labels, tuple(folder.classes))


def _decoded(path: str, input_shape: tuple[int, ...] | None) -> npt.NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            channels, *size = input_shape or (3, image.height, image.width)
            converted = _of_8_bits(image).convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable image: {error}") from error
    scaled = converted.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(scaled)).transpose(2, 0, 1)


def _of_8_bits(image: Any) -> Any:
    """Keep the upper 8 bits of a grey image that has more; Pillow would clip it."""
    from PIL import Image

    # "I" is what Pillow has no narrower mode for, in formats of at most 16 bits.
    in_16_bits = image.mode == "I" and image.format in ("PNG", "PPM")
    if in_16_bits or image.mode.startswith("I;16"):
        (bits,) = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
        return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit whole" if image.mode == "I" else "floating-point"
        raise ValueError(
            f"it has {kind} numbers, which do not say what is white; save it with 8 or "
            "16 bits, or give an array of numbers between 0 and 1"
        )
    return image


def _digest(path: str) -> int:
    """Hash what is in a file to a number that is uniform below `DIGEST_END`."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not a readable image: {error}") from error
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def _kept_for_testing(folder: Any) -> npt.NDArray[np.bool_]:
    """Say of each file whether it is kept for testing."""
    digests = [(_digest(path), label) for path, label in folder.samples]
    kept: set[int] = set()
    for label in range(len(folder.classes)):
        of_class = sorted({digest for digest, its in digests if its == label})
        below = sum(digest < TEST_SHARE * DIGEST_END for digest in of_class)
        # At least one is kept, and one is left.
        kept.update(of_class[: min(max(below, 1), len(of_class) - 1)])
    return np.array([digest in kept for digest, _ in digests])
