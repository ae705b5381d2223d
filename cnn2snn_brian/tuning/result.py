"""What a threshold setting found, and whether it is better than what was there."""

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cnn2snn_brian.settings import Parameters, recorded, shown_number
from cnn2snn_brian.tuning.base import FoundParameters
from cnn2snn_brian.tuning.methods import TUNABLE
from cnn2snn_brian.tuning.objectives import Objective
from cnn2snn_brian.tuning.trials import Shown

if TYPE_CHECKING:
    from pandas import DataFrame


#: A difference is sure if chance makes one as large in fewer than this share of cases.
SURE = 0.05


@dataclass(frozen=True)
class Check:
    """
    What the network yields on some images, before and with what was found.

    Attributes
    ----------
    n_images : int
        Number of images.
    value_before, value : float
        Objective with the network's own parameters, and with those that were found.
    accuracy_before, accuracy : float
        Share of images that are classified correctly.
    cnn_accuracy : float
        The CNN's share.
    n_gained, n_lost : int
        Images that are classified correctly only with what was found, and only before.
    """

    n_images: int
    value_before: float
    value: float
    accuracy_before: float
    accuracy: float
    cnn_accuracy: float
    n_gained: int
    n_lost: int

    @property
    def p_value(self) -> float:
        r"""
        Say how likely chance alone would change the accuracy as much.

        Both settings see the same images, so only those count whose classification
        became right (:math:`g`) or wrong (:math:`l`). Without a difference, each of
        them is as likely to be one as the other (McNemar [1]_, in the exact form of the
        sign test [2]_):

        .. math:: p = \min\left(1,\; 2 \sum_{k=0}^{\min(g, l)}
           \binom{g + l}{k} 2^{-(g + l)}\right)

        Fewer than six changed images can't be told from chance: then
        :math:`p \ge 0.06`.

        References
        ----------
        .. [1] McNemar (1947), Note on the sampling error of the difference between
           correlated proportions or percentages, doi:10.1007/BF02295996
        .. [2] Dixon and Mood (1946), The statistical sign test,
           doi:10.1080/01621459.1946.10501898
        """
        n = self.n_gained + self.n_lost
        fewer = min(self.n_gained, self.n_lost)
        # Whole numbers until the end: 2**n is no float above n = 1023.
        ways = sum(comb(n, k) for k in range(fewer + 1))
        return min(1.0, 2 * ways / 2**n)

    def is_better(self, *, by_accuracy: bool) -> bool:
        """
        Say whether what was found is better than what was there before.

        Parameters
        ----------
        by_accuracy : bool
            Whether the accuracy decides, and the objective only where it is the same;
            else the objective decides alone.

        Returns
        -------
        bool
            False if they are equal.
        """
        if by_accuracy and self.n_gained != self.n_lost:
            return self.n_gained > self.n_lost
        return self.value > self.value_before


def compare(
    shown: Shown, objective: Objective, before: Parameters, found: Parameters
) -> Check:
    """Show the same images with two settings."""
    target, labels = shown.target, shown.images.labels
    results = dict(shown.run([before, found]))
    was_right, is_right = (results[i].predictions == labels for i in (0, 1))
    return Check(
        n_images=len(labels),
        value_before=float(objective(results[0], target)),
        value=float(objective(results[1], target)),
        accuracy_before=results[0].accuracy(labels),
        accuracy=results[1].accuracy(labels),
        cnn_accuracy=float((target.predictions == labels).mean()),
        n_gained=int((is_right & ~was_right).sum()),
        n_lost=int((was_right & ~is_right).sum()),
    )


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
