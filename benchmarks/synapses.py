"""Weight-shared against explicit synapses."""

import numpy as np
from brian2 import ms

from benchmarks.cost import events_added, fixed_and_added, show
from benchmarks.measure import Summary, Table, pinned, ratios, timed_rounds
from benchmarks.networks import PAPER, Options, paper_workload
from cnn2snn_brian import SimulationResult

__all__ = ["synapses"]

#: Different images. Explicit synapses are slow, so they are few.
N_MIX = 3
#: Share of neurons with equal spike counts below which something is wrong.
MIN_EQUAL = 0.9


def _equal_counts(shared: SimulationResult, explicit: SimulationResult) -> Table:
    """Compare the spike counts of each neuron and image, by population."""
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
        Number of rounds and images.

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
    mix = np.arange(min(N_MIX, len(workload.images)))
    # One image, and then the same mix of images once or several times.
    chosen = {
        "shared": np.append(0, np.tile(mix, max(1, options.n_images // len(mix)))),
        "explicit": np.append(0, mix),
    }
    images = {kind: workload.images[index] for kind, index in chosen.items()}
    duration = PAPER.n_steps * ms
    with (
        workload.convert(PAPER, "shared").compile(duration) as shared,
        workload.convert(PAPER, "explicit").compile(duration) as explicit,
        pinned(1),
    ):
        both = {"shared": shared, "explicit": explicit}
        results = {kind: show(both[kind], images[kind])() for kind in both}
        times = timed_rounds(
            {
                f"{kind} {which}": show(both[kind], some)
                for kind in both
                for which, some in (
                    ("one", images[kind][:1]),
                    ("many", images[kind]),
                )
            },
            options.repeats,
        )
    equal = _equal_counts(results["shared"], results["explicit"])

    table = Table("synapses", "Shared and explicit synapses, T = 100, one worker")
    cost = {
        kind: fixed_and_added(
            times[f"{kind} one"], times[f"{kind} many"], len(images[kind])
        )
        for kind in both
    }
    for kind, (fixed, added) in cost.items():
        events = events_added(results[kind])
        table.rows.append(
            {
                "synapses": kind,
                "ms per further image": Summary.of(added),
                "fixed ms per run": Summary.of(fixed),
                "events per image": round(events),
                "events/s": Summary.of([1e3 * events / each for each in added]),
                "times shared": ratios(added, cost["shared"][1]),
                "images": len(images[kind]),
            }
        )
    table.notes = [
        *workload.notes,
        "A run of n images and a run of 1, in turn: the difference over n - 1 is the "
        "cost of a further image, the rest is fixed. Compilation is not counted.",
        "Same images (for shared synapses several times over), seed and flags.",
    ]
    return [table, equal]
