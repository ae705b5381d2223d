"""Weight-shared against explicit synapses."""

import numpy as np
from brian2 import ms

from benchmarks.cost import events_added, fixed_and_added, show
from benchmarks.measure import Summary, Table, pinned, ratios, timed_rounds
from benchmarks.networks import PAPER, Options, paper_workload
from cnn2snn_brian import SimulationResult

__all__ = ["synapses"]

#: Different pictures. Explicit synapses are slow, so they are few.
N_MIX = 3
#: Share of neurons with equal spike counts below which something is wrong.
MIN_EQUAL = 0.9


def _equal_counts(shared: SimulationResult, explicit: SimulationResult) -> Table:
    """Compare the spike counts of each neuron and picture, by population."""
    table = Table(
        "synapses_equal",
        "Equal spike counts of shared and explicit synapses",
        notes=["The two add in different orders, so sums differ by float rounding."],
    )
    for name, counts in explicit.spike_counts.items():
        same = shared.spike_counts[name][: len(counts)] == counts
        share = float(np.mean(same))
        if share < MIN_EQUAL:
            message = f"{name}: only {share:.3f} of the spike counts are equal"
            raise RuntimeError(message)
        table.rows.append(
            {
                "population": name,
                "counts": same.size,
                "different": int(same.size - same.sum()),
                "share equal": share,
            }
        )
    return table


def synapses(options: Options) -> list[Table]:
    """
    Compare the two kinds of synapses on the paper's CNN.

    Parameters
    ----------
    options : Options
        Number of rounds and pictures.

    Returns
    -------
    list of Table
        Costs, and how many spike counts are equal.

    Raises
    ------
    RuntimeError
        If the spikes differ by more than rounding explains.
    """
    workload = paper_workload(options)
    mix = np.arange(min(N_MIX, len(workload.pictures)))
    # One picture, and then the same mix of pictures once or several times.
    chosen = {
        "shared": np.append(0, np.tile(mix, max(1, options.n_pictures // len(mix)))),
        "explicit": np.append(0, mix),
    }
    pictures = {kind: workload.pictures[index] for kind, index in chosen.items()}
    duration = PAPER.n_steps * ms
    with (
        workload.convert(PAPER, "shared").compile(duration) as shared,
        workload.convert(PAPER, "explicit").compile(duration) as explicit,
        pinned(1),
    ):
        both = {"shared": shared, "explicit": explicit}
        results = {kind: show(both[kind], pictures[kind])() for kind in both}
        times = timed_rounds(
            {
                f"{kind} {which}": show(both[kind], images)
                for kind in both
                for which, images in (
                    ("one", pictures[kind][:1]),
                    ("many", pictures[kind]),
                )
            },
            options.repeats,
        )
    equal = _equal_counts(results["shared"], results["explicit"])

    table = Table("synapses", "Shared and explicit synapses, T = 100, one worker")
    cost = {
        kind: fixed_and_added(
            times[f"{kind} one"], times[f"{kind} many"], len(pictures[kind])
        )
        for kind in both
    }
    for kind, (fixed, added) in cost.items():
        events = events_added(results[kind])
        table.rows.append(
            {
                "synapses": kind,
                "ms per further picture": Summary.of(added),
                "fixed ms a run": Summary.of(fixed),
                "events a picture": round(events),
                "events/s": Summary.of([1e3 * events / each for each in added]),
                "times shared": ratios(added, cost["shared"][1]),
                "pictures": len(pictures[kind]),
            }
        )
    table.notes = [
        *workload.notes,
        "A run of n pictures and a run of 1, in turn: the difference over n - 1 is the "
        "cost of a further picture, the rest is fixed. Compilation is not counted.",
        "Same pictures (for shared synapses several times over), seed and flags.",
    ]
    return [table, equal]
