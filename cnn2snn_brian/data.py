"""
Labelled images: scikit-learn's digits, CIFAR-10, or a folder of class folders.

All of them arrive as 8-bit images in torch's order, (n, channels, height, width).
"""

import hashlib
import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_known, check_shape, check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed

__all__ = [
    "LabelledImages",
    "is_split",
    "load_cifar10",
    "load_data",
    "load_digits",
    "load_folder",
    "load_test_images",
    "load_test_pictures",
    "load_training_images",
]

logger = logging.getLogger(__name__)

#: Names that stand for a data set.
DATA_SETS = ("digits", "cifar10")
#: Where CIFAR-10 is downloaded to.
CIFAR10_FOLDER = "cifar10-data"
PARTS = ("train", "test")
#: How many of the 1,797 digits are kept for testing.
N_TEST_DIGITS = 500
#: Share of a folder without ``train`` and ``test`` that is kept for testing.
TEST_SHARE = 0.1
#: Digests are numbers below this one.
DIGEST_END = 2**64
#: Tag of a TIFF.
BITS_PER_SAMPLE = 258


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
        check_shape("labels of images", self.labels, len(self.images))
        if not np.isin(self.labels, np.arange(len(self.classes))).all():
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
            if (has := len(members)) < n:
                raise InputError(f"class {name!r} has {has} images, {n} were asked")
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
        check_known("class of the network", self.classes, classes)
        number = np.array([classes.index(name) for name in self.classes], np.int64)
        return LabelledImages(self.images, number[self.labels], classes)


def load_digits() -> tuple[LabelledImages, LabelledImages]:
    """
    Load the 8x8 digits that ship with scikit-learn.

    Returns
    -------
    training, test : LabelledImages
        1,297 and 500 images [1]_ of shape (1, 8, 8), divided by a fixed random draw.

    References
    ----------
    .. [1] Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits,
       doi:10.24432/C50P49
    """
    from sklearn.datasets import load_digits as load_sklearn_digits

    digits = load_sklearn_digits()
    # Intensities are whole numbers from 0 to 16.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels, classes = digits.target.astype(np.int64), tuple("0123456789")
    order = np.random.default_rng(seed=0).permutation(len(images))
    everything = LabelledImages(images, labels, classes)[order]
    return everything[N_TEST_DIGITS:], everything[:N_TEST_DIGITS]


def load_cifar10(
    root: str | Path, *, download: bool = True
) -> tuple[LabelledImages, LabelledImages]:
    """
    Load CIFAR-10 through torchvision.

    Parameters
    ----------
    root : path-like
        Folder that holds the data, or that it is downloaded to.
    download : bool
        Whether it may be downloaded (170 MB).

    Returns
    -------
    training, test : LabelledImages
        50,000 and 10,000 images of shape (3, 32, 32).

    Raises
    ------
    InputError
        If it is not there and can't be downloaded.
    """
    from torchvision.datasets import CIFAR10

    try:
        both = [CIFAR10(root, train=part, download=download) for part in (True, False)]
    except (RuntimeError, OSError) as error:
        found = f"CIFAR-10 is not in {root} and could not be downloaded"
        raise InputError(f"{found}: {error}") from error
    training, test = (
        LabelledImages(
            np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)),
            np.asarray(part.targets, np.int64),
            tuple(part.classes),
        )
        for part in both
    )
    return training, test


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


def load_data(
    name: str | Path,
    input_shape: tuple[int, int, int] | None = None,
    seed: int | None = None,
) -> tuple[LabelledImages, LabelledImages]:
    """
    Load training and test images.

    Parameters
    ----------
    name : str or path-like
        The text ``digits`` or ``cifar10`` (downloaded to the folder ``cifar10-data``)
        is a data set, also where a folder of that name exists. Anything else is a
        folder, as are ``./digits`` and ``Path("digits")``: either with the folders
        ``train`` and ``test`` in it, each a folder of class folders, or itself a folder
        of class folders. About a tenth of each class of that is kept for testing. Which
        images these are depends on nothing but their files.
    input_shape : tuple of int, optional
        For folders, see `load_folder`.
    seed : int, optional
        Without effect. In version 0.1.0, what one seed tested with was training data of
        another.

    Returns
    -------
    training, test : LabelledImages
        Images to train with and to test with.

    Raises
    ------
    InputError
        If they can't be loaded.
    """
    if seed is not None:
        message = "load_data: seed has no effect, the test images are always the same"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    training, test = _parts(name, input_shape, PARTS)
    return training, test


