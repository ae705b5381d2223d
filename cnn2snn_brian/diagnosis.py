"""Where a spiking network loses what its CNN computes, and what to try."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from cnn2snn_brian.errors import InputError
from cnn2snn_brian.layerwise import Layerwise
from cnn2snn_brian.printing import Printed, frame_table
from cnn2snn_brian.projections import INPUT, Network, Projection, by_channel
from cnn2snn_brian.results import (
    SATURATED,
    Correlation,
    SimulationResult,
    check_one_duration,
)
from cnn2snn_brian.settings import (
    activations_of_spikes,
    check_shown,
    input_gains,
    reference,
)

if TYPE_CHECKING:
    import pandas
    from torch import nn


@dataclass
class _Branch:
    """Sums over images of what arrives in a layer from one of those that it reads."""

    part: Projection
    correlation: Correlation = field(default_factory=Correlation)
    size: float = 0.0

    def add(self, activations: Any, spikes: Any) -> None:
        """Add some images: what the source computes, and what its spikes stand for."""
        wanted = self.part.drive(activations.astype(np.float32))
        self.correlation.add(self.part.drive(spikes.astype(np.float32)), wanted)
        self.size += float(np.abs(wanted).sum(dtype=float))


def _branch_table(branches: list[_Branch]) -> "pandas.DataFrame | None":
    import pandas as pd

    if not branches:
        return None
    totals: dict[str, float] = defaultdict(float)
    for own in branches:
        totals[own.part.target] += own.size
    # Of a layer that gets nothing, all sizes are 0.
    shares = [own.size / (totals[own.part.target] or 1) for own in branches]
    correlations = [own.correlation.value for own in branches]
    ends = [(own.part.target, own.part.source) for own in branches]
    index = pd.MultiIndex.from_tuples(ends, names=["layer", "reads"])
    return pd.DataFrame({"correlation": correlations, "share": shares}, index)


def _said_of(layers: Network, branches: list[_Branch], layer: str) -> str:
    """Say on which branch a layer is, or which of its branches is worst."""
    read = [own for own in branches if own.part.target == layer]
    if read:
        worst = min(read, key=lambda own: own.correlation.value)
        return (
            f" Of what it reads, the branch from {worst.part.source} is furthest from "
            f"the CNN (correlation {worst.correlation.value:.3f})."
        )
    name = layer
    while True:
        readers = {p.target for p in layers.out_of(name)}
        if len(readers) != 1:
            return ""
        (reader,) = readers
        if others := ", ".join(own for own in layers.sources(reader) if own != name):
            return (
                f" It is on the branch through {name} into {reader}, next to {others}."
            )
        name = reader


#: Nothing needs doing if all layers correlate with the CNN at least this well, or lose
#: this little, and this share of the answers are the CNN's.
GOOD_CORRELATION = GOOD_TRANSFER = GOOD_AGREEMENT = 0.95
#: A layer is named before the worst one if it loses this share of what that one loses:
#: what goes wrong in a layer puts the next ones out of their range, too.
FIRST_SHARE = 0.5
#: The same for a layer whose threshold does not fit its input.
FIRST_SHARE_MISFIT = 0.25
#: From this share of saturated neurons on, the threshold is too low.
MANY_SATURATED = 0.02
#: From this share of activation without a spike on, much is missed.
MANY_MISSED = 0.25
#: A threshold is too high if the strongest input of a step is less than this share of
#: it, and too low if it is more than the other: a neuron spikes at most once a step.
TOO_HIGH, TOO_LOW = 0.25, 1.25
#: It is too high only above the first number of standard deviations of the input of a
#: step, and is lowered to no less than the second: where input is rare, its mean is far
#: below that of the steps in which it comes, and what exceeds the threshold is lost.
MANY_SPREADS, FEW_SPREADS = 16, 4


@dataclass(frozen=True)
class Diagnosis(Printed):
    """
    What `diagnose` found.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per layer, by name, with the columns

        ``correlation``
            Pearson's correlation of spike counts with the CNN's activations (after
            ReLU), over all neurons and images; with thresholds by channel, of spike
            counts times these. NaN if one of them is constant.
        ``transfer``
            The same with the activation that follows from the spikes that the layer
            got: what the layer itself loses, whatever was lost before it.
        ``silent``
            Share of neurons that spike on no image.
        ``saturated``
            Share of neurons and images with spikes in more than 90 % of the steps.
        ``missed``
            Share of the CNN's summed activation that is at neurons and images
            without a spike.
        ``spikes``
            Mean number of spikes per neuron and image.
        ``events``
            Synaptic events delivered into the layer per image. NaN if its input does
            not consist of spikes.
        ``threshold``
            Threshold of the layer.
        ``strongest``
            Strongest input per step (99.9th percentile over neurons and images). A
            threshold of this size makes the strongest neurons spike in every step.
        ``spread``
            Standard deviation of the input of a step (99.9th percentile over neurons
            and images), estimated as if the spikes that arrive were independent. If
            the threshold is not several times as large, single spikes decide.
    agreement : float
        Share of images for which SNN and CNN give the same answer.
    layer : str or None
        The first layer that loses much by itself; None if hardly anything is lost.
    advice : str
        What to try, in a sentence or two.
    thresholds : dict of str to float
        The threshold that the advice names, by its layer, so that
        ``run(images, thresholds=found.thresholds)`` follows it; empty if it names none.
    branches : pandas.DataFrame, optional
        Of layers that read several: a row for each of these, by the names of the layer
        and of the one that it reads, with the ``correlation`` of what arrives from
        there with what the CNN computes, and its ``share`` of the summed sizes.
    anatomy : pandas.DataFrame, optional
        What uneven timing, clipping and rounding cost: the ``agreement`` with the CNN
        of spikes ``as they are``; of ``even`` ones, which every neuron spreads over the
        steps by all that it gets in an image (clipping and rounding are left); and of
        even ones that are only ``rounded`` to whole numbers, or only ``clipped`` to
        what a neuron can send in all steps. For resets by subtraction, of networks that
        `calibrate` covers.
    """

    table: "pandas.DataFrame"
    agreement: float
    layer: str | None
    advice: str
    thresholds: Mapping[str, float]
    branches: "pandas.DataFrame | None" = None
    anatomy: "pandas.DataFrame | None" = None

    def __repr__(self) -> str:
        return (
            f"Diagnosis({len(self.table)} layers, agreement {self.agreement:.1%}, "
            f"layer {self.layer})"
        )

    def _parts(self) -> list[str | Table]:
        tables = [frame_table(self.table, _FORMATS)]
        for more in (self.branches, self.anatomy):
            if more is not None:
                tables.append(frame_table(more, _FORMATS))
        said = f"same answer as the CNN: {self.agreement:.1%}\n{self.advice}"
        return [*tables, said]


#: How numbers are shown, by column.
_FORMATS = {
    **dict.fromkeys(("silent", "saturated", "missed", "agreement"), ".1%"),
    **dict.fromkeys(("threshold", "strongest", "spread"), ".4g"),
    "spikes": ".2f",
    "events": ",.0f",
}


class _LayerSums:
    """What is summed up for one layer over the batches of images."""

    def __init__(self, n_neurons: int) -> None:
        self.with_cnn, self.with_input = Correlation(), Correlation()
        self.ever = np.zeros(n_neurons, dtype=bool)
        # Neurons and images, their spikes, saturated ones; activation missed, and all.
        self.sums = np.zeros(5)
        self.strongest: list[float] = []
        self.spread: list[float] = []

    def add(
        self, counts: Any, coded: Any, activations: Any, drives: Any, n_steps: int
    ) -> None:
        """Add some images."""
        total, variance = drives
        activations = np.maximum(activations, 0)
        self.with_cnn.add(coded, activations)
        self.with_input.add(coded, np.maximum(total, 0))
        flat = counts.reshape(len(counts), -1)
        self.ever |= flat.any(0)
        saturated = (flat > SATURATED * n_steps).sum()
        missed = activations[counts == 0].sum()
        self.sums += (flat.size, flat.sum(), saturated, missed, activations.sum())
        self.strongest.append(float(np.percentile(total, np.float64(99.9)) / n_steps))
        self.spread.append(float(np.sqrt(np.percentile(variance, 99.9) / n_steps)))

    def row(self, result: SimulationResult, name: str) -> dict[str, float]:
        """Give the row of the table."""
        n, spikes, saturated, missed, activation = self.sums.tolist()
        events = result.events.get(name)
        return {
            "correlation": self.with_cnn.value,
            "transfer": self.with_input.value,
            "silent": float(1 - self.ever.mean()),
            "saturated": saturated / n,
            "missed": missed / activation if activation else 0.0,
            "spikes": spikes / n,
            "events": math.nan if events is None else float(events.mean()),
            "threshold": reference(result.parameters.thresholds[name]),
            "strongest": float(np.mean(self.strongest)),
            "spread": float(np.mean(self.spread)),
        }


def _layers_of(module: "nn.Module | Network", result: SimulationResult) -> Network:
    """Read the layers with the names that the result has."""
    if isinstance(module, Network):
        found = [module]
    else:
        from cnn2snn_brian.cnn import from_torch

        channels, height, width = result.shapes[INPUT]
        shape = (channels, height, width)
        by_role = from_torch(module, shape, names="role")
        found = [by_role, from_torch(module, shape, names="module")]
    # A network whose pooling is in its synapses has no layers for it.
    found += [layers.without_pooling_neurons() for layers in found]
    expected = {k: result.shapes[k] for k in result.spike_counts if k != INPUT}
    for layers in found:
        own = {name: layers.shapes[name] for name in layers.names}
        if [*own.items()] == [*expected.items()]:
            return layers
    raise InputError(
        f"the CNN has the layers {', '.join(found[0].names)}, the result "
        f"{', '.join(expected)}: they are not the same network"
    )


def _drives(
    layers: Network,
    result: SimulationResult,
    counts: dict[str, Any],
    pixels: Any,
    each: Mapping[str, Any],
) -> Iterator[tuple[str, npt.NDArray[Any], npt.NDArray[Any]]]:
    """Sum the input of each neuron over an image, from the spikes that it got."""
    parameters, n_steps = result.parameters, result.n_steps
    gains = input_gains(layers, parameters.thresholds, parameters.rate_scale)
    # In the units of the CNN, summed over the steps.
    sent: dict[str, Any] = {INPUT: n_steps * pixels}  # an image as a constant current
    variances: dict[str, Any] = {}
    for name, spikes in counts.items():
        sent[name] = (spikes * each[name]).astype(np.float32)
        rate = spikes / n_steps
        variances[name] = (spikes * (1 - rate) * each[name] ** 2).astype(np.float32)
    for layer in layers:
        shape = layer.shape
        gain = gains[layer.name]
        total: Any = n_steps * by_channel(parameters.leak[layer.name], shape)
        total = total + gain * layers.drive(layer.name, sent)
        if layer.bias is not None:
            total = total + n_steps * gain * layer.bias
        variance: Any = np.zeros((1, *shape))
        for p in layers.into(layer.name):
            if p.source in variances:
                squared = replace(p, connection=p.connection.squared())
                variance = variance + gain**2 * squared.drive(variances[p.source])
        yield layer.name, np.asarray(total), np.maximum(variance, 0)


def diagnose(
    result: SimulationResult, module: "nn.Module | Network", images: Any
) -> Diagnosis:
    """
    Compare every layer with the CNN, and name the one to look at.

    Parameters
    ----------
    result : SimulationResult
        A simulation. Nothing needs to be recorded; some hundred images will do.
    module : nn.Module or Network
        The CNN that was converted, or its layers, ``snn.layers``. Give the layers if
        the CNN was converted with ``normalize``.
    images : ndarray or torch.Tensor, shape (n_images, channels, height, width)
        The images that were simulated, float in [0, 1] or uint8.

    Returns
    -------
    Diagnosis
        A table with a row per layer, and what to try. ``print`` shows it.

    Raises
    ------
    InputError
        If the CNN or the images are not those of the result, or stimuli of different
        durations were shown.
    """
    import pandas as pd

    steps = result.steps_of_row
    check_one_duration(steps.min() * result.dt_s, steps.max() * result.dt_s)
    layers = _layers_of(module, result)
    pixels = check_shown(images, layers)
    if len(pixels) != result.n_images:
        raise InputError(f"{len(pixels)} images, the result has {result.n_images}")
    sums = {name: _LayerSums(math.prod(layers.shapes[name])) for name in layers.names}
    answers = np.zeros(len(pixels), dtype=np.int64)
    worth = activations_of_spikes(layers, result.parameters)
    several = [p for p in layers.projections if len(layers.into(p.target)) > 1]
    branches = [*map(_Branch, several)]
    counted = result.spike_counts
    for part, activations in layers.activation_batches(pixels):
        batch = {name: counted.part(name, part) for name in counted}
        last = activations[layers.names[-1]]
        answers[part] = last.reshape(len(last), -1).argmax(1)
        activations = {INPUT: pixels[part], **activations}
        for branch in branches:
            if (source := branch.part.source) in batch:
                branch.add(activations[source], batch[source] * worth[source])
        for name, *drives in _drives(layers, result, batch, pixels[part], worth):
            coded, n_steps = batch[name] * worth[name], result.n_steps
            sums[name].add(batch[name], coded, activations[name], drives, n_steps)
    rows = {name: found.row(result, name) for name, found in sums.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")
    agreement = float((result.predictions == answers).mean())
    anatomy = _anatomy(layers, result, pixels, answers)
    layer, named = _worst(table, agreement), dict[str, float]()
    if layer is None:
        said = _nothing_to_do(table, result, agreement)
    else:
        said, named = _advice(table.loc[layer], layer, result)
        said += _said_of(layers, branches, layer)
        said += "" if anatomy is None else _most_costly(anatomy["agreement"], result)
    read = _branch_table(branches)
    return Diagnosis(table, agreement, layer, said, named, read, anatomy)


def _anatomy(
    layers: Network, result: SimulationResult, pixels: Any, answers: Any
) -> "pandas.DataFrame | None":
    """Put oracles in the place of uneven, clipped and rounded spikes, one by one."""
    import pandas as pd

    run, known = result.perturbations, result.network
    is_plain = run is not None and not (
        run.lesion or run.release_probability or run.plasticity or run.input_deletion
    )
    names = ("reset", "encoding", "propagation")
    if not is_plain or known.get("reset") != "subtract" or "extension" in known:
        return None
    assert run is not None
    how = {name: known[name] for name in (*names, "delays_s")}
    try:
        emulated = Layerwise(
            layers, run.neurons, result.n_steps, dt_s=result.dt_s, **how
        )
    except InputError:
        return None

    def agreement(*, rounds: bool, clips: bool) -> float:
        parameters = result.parameters
        found = emulated.evenly(parameters, pixels, rounds=rounds, clips=clips)
        return float((found == answers).mean())

    rows = {
        "as they are": float((result.predictions == answers).mean()),
        "even": agreement(rounds=True, clips=True),
        "even, rounded": agreement(rounds=True, clips=False),
        "even, clipped": agreement(rounds=False, clips=True),
    }
    table = pd.DataFrame({"agreement": rows})
    return table.rename_axis("spikes")


def _most_costly(agreement: Any, result: SimulationResult) -> str:
    """Say which of the three costs most, and how to mend it."""
    losses = {
        "uneven timing": agreement["even"] - agreement["as they are"],
        "clipping": 1 - agreement["even, clipped"],
        "rounding": 1 - agreement["even, rounded"],
    }
    worst = max(losses, key=lambda cause: losses[cause])
    duration = f"{1e3 * result.duration_s:g} ms"
    if worst == "uneven timing":
        why = (
            f"with spikes spread evenly, {agreement['even']:.1%} of the answers would "
            f"be the CNN's, not {agreement['as they are']:.1%}"
        )
        what = (
            "let neurons wait for their input with starting potentials below 0 "
            f"(calibrate), send bursts (BurstIF), or have more time than {duration}"
        )
    elif worst == "clipping":
        why = f"alone, it leaves {agreement['even, clipped']:.1%} of the CNN's answers"
        what = "raise thresholds (a higher percentile, or calibrate)"
    else:
        why = f"alone, it leaves {agreement['even, rounded']:.1%} of the CNN's answers"
        what = f"take more time than {duration}, bursts (BurstIF) or lower thresholds"
    what = what[0].upper() + what[1:]
    return f" Of what spikes can do, {worst} costs most: {why}. {what}."


def _loss(row: Any) -> float:
    """Say what a layer loses by itself: 1 if it is silent with an input above 0."""
    if math.isnan(row["transfer"]):
        return float(row["strongest"] > 0 and row["missed"] > 0)
    return float(1 - row["transfer"])


def _is_too_low(row: Any) -> bool:
    share = 1 if row["saturated"] > MANY_SATURATED else TOO_LOW
    return bool(row["strongest"] > share * row["threshold"])


def _is_too_high(row: Any) -> bool:
    for_strong = 0 < row["strongest"] < TOO_HIGH * row["threshold"]
    return bool(for_strong and MANY_SPREADS * row["spread"] < row["threshold"])


def _worst(table: "pandas.DataFrame", agreement: float) -> str | None:
    losses = {str(name): _loss(row) for name, row in table.iterrows()}
    most = max(losses.values())
    follows = most <= 1 - GOOD_TRANSFER
    follows = follows or bool((table["correlation"] >= GOOD_CORRELATION).all())
    if follows and agreement >= GOOD_AGREEMENT:
        return None
    for name, loss in losses.items():
        row = table.loc[name]
        misfit = _is_too_low(row) or _is_too_high(row)
        if loss >= (FIRST_SHARE_MISFIT if misfit else FIRST_SHARE) * most:
            return name
    return None


def _nothing_to_do(
    table: "pandas.DataFrame", result: SimulationResult, agreement: float
) -> str:
    said = (
        "Nothing needs doing: hardly anything is lost, and "
        f"{agreement:.1%} of the answers are the CNN's."
    )
    known = table["correlation"].dropna()
    if not known.empty:
        said += (
            f" The correlation with the CNN is lowest in {known.idxmin()}, "
            f"{known.min():.3f}; images shown longer than {1e3 * result.duration_s:g} "
            "ms make it higher."
        )
    return said


def _advice(
    row: Any, layer: str, result: SimulationResult
) -> tuple[str, dict[str, float]]:
    """Say what to try with a layer, and its threshold if it is one."""
    duration = f"{1e3 * result.duration_s:g} ms"
    now, strongest = row["threshold"], float(row["strongest"])
    floor = result.parameters.v_min[layer]
    named: dict[str, float] = {}
    why = f"{row['missed']:.1%} of the CNN's activation is at neurons without a spike"
    if _is_too_low(row):
        why = (
            f"its strongest input a step is {strongest / now:.2g} times its threshold, "
            f"and {row['saturated']:.1%} of its neurons are saturated"
        )
        named = {layer: strongest}
        what = f"raise its threshold, now {now:.4g}, to about {strongest:.4g}"
    elif _is_too_high(row):
        named = {layer: max(strongest, FEW_SPREADS * float(row["spread"]))}
        what = f"lower its threshold, now {now:.4g}, to about {named[layer]:.4g}"
    elif row["missed"] > MANY_MISSED:
        why += ", though its threshold fits its input"
        what = f"show the images longer than {duration}"
    elif floor > -now:
        why = f"its potential is held at the floor {floor:g} and forgets inhibition"
        # Everywhere: what one layer's floor adds, the next layers amplify.
        what = (
            "try a floor below 0 in all layers, v_min=float('-inf'), or a threshold "
            f"above {now:.4g}"
        )
    else:
        why = "its rates are noisy though its threshold fits its input"
        what = (
            f"try more time than {duration}, and reset='subtract' if a spike resets "
            "to zero"
        )
    return f"{layer} loses most: {why}, so {what}.", named
