"""What a threshold setting found, and whether it is better than what was there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.printing import Printed, right_table
from cnn2snn_brian.settings import ByChannel, Parameters, recorded, shown_number
from cnn2snn_brian.tuning.methods import TUNABLE

if TYPE_CHECKING:
    from pandas import DataFrame

    from cnn2snn_brian.network import SpikingNetwork


#: A difference is sure if chance makes one as large in fewer than this share of cases.
SURE = 0.05


@dataclass(frozen=True)
class Check:
    """
    How the network does on some images, before and with what was found.

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
        from scipy.stats import binomtest

        n = self.n_gained + self.n_lost
        return float(binomtest(self.n_gained, n).pvalue) if n else 1.0

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


@dataclass(frozen=True)
class FoundParameters(Printed):
    """
    Parameters before and after. Subclasses know whether what was found is ``accepted``.

    Attributes
    ----------
    before, found : Parameters
        The network's own parameters, and those that were found.
    """

    before: Parameters
    found: Parameters

    if TYPE_CHECKING:

        @property
        def accepted(self) -> bool:
            """Whether `parameters` are those that were found."""

    @property
    def parameters(self) -> Parameters:
        """What to use. ``simulator.run(images, **result.arguments)`` does."""
        return self.found if self.accepted else self.before

    @property
    def thresholds(self) -> dict[str, ByChannel]:
        """The thresholds to use."""
        return dict(self.parameters.thresholds)

    @property
    def arguments(self) -> dict[str, Any]:
        """The parameters to use, as arguments of `Simulator.run`."""
        return dict(vars(self.parameters))

    def _line(self, text: str) -> str:
        used = "used" if self.accepted else "not used"
        return f"{type(self).__name__}({text} images, {used})"


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
        largest value so far with as many images), ``seconds`` (from the start of its
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
        check = self.held_out or self.tuning
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

    @property
    def _title(self) -> str:
        method, objective = self.settings["method"], self.settings["objective"]
        return f"{method}, {objective}: {len(self.history)} candidates"

    def __repr__(self) -> str:
        check = self.held_out or self.tuning
        accuracies = f"accuracy {check.accuracy_before:.1%} -> {check.accuracy:.1%}"
        return self._line(f"{self._title}, {accuracies} of {check.n_images}")

    def _parts(self) -> list[str | Table]:
        return [self._title, self._parameters(), self._checks(), self.verdict]

    def _parameters(self) -> Table:
        """Thresholds before and after, and whatever else was changed."""
        before, found = recorded(self.before), recorded(self.found)
        layers = list(self.before.thresholds)
        titles, columns = ["layer"], [layers]
        for what in TUNABLE:
            if what == "thresholds" or before[what] != found[what]:
                titles += [what.rstrip("s"), "found"]
                for own in (vars(self.before)[what], vars(self.found)[what]):
                    columns.append([shown_number(own[layer]) for layer in layers])
        return right_table(titles, zip(*columns, strict=True))

    def _checks(self) -> Table:
        """Objective and accuracy on the images, before and after."""
        titles = ["images", "", "objective", "found", "accuracy", "found", "CNN"]
        formats = (",", ".4f", ".4f", ".1%", ".1%", ".1%")
        rows = [
            [kind, *map(format, vars(check).values(), formats)]
            for kind, check in (("tuning", self.tuning), ("held-out", self.held_out))
            if check is not None
        ]
        return right_table(titles, rows)


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
        activation; with percentiles as thresholds and no shift, and with what was
        fitted. Layers before it are fitted in both cases.
    settings : dict
        The arguments, and fingerprints of the network and the images.
    networks : tuple of SpikingNetwork
        The network before, and with what was found.
    """

    agreement_before: float
    agreement: float
    n_images: int
    errors: dict[str, tuple[float, float]]
    settings: dict[str, Any]
    networks: "tuple[SpikingNetwork, SpikingNetwork] | None" = None

    @property
    def network(self) -> "SpikingNetwork":
        """The network to use, which has what was found, weights too."""
        assert self.networks is not None
        return self.networks[self.accepted]

    @property
    def arguments(self) -> dict[str, Any]:
        """
        The parameters to use, as arguments of `Simulator.run`.

        Raises
        ------
        InputError
            If weights were fitted again: they belong to `network`.
        """
        if self.accepted and self.settings.get("weights"):
            raise InputError(
                "these parameters belong to other weights than the CNN's, which were "
                "fitted again; compile result.network"
            )
        return super().arguments

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

    def __repr__(self) -> str:
        agreements = f"{self.agreement_before:.1%} -> {self.agreement:.1%}"
        return self._line(f"agreement {agreements} of {self.n_images}")

    def _parts(self) -> list[str | Table]:
        titles = ["layer", "thresholds", "leaks", "starts", "error before", "error"]
        fitted = (self.found.thresholds, self.found.leak, self.found.v_init)
        rows = []
        for name, errors in self.errors.items():
            numbers = (shown_number(each[name]) for each in fitted)
            texts = (text.removesuffix(" by channel") for text in numbers)
            rows.append([name, *texts, *(f"{error:.1%}" for error in errors)])
        return [right_table(titles, rows), self.verdict]


def history_table(rows: list[dict[str, Any]]) -> "DataFrame":
    """Make a table of what is on record of candidates."""
    from pandas import DataFrame, Series

    frame = DataFrame(rows)
    if not rows:
        return frame
    found = frame.pop("parameters")
    # Values of different numbers of images can't be compared.
    frame["best"] = frame.groupby("n_images")["value"].cummax()
    for what, layer in [(w, layer) for w in TUNABLE for layer in found[0][w]]:
        column = [row[what][layer] for row in found]
        # Channels are a list on record, and a missing floor is a text.
        column = [tuple(x) if isinstance(x, list) else float(x) for x in column]
        if what == "thresholds" or len({*column}) > 1 or len(rows) == 1:
            frame[f"{what}.{layer}"] = Series(column)
    return frame
