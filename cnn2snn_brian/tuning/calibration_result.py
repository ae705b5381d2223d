"""What a calibration found."""

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from cnn2snn_brian.description.layer_numbers import shown_number
from cnn2snn_brian.tuning.found import FoundParameters

__all__ = ["CalibrationResult"]


@dataclass(frozen=True)
class CalibrationResult(FoundParameters):
    """
    What a calibration found. ``print`` shows tables.

    Attributes
    ----------
    before, found : Parameters
        The network's own parameters, and those that were fitted.
    agreement_before, agreement : float
        Share of the images that are classified like by the CNN, with either.
    n_images : int
        Number of images.
    errors : dict of str to (float, float)
        By layer, the root of the mean squared difference between rates, in units of the
        activations, and the CNN's activations, over the root of the mean squared
        activation; with one threshold and no shift, and with what was fitted, but for
        the last shift. Layers before it are fitted in both cases.
    settings : dict
        The arguments, and fingerprints of the network and the images.
    """

    agreement_before: float
    agreement: float
    n_images: int
    errors: dict[str, tuple[float, float]]
    settings: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether at least as many images are classified like by the CNN."""
        return self.agreement >= self.agreement_before

    @property
    def verdict(self) -> str:
        """Which parameters are used and why."""
        shares = (
            f"{self.agreement:.1%} of {self.n_images} images are classified like by "
            f"the CNN, {self.agreement_before:.1%} before"
        )
        if self.accepted:
            return f"What was fitted is used: {shares}."
        return f"The network's own parameters are kept: with what was fitted, {shares}."

    def _parts(self) -> list[str | Table]:
        table = Table(box=None)
        table.add_column("layer")
        for title in ("thresholds", "leaks", "starts", "error before", "error"):
            table.add_column(title, justify="right")
        for name, (before, after) in self.errors.items():
            numbers = [
                shown_number(getattr(self.found, what)[name]).removesuffix(
                    " by channel"
                )
                for what in ("thresholds", "leak", "v_init")
            ]
            table.add_row(name, *numbers, f"{before:.1%}", f"{after:.1%}")
        return [table, self.verdict]

    def __repr__(self) -> str:
        used = "used" if self.accepted else "not used"
        return (
            f"CalibrationResult(agreement {self.agreement_before:.1%} -> "
            f"{self.agreement:.1%} of {self.n_images} images, {used})"
        )
