"""What a run asks for: checked before it runs, and put together for the program."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.checks import check_whole
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.projections import INPUT, Shape, from_neurons, to_neurons
from cnn2snn_brian.results import Trials
from cnn2snn_brian.settings import (
    FrozenDict,
    Parameters,
    Perturbations,
    check_rate_scale,
    check_settings,
    check_shown,
    check_trials,
    numbers,
)
from cnn2snn_brian.simulator.protocol import ProgramInputs, ProgramStimulus
from cnn2snn_brian.simulator.recording import (
    BYTES_PER_WEIGHT,
    Record,
    Recording,
    check_recording,
    check_trials_fit,
    steps_in,
)
from cnn2snn_brian.stimuli import FrameStimulus, SpikeStimulus, Stimulus, shape_shown

if TYPE_CHECKING:
    from cnn2snn_brian.network import SpikingNetwork

#: Arguments of version 0.1.0 that are part of `Recording` now.
FORMERLY = {
    "record_potentials": "record=Recording(potentials=...)",
    "potential_images": "record=Recording(potentials=..., images=...)",
}

#: What is shown, each once; the mean intensities of some of it; and its trials.
Shown = tuple[
    tuple[ProgramStimulus, ...], Callable[[Any], npt.NDArray[Any]], Trials | None
]


@dataclass(frozen=True)
class Job:
    """One setting of a run: its values, and what the program gets."""

    parameters: Parameters
    perturbations: Perturbations
    inputs: ProgramInputs
    seed: int
    #: What the rows of the result are; None for plain images.
    trials: Trials | None
    #: Steps that are recorded, the first and the one after the last; empty for all.
    windows: tuple[tuple[int, int], ...]
    #: Steps from one recorded value of a variable to the next.
    interval: int


def prepared(
    snn: "SpikingNetwork",
    n_steps: int,
    images: Any,
    settings: Sequence[Mapping[str, Any] | Parameters],
    seed: int,
    record: Record,
    repeats: Any = 1,
    variables: Mapping[str, Shape] = FrozenDict(),  # noqa: B008
) -> list[Job]:
    """Check all that was asked for, and put together what the program gets."""
    seed = check_whole("seed", seed, 0)
    repeats = check_whole("repeats", repeats, 1)
    for given in settings:
        for old in FORMERLY.keys() & (given if isinstance(given, Mapping) else ()):
            raise InputError(f"{old}: give {FORMERLY[old]}")
    chosen = [check_settings(snn, given, seed) for given in settings]
    all_parameters = [parameters for parameters, _ in chosen]
    stimuli, mean, trials = _shown(snn, n_steps, images, all_parameters, repeats)
    names, n_rows = tuple(snn.population_shapes), len(stimuli) * repeats
    models = snn.models(snn.neurons).values()
    most = max((model.most for model in models), default=1)
    longest = max(stimulus.n_steps for stimulus in stimuli)
    count_dtype = np.min_scalar_type(most * longest)
    n_counts = 1 + any(model.size is not None for model in models)
    n_counts += any(model.signed for model in models)
    n_neurons = sum(map(math.prod, snn.population_shapes.values()))
    bytes_each = count_dtype.itemsize * n_counts * n_neurons
    check_trials_fit("spike counts", n_rows, len(chosen) * bytes_each)
    n_resets = 0
    for _, perturbations in chosen:
        check_trials(perturbations, n_rows)
        n_resets += not perturbations.keep_weights
    learning = [p.connection for p in snn.layers.projections if p.target in snn.rules]
    n_weights = n_resets * sum(connection.n_synapses for connection in learning)
    check_trials_fit("learned weights", n_rows, n_weights * BYTES_PER_WEIGHT)
    recording = Recording.of(record)
    output = snn.layer_names[-1] if snn.layers else ""
    mask = recording.spike_mask(names, n_rows, output)
    traced, trace = recording.traced(variables, n_rows)
    windows = recording.windows(snn.dt_s, n_steps)
    interval = recording.steps_between(snn.dt_s)
    steps_of_row = np.repeat([stimulus.n_steps for stimulus in stimuli], repeats)
    kept = steps_in(windows, steps_of_row)
    check_recording(
        snn.layers,
        mean,
        all_parameters,
        dict(zip(names, (mask * kept[:, None]).T, strict=True)),
        sum(map(len, traced.values())) * int(kept[trace].sum()) // interval,
        repeats,
        snn.population_shapes,
    )
    children = np.random.SeedSequence(seed).spawn(n_rows)
    inputs = ProgramInputs(
        {
            "record_windows": np.array(windows, np.float64).ravel(),
            "record_interval": np.array([interval], np.float64),
        },
        stimuli,
        np.repeat(np.arange(len(stimuli)), repeats),
        _currents(snn),
        np.array([child.generate_state(1, np.uint64)[0] for child in children]),
        mask,
        count_dtype,
        n_counts,
        traced,
        trace,
    )
    own = (numbers(snn, *values) | inputs.settings for values in chosen)
    return [
        Job(
            *values, replace(inputs, settings=settings), seed, trials, windows, interval
        )
        for values, settings in zip(chosen, own, strict=True)
    ]


def _shown(
    snn: "SpikingNetwork",
    n_steps: int,
    images: Any,
    settings: Sequence[Parameters],
    repeats: int,
) -> Shown:
    """Check images or stimuli, and turn them into what the program gets."""
    if not snn.layers:
        if images is not None:
            raise InputError(
                "a network without a CNN shows no images: run(repeats=...)"
            )
        nothing = ProgramStimulus(n_steps, np.zeros((0, 0), np.float32))
        trials = Trials(repeats, (n_steps,), ("no image",))
        return (nothing,), lambda chosen: np.zeros((len(chosen), 0, 0, 0)), trials
    images = [images] if isinstance(images, Stimulus) else images
    # Of all settings, the largest scale has the highest rates.
    scale = max((parameters.rate_scale for parameters in settings), default=None)
    given = images if isinstance(images, list | tuple) else ()
    if any(isinstance(item, Stimulus) for item in given):
        stimuli = tuple(
            _stimulus(snn, n_steps, k, given, scale) for k, given in enumerate(images)
        )
        trials = Trials(
            repeats,
            tuple(stimulus.n_steps for stimulus in stimuli),
            tuple(given.label for given in images),
            tuple(dict(given.parameters) for given in images),
            tuple(given.items for given in images),
        )

        def mean(chosen: Any) -> npt.NDArray[Any]:
            return np.stack([_mean(snn, images[k], stimuli[k]) for k in chosen])

        return stimuli, mean, trials
    pixels = check_shown(images, snn.layers)
    frames = _in_order(snn, pixels, scale)
    stimuli = tuple(ProgramStimulus(n_steps, frame[None]) for frame in frames)
    names = tuple(f"image {k}" for k in range(len(pixels)))
    trials = Trials(repeats, (n_steps,) * len(pixels), names)
    return stimuli, pixels.__getitem__, trials if repeats > 1 else None


def _in_order(
    snn: "SpikingNetwork", pixels: npt.NDArray[np.float32], scale: float | None
) -> npt.NDArray[np.float32]:
    """Give the program what each reader of an image reads, in the order of neurons."""
    if snn.encoding != "current":
        if scale is not None:
            check_rate_scale(scale, pixels)
        return to_neurons(pixels, pixels.shape[1:])
    read = []
    for p in snn.layers.out_of(INPUT):
        values, window = pixels, p.connection.window
        if window is not None and p.connection.kernel is not None:
            values = window.drive(pixels).astype(np.float32)
        read.append(to_neurons(values, values.shape[1:]))
    return np.concatenate(read, axis=1)


def _stimulus(
    snn: "SpikingNetwork", n_steps: int, k: int, given: Any, scale: float | None
) -> ProgramStimulus:
    """Check a stimulus, and turn it into what the program gets."""
    if not isinstance(given, Stimulus):
        raise InputError(
            f"stimulus {k} is a {type(given).__name__}; a list has stimuli, an image "
            "among them as Still(image)"
        )
    try:
        own = given.n_steps(snn.dt_s)
        needed = n_steps if own is None else own
        if isinstance(given, SpikeStimulus):
            neuron, step = given.spikes(snn.dt_s, snn.input_shape, warn=True)
            needed = int(step.max(initial=0)) + 1 if own is None else own
        else:
            given.check(shape_shown(snn.layers, given), snn.dt_s)
        if not 1 <= needed <= n_steps:
            own_ms, dt_ms = 1e3 * needed * snn.dt_s, 1e3 * snn.dt_s
            raise InputError(
                f"{given.label} takes {own_ms:g} ms, expected {dt_ms:g} ms to the "
                f"{n_steps * dt_ms:g} ms of the program; compile with "
                f"duration={own_ms:g}*ms"
            )
        if isinstance(given, FrameStimulus):
            frames = _in_order(snn, snn.layers.said_by_input(given.frames), scale)
            of_step = given.frame_of_step(snn.dt_s, n_steps)
            own_frames = (of_step,) if len(frames) > 1 else ()
            return ProgramStimulus(len(of_step), frames, *own_frames)
        if snn.encoding != "poisson":
            raise InputError(
                f"{given.label} gives input spikes, and with encoding={snn.encoding!r} "
                "there are none; convert with encoding='poisson'"
            )
    except InputError as error:
        raise InputError(f"stimulus {k}: {error}") from error
    none = np.zeros((0, math.prod(snn.input_shape)), np.float32)
    return ProgramStimulus(own or n_steps, none, neuron=neuron, step=step)


def _mean(snn: "SpikingNetwork", given: Stimulus, stimulus: ProgramStimulus) -> Any:
    """Average over time, to estimate rates; of spikes, what would have as many."""
    if isinstance(given, FrameStimulus):
        of_step = given.frame_of_step(snn.dt_s, stimulus.n_steps)
        weights = np.bincount(of_step, minlength=len(given.frames))
        frames = snn.layers.said_by_input(given.frames)
        return np.average(frames, axis=0, weights=weights)
    counts = np.bincount(stimulus.neuron, minlength=math.prod(snn.input_shape))
    image = from_neurons(counts / stimulus.n_steps, snn.input_shape)
    return np.minimum(image / snn.parameters.rate_scale, 1)


def _currents(snn: "SpikingNetwork") -> tuple[npt.NDArray[Any], ...]:
    """List runs, weights and biases of what reads an image as a constant current."""
    arrays: list[npt.NDArray[Any]] = []
    before = ""
    for p in snn.layers.out_of(INPUT) if snn.encoding == "current" else ():
        layer = snn.layers[p.target]
        bias = np.zeros(layer.shape) if layer.bias is None else layer.bias
        in_order = to_neurons(bias, layer.shape).astype(np.float32)
        if layer.name == before:
            in_order = in_order[:0]  # biases come once
        inner = p.connection.after_window()
        table, weights = inner.runs(), inner.stored().astype(np.float32)
        arrays += [table.first, table.post, table.weight, table.length]
        arrays += [weights, in_order]
        before = layer.name
    return tuple(arrays)
