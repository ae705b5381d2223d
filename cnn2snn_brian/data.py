"""
Labelled pictures: scikit-learn's digits, CIFAR-10, or a folder of class folders.

All of them arrive as 8-bit pictures in torch's order, (n, channels, height, width).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.errors import InputError

__all__ = ["LabelledImages", "load_cifar10", "load_data", "load_digits", "load_folder"]

#: Of the 1,797 digits, so many are kept for testing.
N_TEST_DIGITS = 500
#: Share of a folder without ``train`` and ``test`` that is kept for testing.
TEST_SHARE = 0.1


@dataclass(frozen=True)
class LabelledImages:
    """
    Pictures and their classes.

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
        """Shape of one picture, (channels, height, width)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def per_class(self, n: int, seed: int) -> "LabelledImages":
        """
        Draw pictures at random, equally many of every class.

        Parameters
        ----------
        n : int
            Number of pictures of a class.
        seed : int
            Seed of the draw.

        Returns
        -------
        LabelledImages
            The drawn pictures, in the order of this set.

        Raises
        ------
        InputError
            If a class has fewer than `n` pictures.
        """
        rng = np.random.default_rng(seed)
        chosen = []
        for label, name in enumerate(self.classes):
            members = np.flatnonzero(self.labels == label)
            if len(members) < n:
                message = f"class {name!r} has {len(members)} pictures, {n} were asked"
                raise InputError(message)
            chosen.append(rng.choice(members, size=n, replace=False))
        return self[np.sort(np.concatenate(chosen))]


def load_digits() -> tuple[LabelledImages, LabelledImages]:
    """
    Load the 8x8 digits that ship with scikit-learn [1]_.

    Returns
    -------
    training, test : LabelledImages
        1,297 and 500 pictures of shape (1, 8, 8), divided by a fixed random draw.

    References
    ----------
    .. [1] Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits,
       doi:10.24432/C50P49
    """
    from sklearn.datasets import load_digits as load_sklearn_digits

    digits = load_sklearn_digits()
    # Intensities are whole numbers from 0 to 16.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    order = np.random.default_rng(seed=0).permutation(len(images))
    everything = LabelledImages(
        images[order],
        digits.target[order].astype(np.int64),
        tuple(str(name) for name in digits.target_names),
    )
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
        50,000 and 10,000 pictures of shape (3, 32, 32).

    Raises
    ------
    InputError
        If it is not there and can't be downloaded.
    """
    from torchvision.datasets import CIFAR10

    sets = []
    for train in (True, False):
        try:
            data = CIFAR10(root, train=train, download=download)
        except (RuntimeError, OSError) as error:
            message = f"CIFAR-10 is not in {root} and could not be downloaded: {error}"
            raise InputError(message) from error
        images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
        labels = np.asarray(data.targets, dtype=np.int64)
        sets.append(LabelledImages(images, labels, tuple(data.classes)))
    return sets[0], sets[1]


def load_folder(
    directory: str | Path, input_shape: tuple[int, int, int] | None = None
) -> LabelledImages:
    """
    Load a folder of class folders (torchvision's ``ImageFolder``).

    Parameters
    ----------
    directory : path-like
        Every folder in it is a class, the files in that are its pictures.
    input_shape : tuple of int, optional
        (channels, height, width) to convert the pictures to: 1 channel is grey, 3 are
        RGB, another height or width is scaled. Without it, the pictures are read as
        RGB and must all have one size.

    Returns
    -------
    LabelledImages
        All pictures, ordered by class and file name.

    Raises
    ------
    InputError
        If the folder is missing or empty, or the pictures differ in size.
    """
    from PIL import Image
    from torchvision.datasets import ImageFolder

    directory = Path(directory)
    if not directory.is_dir():
        message = f"{directory}: there is no such folder"
        raise InputError(message)
    mode = "L" if input_shape is not None and input_shape[0] == 1 else "RGB"
    if input_shape is not None and input_shape[0] not in (1, 3):
        message = f"a picture has 1 or 3 channels, {input_shape[0]} were asked"
        raise InputError(message)
    size = None if input_shape is None else (input_shape[2], input_shape[1])

    def read(path: str) -> npt.NDArray[np.uint8]:
        try:
            with Image.open(path) as picture:
                converted = picture.convert(mode)
        except (OSError, SyntaxError, ValueError) as error:
            message = f"{path}: not a readable picture: {error}"
            raise InputError(message) from error
        if size is not None and converted.size != size:
            converted = converted.resize(size, Image.Resampling.BILINEAR)
        return np.atleast_3d(np.asarray(converted)).transpose(2, 0, 1)

    try:
        folder = ImageFolder(str(directory), loader=cast("type", read))
    except FileNotFoundError as error:
        message = f"{directory}: not a folder of class folders with pictures: {error}"
        raise InputError(message) from error
    arrays = [read(path) for path, _ in folder.samples]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        message = (
            f"{directory}: the pictures have {len(shapes)} different sizes; "
            "give one size to scale them to"
        )
        raise InputError(message)
    return LabelledImages(
        np.stack(arrays), np.asarray(folder.targets, np.int64), tuple(folder.classes)
    )


