"""The kernel of a transposed convolution."""

from dataclasses import dataclass

import numpy as np

from cnn2snn_brian.projections.base import in_float64
from cnn2snn_brian.projections.kernel import SpatialKernel
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
    is_transposed = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of what it gives."""
        height, width = (
            (size - 1) * stride - zeros + dilation * (taps - 1) + 1
            for size, zeros, dilation, taps, stride in self.axes
        )
        return self.weight.shape[1] * self.groups, height, width

    def drive(self, values: FloatArray) -> FloatArray:
        """Compute the sums, tap by tap."""
        table = self.table(in_float64(self.weight))
        grouped = values.reshape(len(values), self.groups, -1, *self.input_shape[1:])
        out = np.zeros(
            (len(values), self.groups, self.n_targets, *self.shape[1:]),
            np.result_type(values, table),
        )
        (y_in, y_out, tap_y), (x_in, x_out, tap_x) = self.taps(0), self.taps(1)
        for y, x in np.ndindex(*self.weight.shape[2:]):
            own_y, own_x = tap_y == y, tap_x == x
            read = grouped[..., y_in[own_y][:, None], x_in[own_x]]
            sums = np.einsum("ngcyx,gco->ngoyx", read, table[:, :, y, x])
            out[..., y_out[own_y][:, None], x_out[own_x]] += sums
        return out.reshape(-1, *self.shape)
