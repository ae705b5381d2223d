"""Stimuli in time: trials against images, long runs, and the same in Brian2."""

from typing import Any

import numpy as np
from brian2 import SpikeMonitor, ms, prefs, second
from brian2 import seed as brian_seed

from benchmarks.measure import Summary, Table, ratios, rounds, seconds
from benchmarks.memory import peak_mb
from benchmarks.networks import PAPER, Options, paper_workload
from cnn2snn_brian import (
    Movie,
    Recording,
    SpikeTrains,
    SpikingNetwork,
    convert,
    data,
    models,
)

__all__ = ["long_runs", "same_as_brian", "trials"]

N_TRIALS = 20
#: Frames of the movie that Brian2 is shown, and the time of each.
N_FRAMES, FRAME = 100, 20 * ms
SEED = 0


def _digits() -> tuple[SpikingNetwork, Any]:
    training, test = data.load_digits()
    cnn, _ = models.pretrained("digits")
    return convert(cnn, test.input_shape, calibration=training.images), test.images


def trials(options: Options) -> list[Table]:
    """
    Measure 20 trials of a movie of a second against 20 images of a second.

    Parameters
    ----------
    options : Options
        Number of rounds.

    Returns
    -------
    list of Table
        One.
    """
    workload = paper_workload(options)
    images = workload.images[np.arange(N_TRIALS) % len(workload.images)]
    # The same images for the same time in all, so that as much is to be computed.
    movie = Movie(np.concatenate([images, images, images[:10]]), FRAME)
    with workload.convert(PAPER).compile(1 * second) as simulator:

        def still() -> float:
            return seconds(lambda: simulator.run(images, executor=2, progress=False))

        def moving() -> float:
            return seconds(
                lambda: simulator.run(
                    movie, repeats=N_TRIALS, executor=2, progress=False
                )
            )

        rounds({"still": still, "moving": moving}, 1)
        found = rounds({"still": still, "moving": moving}, options.repeats)
    table = Table("trials", f"{N_TRIALS} trials of 1 s of the CIFAR-10 net, two cores")
    table.rows = [
        {"shown": "images", "seconds": Summary.of(found["still"])},
        {
            "shown": "a movie of 50 frames",
            "seconds": Summary.of(found["moving"]),
            "times images": ratios(found["moving"], found["still"]),
        },
    ]
    table.notes = list(workload.notes)
    return [table]


def long_runs(options: Options) -> list[Table]:
    """
    Measure the memory of long trials, with spikes of a window recorded.

    Parameters
    ----------
    options : Options
        Source of the images.

    Returns
    -------
    list of Table
        One.
    """
    snn, digits = _digits()
    workload = paper_workload(options)
    table = Table("long_runs", "One long trial")
    for name, network, images, duration in (
        ("digits", snn, digits, 60 * second),
        ("CIFAR-10", workload.convert(PAPER), workload.images, 10 * second),
    ):
        movie = Movie(np.resize(images, (500, *images.shape[1:])), duration / 500)
        record = Recording(["conv1"], window=(duration - 1 * second, duration))
        with network.compile(duration) as simulator:
            seconds_taken: list[float] = []

            def run(s: Any = simulator, m: Any = movie, r: Any = record) -> Any:
                return s.run(m, record=r, executor=1, progress=False)

            peak = peak_mb(lambda go=run, t=seconds_taken: t.append(seconds(go)))
            _, steps = run().recorded["conv1", 0]
        table.rows.append(
            {
                "net": name,
                "biological time": f"{duration}",
                "seconds": seconds_taken[0],
                "peak MB": peak,
                "recorded spikes of conv1": len(steps),
            }
        )
    table.notes = [
        *workload.notes,
        "Spikes of conv1 are recorded in the last second only.",
        "Resident memory of the C++ program (MB = 10^6 bytes).",
    ]
    return [table]


def _brian(snn: SpikingNetwork, stimulus: Any) -> dict[str, Any]:
    """Run a stimulus in Brian2's runtime mode: neurons and steps of all spikes."""
    network = snn.network(stimulus)
    names = ("input", *snn.layer_names)
    monitors = {name: SpikeMonitor(network[name]) for name in names}
    network.add(*monitors.values())
    network.run(N_FRAMES * FRAME, namespace={})
    return {
        name: (np.array(m.i), np.rint(m.t / snn.dt).astype(int))
        for name, m in monitors.items()
    }


