"""The convolution kernel."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cnn2snn_brian.projections.base import PART, in_float64
from cnn2snn_brian.projections.kernel import SpatialKernel
from cnn2snn_brian.projections.order import FloatArray


@dataclass(frozen=True, eq=False)
class Convolution(SpatialKernel):
    """
    A convolution; its weights have the shape (out, in / groups, ky, kx).

    It is torch's cross-correlation. The attributes are those of `SpatialKernel`.
    """

    label = "Conv2d"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of what it gives."""
        height, width = (
            (size + zeros - dilation * (taps - 1) - 1) // stride + 1
            for size, zeros, dilation, taps, stride in self.axes
        )
        return self.weight.shape[0], height, width

    def padded(self, zeros: tuple[tuple[int, int], ...]) -> "Convolution":
        """Read what has no zeros around it yet."""
        if not zeros:
            return self
        both = zip(self.padding, zeros, strict=True)
        padding: Any = tuple((a + more, b + others) for (a, b), (more, others) in both)
        sizes = (
            n - sum(own) for n, own in zip(self.input_shape[1:], zeros, strict=True)
        )
        shape = (self.input_shape[0], *sizes)
        return replace(self, input_shape=shape, padding=padding)

    def drive(self, values: FloatArray) -> FloatArray:
        """
        Compute the sums.

        The windows of some rows of one image are laid out in memory at a time: those
        of all need ``kernel height * kernel width`` times the memory of the input.
        torch's own convolution of float64 numbers lays out all of them.
        """
        out_channels, height, width = self.shape
        extent = [d * (taps - 1) + 1 for _, _, d, taps, _ in self.axes]
        kernels = in_float64(self.weight)
        kernels = kernels.reshape(self.groups, out_channels // self.groups, -1)
        out = np.empty(
            (len(values), *kernels.shape[:2], height * width),
            np.result_type(values, kernels),
        )
        (step_y, step_x), (gap_y, gap_x) = self.stride, self.dilation
        for image, sums in zip(values, out, strict=True):
            padded = np.pad(image, ((0, 0), *self.padding))
            windows: Any = sliding_window_view(padded, extent, axis=(1, 2))  # type: ignore[call-overload]
            columns = windows[:, ::step_y, ::step_x, ::gap_y, ::gap_x]
            columns = columns.transpose(0, 3, 4, 1, 2)
            n_rows = -(-PART * height // columns.size)
            for y in range(0, height, n_rows):
                own = sums[..., y * width : (y + n_rows) * width]
                part = columns[:, :, :, y : y + n_rows]
                np.matmul(kernels, part.reshape(*kernels.shape[::2], -1), out=own)
        return out.reshape(-1, *self.shape)


def pair(value: Any) -> tuple[int, int]:
    """Take one whole number for both axes, or one for each."""
    y, x = np.broadcast_to(np.asarray(value), (2,))
    return int(y), int(x)


def zeros_around(padding: Any, dilation: Any, sizes: Any) -> Any:
    """Read the padding of a kernel: "same", "valid", or as many zeros on both sides."""
    named = padding if isinstance(padding, str) else ""
    if named == "same":
        # Where it is odd, the larger half comes after the image.
        total = [d * (k - 1) for d, k in zip(dilation, sizes, strict=True)]
        return tuple((n // 2, n - n // 2) for n in total)
    both = (0, 0) if named == "valid" else pair(padding)
    return tuple((n, n) for n in both)
