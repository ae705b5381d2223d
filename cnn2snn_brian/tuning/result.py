"""What a threshold setting found, and whether it is better than what was there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cnn2snn_brian.description.layer_numbers import shown_number
from cnn2snn_brian.description.settings import recorded
from cnn2snn_brian.tuning.check import SURE, Check
from cnn2snn_brian.tuning.coordinates import TUNABLE
from cnn2snn_brian.tuning.found import FoundParameters

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["TuningResult"]


@dataclass(frozen=True)
class TuningResult(FoundParameters):
    """
    What a threshold setting found. ``print`` shows tables.

    Attributes
    ----------
    before, found : Parameters
        The network's own parameters, and those that the method chose.
    accepted : bool
        Whether `parameters` are those that were found; else they are the network's own.
    history : pandas.DataFrame
        A row for each candidate: ``round``, ``note``, ``n_images``, ``value`` (the
        objective), ``criterion`` (what the method went by), ``accuracy``, ``best`` (the
        largest value so far with as many images), ``seconds`` (from the begin of its
        round), and its parameters.
    tuning, held_out : Check
        What was there before against what was found, on the images that were tuned on,
        and on those that were not. ``held_out`` is None if there are none.
    settings : dict
        The method with its options, ``accept``, and fingerprints of the network and the
        images.
    """

    accepted: bool
    history: "DataFrame"
    tuning: Check
    held_out: Check | None
    settings: dict[str, Any]

    @property
    def value(self) -> float:
        """The objective of `parameters` on the images that were tuned on."""
        return self.tuning.value if self.accepted else self.tuning.value_before

    @property
    def verdict(self) -> str:
        """Which parameters are used and why, and whether the images tell enough."""
        check = self.tuning if self.held_out is None else self.held_out
        kind = "tuning" if self.held_out is None else "held-out"
        images = f"{check.n_images} {kind} images"
        if not self.accepted:
            text = (
                "The network's own parameters are kept: what was found is not better "
                f"on {images} (accept='always' takes it)."
            )
        elif self.settings["accept"] == "always":
            text = "What was found is used, as accept='always' asks for."
        else:
            text = f"What was found is used: it is better on {images}."
        if self.held_out is None:
            return f"{text} Nothing is known of other images: none were held out."
        if check.p_value >= SURE:
            text += (
                f" They are too few to tell the accuracies apart: {check.n_gained} "
                f"became right and {check.n_lost} wrong (sign test, p = "
                f"{check.p_value:.2f})."
            )
        return text

    def _parts(self) -> list[str | Table]:
        title = (
            f"{self.settings['method']}, {self.settings['objective']}: "
            f"{len(self.history)} candidates"
        )
        return [title, self._parameters(), self._checks(), self.verdict]

    def __repr__(self) -> str:
        check = self.tuning if self.held_out is None else self.held_out
        used = "used" if self.accepted else "not used"
        return (
            f"TuningResult({self.settings['method']}, {self.settings['objective']}: "
            f"{len(self.history)} candidates, accuracy {check.accuracy_before:.1%} -> "
            f"{check.accuracy:.1%} of {check.n_images} images, {used})"
        )

    def _parameters(self) -> Table:
        """Thresholds before and after, and whatever else was changed."""
        names = {"thresholds": "threshold"}
        table = Table(box=None)
        table.add_column("layer")
        before, found = recorded(self.before), recorded(self.found)
        shown = [
            what
            for what in TUNABLE
            if what == "thresholds" or before[what] != found[what]
        ]
        for what in shown:
            table.add_column(names.get(what, what), justify="right")
            table.add_column("found", justify="right")
        for layer in self.before.thresholds:
            values = [
                shown_number(getattr(parameters, what)[layer])
                for what in shown
                for parameters in (self.before, self.found)
            ]
            table.add_row(layer, *values)
        return table

    def _checks(self) -> Table:
        """Objective and accuracy on the images, before and after."""
        table = Table(box=None)
        table.add_column("images")
        for title in ("", "objective", "found", "accuracy", "found", "CNN"):
            table.add_column(title, justify="right")
        for kind, check in (("tuning", self.tuning), ("held-out", self.held_out)):
            if check is not None:
                table.add_row(
                    kind,
                    f"{check.n_images:,}",
                    f"{check.value_before:.4f}",
                    f"{check.value:.4f}",
                    f"{check.accuracy_before:.1%}",
                    f"{check.accuracy:.1%}",
                    f"{check.cnn_accuracy:.1%}",
                )
        return table
