"""The kernel of a transposed convolution."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn2snn_brian.projections.kernel import SpatialKernel, taps
from cnn2snn_brian.projections.order import FloatArray


@dataclass(frozen=True, eq=False)
class TransposedConvolution(SpatialKernel):
    """
    A transposed convolution; its weights have the shape (in, out / groups, ky, kx).

    Each input adds the kernel, times its value, to the outputs around its place. The
    attributes are those of `SpatialKernel`; `padding` is cut off the output, and
    negative at the end where torch has an ``output_padding``.
    """

    label = "ConvTranspose2d"
    in_first = True
    reverses = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of what it gives."""
        height, width = (
            (size - 1) * stride - sum(padding) + dilation * (kernel - 1) + 1
            for size, padding, dilation, kernel, stride in zip(
                self.input_shape[1:],
                self.padding,
                self.dilation,
                self.weight.shape[2:],
                self.stride,
                strict=True,
            )
        )
        return self._n_channels[1], height, width

    def taps(self, axis: int) -> tuple[Any, ...]:
        """Pair the input, output and tap of an axis, without what is cut off."""
        # The pairs of a convolution that goes the other way.
        out, position, tap = taps(
            self.shape[1 + axis],
            self.input_shape[1 + axis],
            self.weight.shape[2 + axis],
            self.stride[axis],
            self.padding[axis][0],
            self.dilation[axis],
        )
        return position, out, tap

    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the sums, tap by tap."""
        table = self.table(self.weight)
        grouped = values.reshape(len(values), self.groups, -1, *self.input_shape[1:])
        out = np.zeros(
            (len(values), self.groups, self.n_targets, *self.shape[1:]),
            np.result_type(values, self.weight),
        )
        (y_in, y_out, tap_y), (x_in, x_out, tap_x) = self.taps(0), self.taps(1)
        for y, x in np.ndindex(*self.weight.shape[2:]):
            own_y, own_x = tap_y == y, tap_x == x
            read = grouped[..., y_in[own_y][:, None], x_in[own_x]]
            sums = np.einsum("ngcyx,gco->ngoyx", read, table[:, :, y, x])
            out[..., y_out[own_y][:, None], x_out[own_x]] += sums
        return out.reshape(-1, *self.shape)