def load_training_images(
    name: str | Path,
    input_shape: tuple[int, int, int] | None = None,
    classes: tuple[str, ...] | None = None,
) -> LabelledImages:
    """
    Load images to set thresholds with; test images are not among them.

    Parameters
    ----------
    name : str or path-like
        As in `load_data`. A folder with only ``train`` in it will do.
    input_shape : tuple of int, optional
        For folders, see `load_folder`.
    classes : tuple of str, optional
        Names of the network's outputs. Labels are their numbers then.

    Returns
    -------
    LabelledImages
        The images.

    Raises
    ------
    InputError
        If they can't be loaded, or a class is not one of the network's.
    """
    (training,) = _parts(name, input_shape, ("train",))
    return training if classes is None else training.with_classes(classes)


def load_test_images(
    name: str | Path,
    input_shape: tuple[int, ...],
    n: int | None = None,
    seed: int = 0,
    classes: tuple[str, ...] | None = None,
    *,
    whole: bool = False,
) -> LabelledImages:
    """
    Load images to show to a network.

    Parameters
    ----------
    name : str or path-like
        As in `load_data`. A folder with only ``test`` in it will do.
    input_shape : tuple of int
        (channels, height, width) of the network's images.
    n : int, optional
        How many images, drawn at random; all by default.
    seed : int
        Seed of the draw, at least 0.
    classes : tuple of str, optional
        Names of the network's outputs. Labels are their numbers then.
    whole : bool
        With a folder of class folders: take all of it, because nothing was trained
        with it.

    Returns
    -------
    LabelledImages
        The images.

    Raises
    ------
    InputError
        If they can't be loaded, `n` or the seed are out of range, a class is none of
        the network's, or `whole` is asked of data that come with test images.
    """
    check_whole("seed", seed, 0)
    if whole:
        if not is_split(name):
            raise InputError(f"all of {name}: it comes with test images")
        test = load_folder(name, input_shape)
    else:
        (test,) = _parts(name, input_shape, ("test",))
    if n is not None:
        test = test.drawn(n, seed)
    return test if classes is None else test.with_classes(classes)


load_test_pictures = load_test_images


def is_split(name: str | Path) -> bool:
    """
    Say whether data are a folder of class folders, of which a part is kept for testing.

    Parameters
    ----------
    name : str or path-like
        As in `load_data`.

    Returns
    -------
    bool
        False for data sets, and for folders with ``train`` or ``test``.

    Raises
    ------
    InputError
        If it is neither a data set nor a folder.
    """
    return name not in DATA_SETS and not _part_folders(name)


def _part_folders(name: str | Path) -> list[str]:
    """Say which parts a folder has; none if it is a folder of class folders itself."""
    if not Path(name).is_dir():
        rule = "expected 'digits', 'cifar10', or an existing folder"
        raise InputError(f"data {str(name)!r}: {rule}")
    return [part for part in PARTS if Path(name, part).is_dir()]


def _class_names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.is_dir()}


def _parts(
    name: str | Path, input_shape: tuple[int, ...] | None, wanted: Sequence[str]
) -> list[LabelledImages]:
    """Load the parts that are asked for, and decode no others."""
    if name in DATA_SETS:
        if Path(name).is_dir():
            hint = "%s is the data set of that name; write ./%s for the folder"
            logger.warning(hint, name, name)
        both = load_digits() if name == "digits" else load_cifar10(CIFAR10_FOLDER)
        return [both[PARTS.index(part)] for part in wanted]
    directory, there = Path(name), _part_folders(name)
    if not there:
        folder = _opened(directory, input_shape)
        kept = _kept_for_testing(folder)
        chosen = [np.flatnonzero(kept == (part == "test")) for part in wanted]
        if not all(map(len, chosen)):
            raise InputError(
                f"{directory}: no class has two different images, so that none can be "
                "kept for testing"
            )
        return [_read(folder, indices) for indices in chosen]
    if missing := [part for part in wanted if part not in there]:
        raise InputError(
            f"{name}: has a folder {there[0]!r}, but no folder {missing[0]!r}"
        )
    classes = [_class_names(directory / part) for part in there]
    if classes[0] != classes[-1]:
        raise InputError(f"{name}: train and test have different class folders")
    return [load_folder(directory / part, input_shape) for part in wanted]


def _opened(directory: str | Path, input_shape: tuple[int, ...] | None) -> Any:
    """List a folder as torchvision does; items are decoded when they are asked for."""
    from torchvision.datasets import ImageFolder

    if input_shape is not None and input_shape[0] not in (1, 3):
        raise InputError(f"an image has 1 or 3 channels, {input_shape[0]} were asked")
    try:
        return ImageFolder(directory, loader=partial(_decoded, input_shape=input_shape))
    except OSError as error:
        found = f"{directory}: not a folder of class folders with images"
        raise InputError(f"{found}: {error}") from error


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
