"""Brian2 objects of a user's own: in Brian2 alone, and in the program."""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from brian2 import (
    Network,
    NeuronGroup,
    SpikeMonitor,
    Synapses,
    defaultclock,
    device,
    ms,
    mV,
    prefs,
    second,
    set_device,
)

from benchmarks.measure import Summary, Table, pinned, processor_seconds, ratios, rounds
from benchmarks.networks import Options
from cnn2snn_brian import Sequence, Simulator, SpikingNetwork, convert, data, models

__all__ = ["own_model"]

#: Digits that are shown in Brian2's runtime mode, and in the program.
N_RUNTIME, N_PROGRAM = 10, 500
#: Trials of the balanced network, and of these how many are run in Brian2.
N_TRIALS, N_BUILDS, N_RUNS = 200, 3, 10
DURATION, DT = 1 * second, 0.1 * ms
PROCESSOR = "Seconds are processor time, of this process and those that it starts."


def competition(network: Network) -> None:
    """
    Add the ten populations of the example "Part of a larger Brian2 model".

    Parameters
    ----------
    network : brian2.Network
        A converted network with ten output neurons.
    """
    size, rest = 8, -65 * mV
    answers = network["ip1"]
    competitors = NeuronGroup(
        10 * size,
        "dv/dt = (rest - v) / tau + 2 * mV * sqrt(2 / tau) * xi"
        ": volt (unless refractory)",
        threshold="v > -50 * mV",
        reset="v = rest",
        refractory=3 * ms,
        method="euler",
        name="competitors",
        namespace={"tau": 15 * ms, "rest": rest},
    )
    competitors.v = rest
    feed = Synapses(answers, competitors, on_pre="v += 6 * mV", name="feed")
    feed.connect("i == j // size")
    excite = Synapses(competitors, competitors, on_pre="v += 1 * mV", name="excite")
    excite.connect("i // size == j // size and i != j")
    inhibit = Synapses(competitors, competitors, on_pre="v -= 0.4 * mV", name="inhibit")
    inhibit.connect("i // size != j // size")
    network.add(competitors, feed, excite, inhibit)


def balanced(pairs: Any = None, v: Any = None) -> Network:
    """
    Make the current-based balanced network of Brette et al. (2007).

    Parameters
    ----------
    pairs : dict of str to (ndarray, ndarray), optional
        Sources and targets of its synapses; drawn at random by default.
    v : Quantity [V], optional
        Potentials at the start; drawn at random by default.

    Returns
    -------
    brian2.Network
        4,000 neurons, ``excite`` and ``inhibit``.

    References
    ----------
    .. [1] doi:10.1007/s10827-007-0038-6
    """
    cells = NeuronGroup(
        4000,
        """dv/dt = (-49 * mV - v + excited + inhibited) / (20 * ms)
        : volt (unless refractory)
        dexcited/dt = -excited / (5 * ms) : volt
        dinhibited/dt = -inhibited / (10 * ms) : volt""",
        threshold="v > -50 * mV",
        reset="v = -60 * mV",
        refractory=5 * ms,
        method="exact",
        name="cells",
    )
    cells.v = "(-60 + 10 * rand()) * mV" if v is None else v
    found = []
    for name, change, where in (
        ("excite", "excited += w", "i < 3200"),
        ("inhibit", "inhibited += w", "i >= 3200"),
    ):
        synapses = Synapses(cells, cells, "w : volt (shared)", on_pre=change, name=name)
        if pairs is None:
            synapses.connect(where, p=0.02)
        else:
            synapses.connect(i=pairs[name][0], j=pairs[name][1])
        synapses.w = 1.62 * mV if name == "excite" else -9 * mV
        found.append(synapses)
    return Network(cells, *found)


def _by_image(snn: SpikingNetwork, digits: Any, target: str) -> Callable[[], None]:
    """Show each digit from the start, in Brian2's runtime mode."""
    network = snn.network()
    network.store()

    def run() -> None:
        prefs.codegen.target = target
        for image in digits:
            network.restore()
            snn.show(network, image)
            network.run(100 * ms, namespace={})

    return run


def _in_one(snn: SpikingNetwork, digits: Any, target: str) -> Callable[[], None]:
    """Show digits one after another, in Brian2's runtime mode."""
    network = snn.network(Sequence(digits, 100 * ms, off=0 * ms))
    network.store()

    def run() -> None:
        prefs.codegen.target = target
        network.restore()
        network.run(len(digits) * 100 * ms, namespace={})

    return run


