"""Data sets that are known by a name: scikit-learn's digits and CIFAR-10."""

from pathlib import Path

import numpy as np

from cnn2snn_brian.data.labelled_images import LabelledImages
from cnn2snn_brian.errors import InputError

__all__ = ["load_cifar10", "load_digits"]

#: Of the 1,797 digits, so many are kept for testing.
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
        50,000 and 10,000 images of shape (3, 32, 32).

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
