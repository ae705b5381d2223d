"""Weight-shared against explicit synapses."""

from contextlib import ExitStack

import numpy as np
from brian2 import ms

from benchmarks.cost import events_added, fixed_and_added, show
from benchmarks.machine import compiled_for
from benchmarks.measure import Summary, Table, pinned, ratios, timed_rounds
from benchmarks.networks import AVX2, NATIVE, PAPER, Options, paper_workload
from cnn2snn_brian import SimulationResult, Simulator

__all__ = ["synapses"]

#: Different images. Explicit synapses are slow, so they are few.
N_MIX = 3
#: Flags that both kinds are compiled with.
PROCESSORS = (NATIVE, AVX2)
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
    both: dict[str, Simulator] = {}
    with ExitStack() as stack:
        for processor in PROCESSORS:
            for kind in chosen:
                snn = workload.convert(PAPER, kind)
                with compiled_for(processor):
                    both[f"{kind} {processor}"] = stack.enter_context(
                        snn.compile(duration)
                    )
        stack.enter_context(pinned(1))
        shown = {name: images[name.split()[0]] for name in both}
        results = {name: show(both[name], shown[name])() for name in both}
        times = timed_rounds(
            {
                f"{name} {which}": show(both[name], some)
                for name in both
                for which, some in (
                    ("one", shown[name][:1]),
                    ("many", shown[name]),
                )
            },
            options.repeats,
        )
    equal = _equal_counts(results[f"shared {NATIVE}"], results[f"explicit {NATIVE}"])

    table = Table("synapses", "Shared and explicit synapses, T = 100, one worker")
    cost = {
        name: fixed_and_added(
            times[f"{name} one"], times[f"{name} many"], len(shown[name])
        )
        for name in both
    }
    for name, (fixed, added) in cost.items():
        kind, processor = name.split()
        events = events_added(results[name])
        table.rows.append(
            {
                "compiled with": processor,
                "synapses": kind,
                "ms per further image": Summary.of(added),
                "fixed ms per run": Summary.of(fixed),
                "events per image": round(events),
                "events/s": Summary.of([1e3 * events / each for each in added]),
                "times shared": ratios(added, cost[f"shared {processor}"][1]),
                "images": len(shown[name]),
            }
        )
    table.notes = [
        *workload.notes,
        "A run of n images and a run of 1, in turn: the difference over n - 1 is the "
        "cost of a further image, the rest is fixed. Compilation is not counted.",
        f"Compiled for the processor at hand ({NATIVE}), and for one without AVX-512 "
        f"({AVX2}).",
        "Same images (for shared synapses several times over), seed and flags.",
    ]
    return [table, equal]