def load_data(
    name: str | Path, input_shape: tuple[int, int, int] | None = None, seed: int = 0
) -> tuple[LabelledImages, LabelledImages]:
    """
    Load training and test pictures by name.

    Parameters
    ----------
    name : str or path-like
        ``digits``, ``cifar10`` (downloaded to the folder ``cifar10-data``), or a
        folder: either with the folders ``train`` and ``test`` in it, each a folder of
        class folders, or itself a folder of class folders, of which a tenth drawn at
        random is kept for testing.
    input_shape : tuple of int, optional
        For folders, see `load_folder`.
    seed : int
        Seed of the draw of test pictures.

    Returns
    -------
    training, test : LabelledImages
        Pictures to train with and to test with.

    Raises
    ------
    InputError
        If they can't be loaded.
    """
    if name == "digits":
        return load_digits()
    if name == "cifar10":
        return load_cifar10("cifar10-data")
    directory = Path(name)
    if not directory.is_dir():
        message = (
            f"data {str(name)!r}: expected 'digits', 'cifar10', or an existing folder"
        )
        raise InputError(message)
    parts = [name for name in ("train", "test") if (directory / name).is_dir()]
    if len(parts) == 1:
        message = f"{directory}: has a folder {parts[0]!r}, but not both train and test"
        raise InputError(message)
    if parts:
        training = load_folder(directory / "train", input_shape)
        test = load_folder(directory / "test", input_shape)
        if training.classes != test.classes:
            message = f"{directory}: train and test have different class folders"
            raise InputError(message)
        return training, test
    everything = load_folder(directory, input_shape)
    order = np.random.default_rng(seed).permutation(len(everything))
    n_test = max(1, round(TEST_SHARE * len(everything)))
    return everything[np.sort(order[n_test:])], everything[np.sort(order[:n_test])]


def load_test_pictures(
    name: str | Path,
    input_shape: tuple[int, int, int],
    n: int | None = None,
    seed: int = 0,
    classes: tuple[str, ...] | None = None,
) -> LabelledImages:
    """
    Load pictures to show to a network.

    Parameters
    ----------
    name : str or path-like
        ``digits`` or ``cifar10`` (their test pictures), or a folder: its folder
        ``test``, or all of it if it has none.
    input_shape : tuple of int
        (channels, height, width) of the network's pictures.
    n : int, optional
        So many pictures, drawn at random; all by default.
    seed : int
        Seed of the draw, at least 0.
    classes : tuple of str, optional
        Names of the network's outputs. Labels are their numbers then.

    Returns
    -------
    LabelledImages
        The pictures.

    Raises
    ------
    InputError
        If they can't be loaded, `n` or the seed are out of range, or a class is none of
        the network's.
    """
    if seed < 0:
        message = f"--seed is {seed}, expected a whole number of at least 0"
        raise InputError(message)
    is_folder = name not in ("digits", "cifar10")
    if is_folder and not (Path(name) / "test").is_dir():
        test = load_folder(name, input_shape)
    else:
        _, test = load_data(name, input_shape)
    if n is not None:
        if not 1 <= n <= len(test):
            message = f"--n is {n}; there are {len(test)} pictures"
            raise InputError(message)
        drawn = np.random.default_rng(seed).choice(len(test), n, replace=False)
        test = test[np.sort(drawn)]
    return _with_classes_of(test, classes)


def _with_classes_of(
    test: LabelledImages, classes: tuple[str, ...] | None
) -> LabelledImages:
    """Give the classes the numbers of the network's outputs of the same names."""
    if classes is None or test.classes == classes:
        return test
    unknown = [name for name in test.classes if name not in classes]
    if unknown:
        message = (
            f"the network has no class {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(classes)}"
        )
        raise InputError(message)
    number = np.array([classes.index(name) for name in test.classes])
    return replace(test, labels=number[test.labels], classes=classes)
