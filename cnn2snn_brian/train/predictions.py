"""What a CNN makes of images."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnn2snn_brian.data.labelled_images import LabelledImages
from cnn2snn_brian.train.pixels import to_pixels

__all__ = ["accuracy", "classify"]


def classify(
    module: nn.Module, images: npt.NDArray[np.uint8], batch_size: int = 500
) -> npt.NDArray[np.int64]:
    """
    Classify images with a CNN.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is put into evaluation mode.
    images : ndarray of uint8, shape (n_images, channels, height, width)
        The images.
    batch_size : int
        Images that are computed at once.

    Returns
    -------
    predictions : ndarray of int64, shape (n_images,)
        The class with the largest output.
    """
    module.eval()
    with torch.inference_mode():
        batches = [
            module(to_pixels(images[start : start + batch_size])).argmax(1)
            for start in range(0, len(images), batch_size)
        ]
        return torch.cat(batches).numpy()


def accuracy(module: nn.Module, data: LabelledImages) -> float:
    """
    Share of images that a CNN classifies correctly.

    Parameters
    ----------
    module : nn.Module
        The CNN. It is put into evaluation mode.
    data : LabelledImages
        Images and their classes.

    Returns
    -------
    float
        From 0 to 1.
    """
    return float((classify(module, data.images) == data.labels).mean())