def _images_a_second(options: Options) -> list[Table]:
    training, test = data.load_digits()
    cnn, _ = models.pretrained("digits")
    plain = convert(cnn, test.input_shape, calibration=training.images)
    snn = plain.extend(competition)
    digits = test.images[:N_RUNTIME]
    slow = {
        f"Brian2, {target}, {way}": partial(
            processor_seconds, made(snn, digits, target)
        )
        for target in ("numpy", "cython")
        for way, made in (("image by image", _by_image), ("one run", _in_one))
    }
    images = test.images[np.arange(N_PROGRAM) % len(test.images)]
    same = plain.extend(lambda network: None)
    with (
        snn.compile(100 * ms) as extended,
        plain.compile(100 * ms) as alone,
        same.compile(100 * ms) as unchanged,
    ):
        options_of_run: dict[str, Any] = {"executor": 1, "progress": False}
        fast = {
            name: partial(
                processor_seconds, partial(simulator.run, images, **options_of_run)
            )
            for name, simulator in (
                ("program", extended),
                ("program without the model", alone),
                ("extended by nothing", unchanged),
            )
        }
        actions = slow | fast
        rounds(actions, 1)
        found = rounds(actions, options.repeats)
        nothing = list(fast)[1:]
        often = rounds({name: actions[name] for name in nothing}, 4 * options.repeats)
    table = Table("own_model", "The digits net and ten populations that compete")
    program = [t / N_PROGRAM for t in found["program"]]
    for name, times in found.items():
        each = [t / (N_RUNTIME if name in slow else N_PROGRAM) for t in times]
        row: dict[str, Any] = {
            "in": name,
            "images a second": Summary.of([1 / t for t in each]),
        }
        if name in slow:
            row["program is faster by"] = ratios(each, program)
        if name == nothing[1]:
            row["times without"] = ratios(often[nothing[1]], often[nothing[0]])
        table.rows.append(row)
    table.notes = [
        f"100 ms an image, {N_RUNTIME} and {N_PROGRAM} images a round, one core.",
        "Image by image: restore(), show, run(100 ms). One run: the digits one after "
        "another without a reset, so that what Brian2 does before a run is done once.",
        f"The last ratio is of {4 * options.repeats} rounds of the last two.",
        PROCESSOR,
    ]
    return [table]


def _standalone(folder: Path, record: bool, *given: Any) -> tuple[Network, Any]:
    """Build and run in Brian2's standalone mode; give the network and its spikes."""
    set_device("cpp_standalone", directory=str(folder))
    defaultclock.dt = DT
    network = balanced(*given)
    spikes = SpikeMonitor(network["cells"], record=record, name="spikes")
    network.add(spikes)
    network.run(DURATION, namespace={})
    return network, spikes


def _leave_standalone() -> None:
    device.reinit()
    set_device("runtime")


def _trials(options: Options) -> list[Table]:
    rng = np.random.default_rng(0)
    starts = (-60 + 10 * rng.random((N_TRIALS, 4000))) * mV
    weights = np.linspace(1.2, 2.0, N_TRIALS) * mV
    weights[0] = 1.62 * mV
    settings = [
        {"values": {"cells.v": v, "excite.w": w}}
        for v, w in zip(starts, weights, strict=True)
    ]
    folder = Path(tempfile.mkdtemp(prefix="own-model-"))
    prefs.codegen.target = "numpy"
    opened: list[Simulator] = []

    def build() -> None:
        opened.append(Simulator.of(balanced, DURATION, dt=DT, cache_directory=folder))

    first = processor_seconds(build)
    with opened[0] as simulator:
        rows = processor_seconds(
            lambda: list(simulator.run_many(None, settings, executor=1, progress=False))
        )
        trial = simulator.run(
            values=settings[0]["values"], record=["cells"], progress=False
        )
        network = simulator.snn.network()
        pairs = {
            name: (np.array(network[name].i[:]), np.array(network[name].j[:]))
            for name in ("excite", "inhibit")
        }
    builds, runs = [], []
    for k in range(N_BUILDS):
        builds.append(
            processor_seconds(partial(_standalone, folder / f"build{k}", False))
        )
        _leave_standalone()
    network, _ = _standalone(folder / "runs", False)
    for k in range(N_RUNS):
        given = {network["cells"].v: starts[k], network["excite"].w: weights[k]}
        runs.append(processor_seconds(partial(device.run, run_args=given)))
    _leave_standalone()
    _, spikes = _standalone(folder / "same", True, pairs, starts[0])
    step, neuron = np.rint(np.asarray(spikes.t / DT)).astype(int), np.array(spikes.i)
    _leave_standalone()
    shutil.rmtree(folder)
    found = trial.spikes("cells", 0)
    mine = np.rint(found.t / float(DT)).astype(int)
    is_same = sorted(zip(mine, found.neuron, strict=True)) == sorted(
        zip(step, neuron, strict=True)
    )
    table = Table(
        "own_model_trials",
        f"{N_TRIALS} trials of 1 s of a balanced network: other starts and weights",
    )
    built, ran = Summary.of(builds), Summary.of(runs)
    table.rows = [
        {"with": "Simulator.of", "first": first, "trial": rows / N_TRIALS},
        {"with": "a standalone run each", "first": built.median, "trial": built},
        {"with": "device.run(run_args=...)", "first": built.median, "trial": ran},
    ]
    once = first + rows
    for row, total in zip(
        table.rows,
        (once, N_TRIALS * built.median, built.median + (N_TRIALS - 1) * ran.median),
        strict=True,
    ):
        row |= {f"{N_TRIALS} trials": total, "times Simulator.of": total / once}
    table.notes = [
        f"Spikes of trial 0 ({len(mine):,}) are those of Brian2's standalone mode with "
        f"the same connections and start: {is_same}.",
        f"{N_BUILDS} standalone builds and {N_RUNS} further runs were measured, and "
        f"multiplied to {N_TRIALS}.",
        "First: with compiling. " + PROCESSOR,
    ]
    if not is_same:
        raise RuntimeError(f"{len(mine)} spikes, in Brian2 {len(step)}")
    return [table]


def own_model(options: Options) -> list[Table]:
    """
    Measure models of a user's own in the program against Brian2 alone.

    Parameters
    ----------
    options : Options
        Number of rounds.

    Returns
    -------
    list of Table
        A model on top of a CNN, and trials of a network without one.
    """
    before, time_step = prefs.codegen.target, defaultclock.dt
    try:
        with pinned(1):
            return [*_images_a_second(options), *_trials(options)]
    finally:
        prefs.codegen.target = before
        defaultclock.dt = time_step
