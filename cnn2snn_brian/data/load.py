"""What a name of data means: a data set, or a folder; and which part of it is used."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.data.images import LabelledImages, load_folder, split_folder
from cnn2snn_brian.errors import InputError

#: How many of the 1,797 digits are kept for testing.
N_TEST_DIGITS = 500


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
        raise InputError(
            f"CIFAR-10 is not in {root} and could not be downloaded: {error}"
        ) from error
    training, test = (
        LabelledImages(
            np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)),
            np.asarray(part.targets, np.int64),
            tuple(part.classes),
        )
        for part in both
    )
    return training, test


logger = logging.getLogger(__name__)

#: Names that stand for a data set.
DATA_SETS = ("digits", "cifar10")
#: Where CIFAR-10 is downloaded to.
CIFAR10_FOLDER = "cifar10-data"
PARTS = ("train", "test")


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
        So many images, drawn at random; all by default.
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
    if whole and not is_split(name):
        raise InputError(f"all of {name}: it comes with test images")
    if whole:
        test = load_folder(name, input_shape)
    else:
        (test,) = _parts(name, input_shape, ("test",))
    if n is not None:
        test = test.drawn(n, seed)
    return test if classes is None else test.with_classes(classes)


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
        raise InputError(
            f"data {str(name)!r}: expected 'digits', 'cifar10', or an existing folder"
        )
    return [part for part in PARTS if Path(name, part).is_dir()]


def _class_names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.is_dir()}


def _parts(
    name: str | Path,
    input_shape: tuple[int, ...] | None,
    wanted: Sequence[str],
) -> list[LabelledImages]:
    """Load the parts that are asked for, and decode no others."""
    if name in DATA_SETS:
        if Path(name).is_dir():
            logger.warning(
                "%s is the data set of that name; write ./%s for the folder", name, name
            )
        both = load_digits() if name == "digits" else load_cifar10(CIFAR10_FOLDER)
        return [both[PARTS.index(part)] for part in wanted]
    directory, there = Path(name), _part_folders(name)
    if not there:
        return split_folder(directory, input_shape, wanted)
    for part in wanted:
        if part not in there:
            raise InputError(
                f"{name}: has a folder {there[0]!r}, but no folder {part!r}"
            )
    classes = [_class_names(directory / part) for part in there]
    if classes[0] != classes[-1]:
        raise InputError(f"{name}: train and test have different class folders")
    return [load_folder(directory / part, input_shape) for part in wanted]
