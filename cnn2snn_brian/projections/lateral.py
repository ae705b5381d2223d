"""Kernels between maps of neurons: lateral connections and feedback."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_number, check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections.convolution import Convolution
from cnn2snn_brian.projections.kernel import SpatialKernel
from cnn2snn_brian.projections.order import FloatArray, Shape
from cnn2snn_brian.projections.transposed_convolution import TransposedConvolution


def _geometry(
    n_in: int, n_out: int, taps: int, stride: int
) -> tuple[int, tuple[int, int]]:
    """Give stride and zeros of an axis, so that a kernel gives so many positions."""
    # Of a transposed convolution, the larger side is the target's.
    large, small = max(n_in, n_out), min(n_in, n_out)
    step = stride or max(1, round(large / small))
    zeros = (small - 1) * step + taps - large
    if n_out <= n_in:
        zeros = max(zeros, 0)  # positions that are left over are not read, as in torch
    # Of an odd number, the larger half is where torch has it: with "same" padding
    # behind the map, with a stride before it.
    before = (max(zeros, 0) + (step > 1)) // 2
    return step, (before, zeros - before)


def kernel_between(
    source: Shape, target: Shape, weight: npt.NDArray[Any], stride: int = 0
) -> SpatialKernel:
    """Centre a kernel, (out, in, ky, kx), on the maps of two populations."""
    for what, shape in (("source", source), ("target", target)):
        if len(shape) != 3:
            raise InputError(
                f"the {what} of a kernel has the shape {shape}, expected (channels, "
                "height, width)"
            )
    if weight.ndim != 4 or weight.shape[:2] != (target[0], source[0]):
        raise InputError(
            f"a kernel of shape {weight.shape} from {source} to {target}, expected "
            f"({target[0]}, {source[0]}, height, width)"
        )
    ends = [*zip(source[1:], target[1:], strict=True)]
    is_larger = any(n_out > n_in for n_in, n_out in ends)
    axes = zip(ends, weight.shape[2:], strict=True)
    (step_y, pad_y), (step_x, pad_x) = (
        _geometry(*sizes, taps, stride) for sizes, taps in axes
    )
    given: Any = {"stride": (step_y, step_x), "padding": (pad_y, pad_x)}
    found: SpatialKernel
    if is_larger:
        found = TransposedConvolution(source, weight.swapaxes(0, 1), **given)
    else:
        found = Convolution(source, weight, **given)
    # As in torch, rows that nothing reaches are fewer than the stride; and no row is
    # read or reached in the padding alone.
    rows = zip(found.stride, found.padding, weight.shape[2:], strict=True)
    fits = all(pad[1] > -step and max(pad) < taps for step, pad, taps in rows)
    if found.shape != target or not fits:
        raise InputError(
            f"a kernel of shape {weight.shape} with the stride {(step_y, step_x)} does "
            f"not lead from {source} to {target}; give another size or stride"
        )
    return found


def _gaussians(offsets: Any, sigmas: tuple[float, float]) -> Iterator[FloatArray]:
    """Give Gaussians of two sizes, each with a sum of 1."""
    y, x = np.meshgrid(*offsets, indexing="ij")
    for sigma in sigmas:
        found = np.exp(-(y**2 + x**2) / (2 * sigma**2))
        yield found / found.sum()


def difference_of_gaussians(
    n_channels: int,
    size: int | tuple[int, int],
    *,
    centre_sigma: float = 0.5,
    surround_sigma: float = 1.5,
    centre: float = 1.0,
    surround: float = 1.0,
    between_centre: float = 0.0,
    between_surround: float = 0.0,
    itself: bool = False,
) -> npt.NDArray[np.float64]:
    r"""
    Make a kernel that excites near and inhibits around.

    The weight from a neuron to another one at the distance r, in positions of the map,
    is [1]_

    .. math::

        w(r) = c\, \frac{e^{-r^2 / 2\sigma_c^2}}{\sum e^{-r^2 / 2\sigma_c^2}}
        - s\, \frac{e^{-r^2 / 2\sigma_s^2}}{\sum e^{-r^2 / 2\sigma_s^2}}

    where sums are over the kernel, so that c and s are what all synapses of the centre
    and of the surround add up to. Within a channel they are `centre` and `surround`,
    between two channels `between_centre` and `between_surround`. Inhibition alone is a
    centre of 0.

    Parameters
    ----------
    n_channels : int
        Channels of the population.
    size : int or tuple of int
        Height and width of the kernel, odd numbers.
    centre_sigma, surround_sigma : float
        Standard deviations of the Gaussians, in positions, above 0.
    centre, surround : float
        Sums of both within a channel.
    between_centre, between_surround : float
        Sums of both from each other channel.
    itself : bool
        Whether a neuron is connected to itself. If not, that weight is 0, and sums are
        less by it; neurons of other channels at the same position stay.

    Returns
    -------
    ndarray of float64, shape (n_channels, n_channels, height, width)
        The kernel, target first, for `connect_convolution`.

    Raises
    ------
    InputError
        If a number is out of its range, or a size is even.

    References
    ----------
    .. [1] Rodieck (1965), Quantitative analysis of cat retinal ganglion cell response
       to visual stimuli, doi:10.1016/0042-6989(65)90033-7. There, each Gaussian is
       normalised by its integral.

    Examples
    --------
    >>> kernel = difference_of_gaussians(4, 5, between_surround=0.2)
    >>> kernel.shape, float(kernel[0, 0, 2, 2])
    ((4, 4, 5, 5), 0.0)
    """
    channels = check_whole("n_channels", n_channels, 1)
    half = [
        check_whole("size", n, 1) // 2
        for n in (size if isinstance(size, tuple) else (size, size))
    ]
    if any(n % 2 == 0 for n in np.ravel(size)) or len(half) != 2:
        raise InputError(f"size={size!r}: expected an odd number, or two")
    sigmas = (
        check_number("centre_sigma", centre_sigma, above=0),
        check_number("surround_sigma", surround_sigma, above=0),
    )
    offsets = [np.arange(-n, n + 1) for n in half]
    near, around = _gaussians(offsets, sigmas)
    kernel = np.empty((channels, channels, *near.shape))
    kernel[:] = (
        check_number("between_centre", between_centre) * near
        - check_number("between_surround", between_surround) * around
    )
    each = np.arange(channels)
    kernel[each, each] = (
        check_number("centre", centre) * near
        - check_number("surround", surround) * around
    )
    if not itself:
        kernel[each, each, half[0], half[1]] = 0
    return kernel
