"""Labelled images, as 8-bit arrays in torch's order."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
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
            If a class has fewer than `n` images, or `n` or `seed` is no whole number.
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


#: Share of a folder without ``train`` and ``test`` that is kept for testing.
TEST_SHARE = 0.1
#: Digests are numbers below this one.
DIGEST_END = 2**64
#: Tag of a TIFF.
BITS_PER_SAMPLE = 258


def load_folder(
    directory: str | Path, input_shape: tuple[int, int, int] | None = None
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
    directory = Path(directory)
    _check_channels(input_shape)
    files, labels, classes = _listed(directory)
    return _read(directory, files, labels, classes, input_shape)


def split_folder(
    directory: Path,
    input_shape: tuple[int, int, int] | None,
    parts: Sequence[str],
) -> list[LabelledImages]:
    """Load parts of a folder of class folders: for training, and for testing."""
    _check_channels(input_shape)
    files, labels, classes = _listed(directory)
    kept = _kept_for_testing(files, labels)
    loaded = []
    for part in parts:
        chosen = np.flatnonzero(kept == (part == "test"))
        if not len(chosen):
            raise InputError(
                f"{directory}: no class has two different images, so that none can be "
                "kept for testing"
            )
        of_part = [files[index] for index in chosen]
        loaded.append(_read(directory, of_part, labels[chosen], classes, input_shape))
    return loaded


def class_names(directory: Path) -> tuple[str, ...]:
    """Say which classes a folder has, without reading an image."""
    return tuple(sorted(path.name for path in directory.iterdir() if path.is_dir()))


def _check_channels(input_shape: tuple[int, int, int] | None) -> None:
    if input_shape is not None and input_shape[0] not in (1, 3):
        raise InputError(f"an image has 1 or 3 channels, {input_shape[0]} were asked")


def _listed(
    directory: Path,
) -> tuple[list[Path], npt.NDArray[np.int64], tuple[str, ...]]:
    """List files, their labels, and the names of the classes."""
    from torchvision.datasets import ImageFolder

    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such folder")
    try:
        folder = ImageFolder(str(directory))
    except FileNotFoundError as error:
        raise InputError(
            f"{directory}: not a folder of class folders with images: {error}"
        ) from error
    files = [Path(path) for path, _ in folder.samples]
    return files, np.asarray(folder.targets, np.int64), tuple(folder.classes)


def _read(
    directory: Path,
    files: Sequence[Path],
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    input_shape: tuple[int, int, int] | None,
) -> LabelledImages:
    arrays = [_decoded(path, input_shape) for path in files]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(
            f"{directory}: the images have {len(shapes)} different sizes; "
            "give one size to scale them to"
        )
    return LabelledImages(np.stack(arrays), labels, classes)


def _decoded(
    path: Path, input_shape: tuple[int, int, int] | None
) -> npt.NDArray[np.uint8]:
    from PIL import Image

    mode = "L" if input_shape is not None and input_shape[0] == 1 else "RGB"
    try:
        with Image.open(path) as image:
            converted = _of_8_bits(image).convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable image: {error}") from error
    if input_shape is not None:
        size = input_shape[2], input_shape[1]
        if converted.size != size:
            converted = converted.resize(size, Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(converted)).transpose(2, 0, 1)


def _of_8_bits(image: Any) -> Any:
    """Keep the upper 8 bits of a grey image that has more; Pillow would clip it."""
    from PIL import Image

    is_16_bit = image.mode.startswith("I;16")
    # What Pillow has no narrower mode for, in formats that have at most 16 bits.
    is_16_bit |= image.mode == "I" and image.format in ("PNG", "PPM")
    if is_16_bit:
        (bits,) = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
        return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit whole" if image.mode == "I" else "floating-point"
        raise ValueError(
            f"it has {kind} numbers, which do not say what is white; save it with 8 or "
            "16 bits, or give an array of numbers between 0 and 1"
        )
    return image


def _digest(path: Path) -> int:
    """Hash what is in a file to a number that is uniform below `DIGEST_END`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not a readable image: {error}") from error
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def _kept_for_testing(
    files: Sequence[Path], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Say of each file whether it is kept for testing."""
    digests = [_digest(path) for path in files]
    kept: set[int] = set()
    for label in np.unique(labels):
        of_class = sorted({digests[index] for index in np.flatnonzero(labels == label)})
        if len(of_class) < 2:
            continue
        below = sum(digest < TEST_SHARE * DIGEST_END for digest in of_class)
        kept.update(of_class[: min(max(below, 1), len(of_class) - 1)])
    return np.array([digest in kept for digest in digests])
