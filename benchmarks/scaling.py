"""How the cost grows with steps, images and the network."""

from contextlib import ExitStack

import numpy as np
from brian2 import ms

from benchmarks.cost import events_added, fixed_and_added, show
from benchmarks.measure import Summary, Table, linear_fit, pinned, timed_rounds
from benchmarks.networks import (
    PAPER,
    Options,
    Workload,
    paper_workload,
    vgg_workload,
    wide_workload,
)

__all__ = ["scaling"]

STEPS = (25, 50, 100, 200, 400)
IMAGES = (1, 2, 5, 10, 20, 50)
WIDTHS = (0.5, 1.0, 2.0)
SIZES = (16, 32, 64)
#: Images of a run of the tables over steps and networks, at most.
N_IMAGES = 10


def _steps(options: Options, workload: Workload) -> Table:
    images = workload.images[:N_IMAGES]
    n = len(images)
    snn = workload.convert(PAPER)
    with ExitStack() as stack:
        built = {
            n_steps: stack.enter_context(snn.compile(n_steps * ms)) for n_steps in STEPS
        }
        stack.enter_context(pinned(1))
        events = {
            n_steps: show(simulator, images)().n_events
            for n_steps, simulator in built.items()
        }
        times = timed_rounds(
            {str(T): show(simulator, images) for T, simulator in built.items()},
            options.repeats,
        )
    table = Table("scaling_steps", "Cost against the number of steps")
    for n_steps in STEPS:
        table.rows.append(
            {
                "T": n_steps,
                "ms per image": Summary.of([1e3 * s / n for s in times[str(n_steps)]]),
                "us per step": Summary.of(
                    [1e6 * s / n / n_steps for s in times[str(n_steps)]]
                ),
                "events/s": Summary.of(
                    [events[n_steps] / s for s in times[str(n_steps)]]
                ),
            }
        )
    table.notes = [*workload.notes, f"{n} images, the fixed cost of a run included."]
    return table


def _images(options: Options, workload: Workload) -> Table:
    # Images repeat if there are fewer: seeds differ by index.
    numbers = [n for n in IMAGES if n <= max(2, options.n_images)]
    available = workload.images
    with workload.convert(PAPER).compile(PAPER.n_steps * ms) as simulator, pinned(1):
        times = timed_rounds(
            {
                str(n): show(simulator, available[np.arange(n) % len(available)])
                for n in numbers
            },
            options.repeats,
        )
    table = Table("scaling_images", "Cost against the number of images")
    for n in numbers:
        table.rows.append(
            {
                "images": n,
                "ms": Summary.of([1e3 * s for s in times[str(n)]]),
                "ms per image": Summary.of([1e3 * s / n for s in times[str(n)]]),
            }
        )
    fits = [
        linear_fit(numbers, [times[str(n)][k] for n in numbers])
        for k in range(options.repeats)
    ]
    fixed = Summary.of([1e3 * intercept for intercept, _ in fits])
    slope = Summary.of([1e3 * slope for _, slope in fits])
    table.notes = [
        *workload.notes,
        f"A line through each round: {fixed} ms fixed, {slope} ms per image.",
    ]
    table.rows.append({"images": "line: fixed", "ms": fixed})
    table.rows.append({"images": "line: each", "ms": slope})
    return table


def _networks(options: Options) -> Table:
    workloads: dict[str, Workload] = {}
    for width in WIDTHS:
        workloads[f"channels x {width:g}"] = wide_workload(options, width, 32)
    for size in SIZES:
        if size != 32:
            workloads[f"images {size} x {size}"] = wide_workload(options, 1, size)
    workloads["like VGG"] = vgg_workload(options)
    actions, events, sizes = {}, {}, {}
    n = {}
    with ExitStack() as stack:
        stack.enter_context(pinned(1))
        for name, workload in workloads.items():
            snn = workload.convert(PAPER)
            simulator = stack.enter_context(snn.compile(PAPER.n_steps * ms))
            images = workload.images[: 3 if name == "like VGG" else N_IMAGES]
            images = images[np.arange(max(2, len(images))) % len(images)]
            result = show(simulator, images)()
            n[name] = len(images)
            events[name] = events_added(result)
            # Every neuron has a count, those of the input too.
            neurons = sum(counts[0].size for counts in result.spike_counts.values())
            sizes[name] = (neurons, snn.layers.n_synapses)
            actions[f"{name} one"] = show(simulator, images[:1])
            actions[f"{name} many"] = show(simulator, images)
        times = timed_rounds(actions, options.repeats)
    table = Table("scaling_networks", "Cost against the network, T = 100")
    for name, (neurons, n_synapses) in sizes.items():
        fixed, added = fixed_and_added(
            times[f"{name} one"], times[f"{name} many"], n[name]
        )
        table.rows.append(
            {
                "network": name,
                "neurons": neurons,
                "synapses": n_synapses,
                "ms per further image": Summary.of(added),
                "fixed ms per run": Summary.of(fixed),
                "events per image": round(events[name]),
                "events/s": Summary.of([1e3 * events[name] / each for each in added]),
            }
        )
    table.notes = [
        *next(iter(workloads.values())).notes,
        "The paper's CNN with other channels or images, and one like VGG. "
        "Thresholds come from each network's own activations.",
    ]
    return table


def scaling(options: Options) -> list[Table]:
    """
    Measure the cost against steps, images, channels and image size.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        Three: steps, images, networks.
    """
    workload = paper_workload(options)
    return [
        _steps(options, workload),
        _images(options, workload),
        _networks(options),
    ]
