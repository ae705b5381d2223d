"""Pixels above and below a mean, as ON and OFF channels."""

from dataclasses import dataclass

import numpy as np

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.base import ByContent
from cnn2snn_brian.projections.order import FloatArray, by_channel


@dataclass(frozen=True, eq=False)
class OnOffPixels(ByContent):
    """
    Input neurons that say how far pixels are above or below a mean, as in the retina.

    The first channels are ON cells, of rates ``relu(x - mean) / (std * largest)``, and
    as many follow for OFF cells, of rates ``relu(mean - x) / (std * largest)``, with
    ``largest`` such that no pixel in [0, 1] gives more than 1.

    Attributes
    ----------
    mean, std : ndarray of float, shape (channels,)
        What a CNN's images were normalized with.

    Raises
    ------
    InputError
        If the shapes differ, a number is not finite, or a `std` is not above 0.
    """

    mean: FloatArray
    std: FloatArray

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            self.freeze("the input: ", name)
        if self.mean.shape != self.std.shape or not (self.std > 0).all():
            raise InputError(
                f"the input: mean {self.mean} and std {self.std}, expected as many "
                "numbers for each, and std above 0"
            )

    @property
    def n_channels(self) -> int:
        """Channels of an image."""
        return len(self.mean)

    @property
    def largest(self) -> float:
        """The normalized pixel that a rate of 1 stands for."""
        return float((np.maximum(abs(self.mean), abs(1 - self.mean)) / self.std).max())

    def channels(self, pixels: FloatArray) -> FloatArray:
        """
        Give what ON and OFF cells say; an array with twice the channels stays.

        Parameters
        ----------
        pixels : ndarray of float, shape (n, channels, height, width)
            Pixels in [0, 1].

        Returns
        -------
        ndarray of float, shape (n, 2 * channels, height, width)
            In [0, 1].
        """
        if pixels.shape[1] == 2 * self.n_channels:
            return pixels
        shape = (self.n_channels, 1, 1)
        scale = by_channel(1 / (self.std * self.largest), shape)
        signed = (pixels - by_channel(self.mean, shape)) * scale
        found = np.concatenate([np.maximum(signed, 0), np.maximum(-signed, 0)], axis=1)
        return np.minimum(found, 1).astype(pixels.dtype)
