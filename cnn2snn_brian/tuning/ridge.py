"""Weights that fit what arrives: ridge regression of the CNN's sums on actual rates."""

from typing import Any

from cnn2snn_brian.projections import Connection, Convolution, Dense

#: Positions of all images that weights are fitted on, at most; and, for each weight of
#: a neuron, at least.
ROWS, LEAST_ROWS = 20_000, 2
#: Strength of the ridge: a share of the mean diagonal of the Gram matrix.
RIDGE = 0.01
#: How often neurons that are silent anyway say what their goal is.
ROUNDS = 2


def as_matrix(connection: Connection) -> Any:
    """Order weights as (targets of a position, values read there)."""
    return connection.weight.reshape(len(connection.weight), -1)


def can_be_fitted(connection: Connection) -> bool:
    """Say whether all targets of a position read the same values."""
    kernel = connection.kernel
    is_shared = isinstance(kernel, Convolution) and kernel.groups == 1
    return connection.is_whole and (is_shared or isinstance(kernel, Dense))


def values_read(connection: Connection, x: Any) -> Any:
    """List the values that weights meet: (n, positions, values read there)."""
    from torch.nn import functional as F

    kernel, window = connection.kernel, connection.window
    if window is not None:
        rows, columns = (x.new_tensor(axis) for axis in window.axes)
        x = rows @ x @ columns.T
    if not isinstance(kernel, Convolution):
        return x.flatten(1)[:, None]
    (top, bottom), (left, right) = kernel.padding
    x = F.pad(x, (left, right, top, bottom))
    size: Any = kernel.weight.shape[2:]
    found = F.unfold(x, size, kernel.dilation, 0, kernel.stride)
    return found.transpose(1, 2)


def change_of_weights(
    rates: Any, wanted: Any, reached: Any, *, is_rectified: bool
) -> Any:
    r"""
    Fit a change of weights and biases, (values + 1, targets).

    With rates :math:`R` and a column of ones, (rows, values + 1), the sums :math:`z`
    that are wanted and those that are reached, :math:`y`, it is

    .. math:: \Delta = (R^T R + 0.01\, m I)^{-1} R^T (z - y)

    where :math:`m` is the mean of the diagonal; the bias is hardly held back. Where
    both the goal and the fit are below 0, nothing is sent, and the fit is the goal.
    """
    import torch

    gram = (rates.T @ rates).double()
    mean = gram.diagonal().mean()
    ridge = torch.full((len(gram),), RIDGE, dtype=torch.double)
    ridge[-1] = 1e-6
    factor = torch.linalg.cholesky(gram + torch.diag(ridge * mean))
    change: Any = torch.zeros(rates.shape[1], wanted.shape[1])
    for _ in range(ROUNDS if is_rectified else 1):
        fit = rates @ change
        goal = wanted - reached
        if is_rectified:
            is_silent = (wanted < 0) & (reached + fit < 0)
            goal = goal.where(~is_silent, fit)
        projected = (rates.T @ goal).double()
        change = torch.cholesky_solve(projected, factor).float()
    return change