def same_as_brian(options: Options) -> list[Table]:
    """
    Compare a movie of 100 frames x 20 trials on the digits net with Brian2.

    Given spikes have to agree in every spike. With Poisson spikes, each bin of a frame
    of the PSTH of each input neuron has to be within 5 standard deviations of the
    binomial; layers are compared between the two.

    Parameters
    ----------
    options : Options
        Not used.

    Returns
    -------
    list of Table
        One.
    """
    prefs.codegen.target = "numpy"
    snn, digits = _digits()
    movie = Movie(digits[:N_FRAMES], FRAME)
    n_steps = round(float(N_FRAMES * FRAME) / snn.dt_s)
    per_frame = n_steps // N_FRAMES
    names = ("input", *snn.layer_names)
    with snn.compile(N_FRAMES * FRAME) as simulator:
        poisson = simulator.run(movie, repeats=N_TRIALS, record=names, seed=SEED)
        trains = [
            SpikeTrains(poisson.spikes("input", k).neuron, poisson.spikes("input", k).t)
            for k in range(N_TRIALS)
        ]
        given = simulator.run(trains, record=names)
    n_spikes = n_different = 0
    counts = {name: _by_frame(poisson, name, per_frame) for name in names}
    others = {name: np.zeros_like(counts[name]) for name in names}
    brian_seed(SEED)
    for k in range(N_TRIALS):
        for name, (neuron, step) in _brian(snn, trains[k]).items():
            own = _sorted(*given.recorded[name, k])
            n_spikes += len(neuron)
            n_different += own != _sorted(neuron, step)
        for name, (neuron, step) in _brian(snn, movie).items():
            np.add.at(others[name], (step // per_frame, neuron), 1)
    rows: list[dict[str, Any]] = []
    n = N_TRIALS * per_frame
    p = movie.frames.transpose(0, 2, 3, 1).reshape(N_FRAMES, -1).astype(float)
    for name in names:
        pooled = (counts[name] + others[name]) / (2 * n)
        difference = np.abs(counts[name] - others[name])
        row = {
            "population": name,
            "bins": counts[name].size,
            "largest |program - Brian2| in sd": _largest(difference, pooled, 2 * n),
        }
        if name == "input":
            row["program in sd"] = _largest(np.abs(counts[name] - n * p), p, n)
            row["Brian2 in sd"] = _largest(np.abs(others[name] - n * p), p, n)
        rows.append(row)
    table = Table(
        "same_as_brian", "A movie of 100 frames x 20 trials, digits net", rows
    )
    table.notes = [
        f"Given spikes: {n_spikes:,} spikes of all populations and trials, "
        f"{n_different} of {N_TRIALS * len(names)} trains of a population differ.",
        "sd: of the binomial of 400 steps; of bins whose probability is 0 or 1 the "
        "count has to be exact.",
    ]
    if n_different or max(rows[0][key] for key in list(rows[0])[3:]) > 5:
        message = table.markdown()
        raise AssertionError(message)
    return [table]


def _by_frame(result: Any, name: str, per_frame: int) -> Any:
    """Spikes of each neuron in each frame, of all trials."""
    n = int(np.prod(result.shapes[name]))
    counts = np.zeros((N_FRAMES, n))
    for k in range(N_TRIALS):
        neuron, step = result.recorded[name, k]
        np.add.at(counts, (step // per_frame, neuron), 1)
    return counts


def _sorted(neuron: Any, step: Any) -> list[tuple[int, int]]:
    return sorted(zip(step.tolist(), neuron.tolist(), strict=True))


def _largest(difference: Any, p: Any, n: int) -> float:
    """Largest difference in standard deviations of the binomial."""
    sd = np.sqrt(n * p * (1 - p))
    certain = sd < 1e-6
    if difference[certain].max(initial=0) > 1e-6 * n:
        return float("inf")
    return float((difference[~certain] / sd[~certain]).max(initial=0))
