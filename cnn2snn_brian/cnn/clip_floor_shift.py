"""
The activation that a CNN is trained with so that few steps of spikes are enough.

A neuron that takes the threshold away with each spike and starts at half of it has
spiked, after some steps of constant input, as often as this activation says [1]_.

References
----------
.. [1] Bu, Fang, Ding, Dai, Yu and Huang (2022), Optimal ANN-SNN Conversion for
   High-accuracy and Ultra-low-latency Spiking Neural Networks,
   doi:10.48550/arXiv.2303.04347
"""

from typing import Any

import torch
from torch import nn

from cnn2snn_brian.checks import check_number, check_whole

#: Ceiling at the start without calibration images, as in the authors' code.
START = 8.0


class _Rounded(torch.autograd.Function):
    """
    Clip and round; the gradient goes through the rounding as if there were none.

    As one function, it takes half of the time that PyTorch takes with its parts.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, ceiling: torch.Tensor, steps: int
    ) -> torch.Tensor:
        # In the ceiling's precision: bfloat16 has too few digits to round with.
        share = x.to(ceiling.dtype) / ceiling
        inside = (share >= 0) & (share <= 1)
        rounded = share.clamp(0, 1).mul_(steps).add_(0.5).floor_().div_(steps)
        ctx.save_for_backward(inside, rounded - share.mul_(inside))
        return rounded.mul_(ceiling)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        inside, of_ceiling = ctx.saved_tensors
        return gradient * inside, (gradient * of_ceiling).sum(), None


class ClipFloorShift(nn.Module):
    """
    Clip-floor-shift activation: a ReLU with a ceiling and equal steps.

    ``ceiling * clip(floor(x * steps / ceiling + 1/2) / steps, 0, 1)``: a ReLU that
    saturates at `ceiling`, rounded to equal steps (Equation 15 of Bu et al. [1]_). The
    gradient ignores the rounding.

    Parameters
    ----------
    steps : int
        Number of steps from 0 to the ceiling, L in the paper.
    ceiling : float
        The largest activation at the start, lambda in the paper. It is trained.

    Raises
    ------
    InputError
        If `steps` is below 1, or `ceiling` not above 0.

    References
    ----------
    .. [1] Bu et al. (2022), doi:10.48550/arXiv.2303.04347

    Examples
    --------
    >>> ClipFloorShift(4, ceiling=2.0)(torch.tensor([-1.0, 0.3, 0.6, 5.0])).tolist()
    [0.0, 0.5, 0.5, 2.0]
    """

    def __init__(self, steps: int, ceiling: float = START) -> None:
        super().__init__()
        self.steps = check_whole("steps", steps, 1)
        self.start = check_number("ceiling", ceiling, above=0)
        self.ceiling = nn.Parameter(torch.tensor(self.start))

    def reset_parameters(self) -> None:
        """Set the ceiling to that of the start."""
        with torch.no_grad():
            self.ceiling.fill_(self.start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Compute activations.

        Parameters
        ----------
        x : torch.Tensor
            Input of the neurons.

        Returns
        -------
        torch.Tensor
            Of the same shape, from 0 to the ceiling.
        """
        found: torch.Tensor = _Rounded.apply(x, self.ceiling, self.steps)
        return found

    def extra_repr(self) -> str:
        """Say the steps and the ceiling, for ``print``."""
        return f"steps={self.steps}, ceiling={float(self.ceiling.detach()):.4g}"
