"""
The spikes of all kinds of networks are those of version 0.2.0.

``spike_counts_0_2_0.json`` was written by ``python tests/test_equal_spikes_0_2_0.py``
with that version: of each network the sizes of its layers, and of each run the number
of spikes and a hash of the spike counts of each layer, of recordings and of learned
weights. Weights are multiples of 1/64 and thresholds powers of 2, so that sums are
exact in single precision, on any machine: with ``dtype="float64"`` they are the same.
Where they are not, a bound holds. With ``CNN2SNN_BRIAN_NO_BOUNDS=1`` there is none,
which is of use on the machine that wrote the table.
"""

import hashlib
import json
import os
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import brian2
import networks_0_2_0 as networks
import numpy as np
import pytest
from brian2 import Hz, SpikeMonitor, ms
from networks_0_2_0 import SHAPE, exact
from test_equal_spikes import ADAPTIVE, hashed

from cnn2snn_brian import (
    LIF,
    STDP,
    AdaptiveIF,
    ConductanceLIF,
    Events,
    Lesion,
    Movie,
    Recording,
    RewardSTDP,
    Rule,
    Sequence,
    SpikeTrains,
    Still,
    convert,
    diagnose,
    from_nir,
    kernel_noise,
    stimuli,
    sweep,
    tune_thresholds,
)

pytestmark = pytest.mark.standalone

PATH = Path(__file__).parent / "spike_counts_0_2_0.json"
SAVED = json.loads(PATH.read_text()) if PATH.exists() else {}

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 65, (4, *SHAPE)).astype(np.float32) / 64
LABELS = np.array([0, 1, 2, 3])
DURATION = 24 * ms

STEP, PIXEL = np.nonzero(RNG.random((20, 128)) < 0.5)
TRAINS = SpikeTrains(index=PIXEL, times=STEP * ms, duration=20 * ms)
INPUTS = {
    "images": IMAGES,
    "dark": np.zeros((1, *SHAPE), np.float32),
    "still": Still(IMAGES[0], 16 * ms),
    "sequence": Sequence(
        IMAGES[:2], 8 * ms, 4 * ms, background=0.25, labels=["a", "b"]
    ),
    "movie": Movie(IMAGES, 5 * ms),
    "trains": TRAINS,
    "events": Events(
        t=STEP * ms,
        x=PIXEL % 8,
        y=PIXEL // 8 % 8,
        polarity=PIXEL // 64,
        duration=20 * ms,
    ),
    # Of 4 phases, which are 0, 1/2 and 1 but for rounding.
    "grating": stimuli.drifting_grating(
        SHAPE,
        orientation=90,
        spatial_frequency=0.25,
        temporal_frequency=50 * Hz,
        duration=20 * ms,
        frame=5 * ms,
    ),
}
INPUTS["several"] = [INPUTS["movie"], TRAINS, INPUTS["still"]]

CURRENT = {"encoding": "current", "reset": "subtract", "v_min": -np.inf, "v_init": 0.5}
INSTANT = {**CURRENT, "propagation": "instant"}
FEW_STEPS = {"preset": "few-steps"}
COUNTING = Rule(
    "n : 1",
    on_pre="n += 1\nw = clip(w + step, -1, 1)",
    on_post="w = clip(w - 2 * step, -1, 1)",
    on_trial_end="w += step * n * reward / 4",
    parameters={"step": 1 / 64},
)


#: Of the 6 x 64 synapses into ip1 of `pools`, whose pooling is part of them.
WEIGHTS = np.arange(384) % 48 / 64 - 0.25


def by_channel(n):
    """Make thresholds or leaks that are powers of 2."""
    return 2.0 ** (np.arange(n) % 3)


def recorded(*others):
    """Spikes of some images, potentials of some neurons, in two windows of time."""
    return Recording(
        {**dict.fromkeys(others, [0]), "conv1": [0, 2], "add2": [1]},
        potentials={"add1": [(0, 0, 0), (3, 7, 2), (1, 4, 4)], "ip1": [(2,)]},
        images=[0, 3],
        window=[(2 * ms, 9 * ms), (12 * ms, 20 * ms)],
    )


@dataclass(frozen=True)
class Case:
    """
    A network and its runs: by name the inputs, and the arguments of `Simulator.run`.

    Of the layers in `rounded`, spikes can depend on how a machine rounds; True is all.
    """

    make: object
    options: dict = field(default_factory=dict)
    runs: dict = field(default_factory=lambda: {"images": ("images", {})})
    thresholds: object = 4.0
    seed: int = 1
    rules: dict = field(default_factory=dict)
    change: object = None
    rounded: object = ()


def residual():
    return networks.Residual(bias=False)


def biased():
    return networks.Residual(bias=True)


def concatenated():
    return networks.Concatenated(bias=False)


def concatenated_biased():
    return networks.Concatenated(bias=True)


def through_nir(snn):
    return from_nir(snn.to_nir())


IMAGE_RUN = {"images": ("images", {})}
OF_RESIDUAL = {"conv1": 2.0, "conv2": 4.0, "add1": 2.0, "conv4": 2.0, "add2": 2.0}
OF_RESIDUAL |= {"pool1": 0.25, "ip1": 0.5}
OF_CONCATENATED = {"conv1": 0.5, "conv2": 0.5, "conv3": 1.0, "bn1": 0.5, "conv4": 2.0}
OF_CONCATENATED |= {"conv5": 0.5, "conv6": 2.0, "conv7": 2.0, "ip1": 0.5}
WITH_POOLS = {**OF_CONCATENATED, "pool1": 0.25, "pool2": 0.25}
OF_FEW = {name: value for name, value in OF_RESIDUAL.items() if name != "pool1"}

CASES = {
    # Sums of branches, and what a run can be told.
    "residual": Case(
        residual,
        runs={
            "images": ("images", {"record": recorded("input")}),
            "thresholds": ("images", {"thresholds": {"conv1": 2.0, "add1": 8.0}}),
            "by_channel": (
                "images",
                {"thresholds": {"add1": by_channel(4), "conv4": by_channel(6)}},
            ),
            "lesion": (
                "images",
                {
                    "lesion": [
                        Lesion("add1", channels=[1]),
                        Lesion("conv1", fraction=0.25, seed=1),
                        Lesion("input", region=(slice(0, 3), slice(2, 5))),
                    ]
                },
            ),
            "noise": ("images", {"input_deletion": 0.25, "input_jitter": 2 * ms}),
            "still": ("still", {}),
            "sequence": ("sequence", {"repeats": 2}),
            "movie": ("movie", {"repeats": 3, "record": ["conv1"]}),
            "trains": ("trains", {"record": ["add2"]}),
            "events": ("events", {}),
            "grating": ("grating", {"repeats": 2}),
            "several": ("several", {"repeats": 2, "v_init": 0.25}),
        },
        thresholds=OF_RESIDUAL,
    ),
    "residual_noisy_kernels": Case(
        residual,
        thresholds=OF_RESIDUAL,
        change=lambda snn: kernel_noise(snn, 0.25, seed=2),
        rounded=True,
    ),
    "residual_biased": Case(
        biased,
        {"v_min": -1.0, "leak": 1 / 64, "reset": "subtract"},
        {
            "images": ("images", {"rate_scale": 0.5}),
            "dark": ("dark", {"record": ["ip1"]}),
        },
        thresholds=OF_RESIDUAL,
    ),
    "residual_current": Case(
        biased,
        INSTANT,
        {
            "images": ("images", {"record": recorded()}),
            "by_channel": (
                "images",
                {
                    "thresholds": {"conv1": by_channel(4), "add1": by_channel(4)},
                    "leak": {"conv4": by_channel(6) / 8},
                    "v_init": {"conv1": by_channel(4) / 8},
                },
            ),
            "movie": ("movie", {}),
        },
        thresholds=OF_RESIDUAL,
    ),
    "residual_through_nir": Case(
        biased, INSTANT, IMAGE_RUN, OF_RESIDUAL, change=through_nir
    ),
    "residual_shortcut_waits": Case(biased, CURRENT, thresholds=OF_RESIDUAL),
    "residual_few_steps": Case(biased, FEW_STEPS, thresholds=OF_FEW),
    "residual_delays": Case(
        residual,
        {"delay": {"conv2": 2 * ms, "add2": 3 * ms}, "dt": 0.5 * ms},
        thresholds=OF_RESIDUAL,
    ),
    "residual_failing": Case(
        residual,
        {"release_probability": {"conv2": 0.5, "add1": 0.75}},
        {"images": ("images", {}), "often": ("images", {"release_probability": 0.875})},
        thresholds=OF_RESIDUAL,
    ),
    "residual_explicit": Case(
        residual, {"synapses": "explicit"}, thresholds=OF_RESIDUAL
    ),
    "residual_mixed": Case(
        biased,
        {"synapses": {"add1": "explicit", "ip1": "explicit"}, **INSTANT},
        {
            "images": ("images", {}),
            "by_channel": (
                "images",
                {"thresholds": {"conv1": by_channel(4), "add2": by_channel(6)}},
            ),
        },
        thresholds=OF_RESIDUAL,
    ),
    "residual_neurons": Case(
        residual,
        {
            "neurons": {
                "conv1": ConductanceLIF(20 * ms),
                "conv2": AdaptiveIF(50 * ms, 0.25),
                "add1": ADAPTIVE,
                "add2": LIF(20 * ms, refractory=2 * ms),
            },
            "v_min": -np.inf,
        },
        thresholds=OF_RESIDUAL,
        rounded=True,
    ),
    "residual_leaky": Case(
        biased,
        {
            **INSTANT,
            "neurons": LIF(16 * ms),
            "leak": {**dict.fromkeys(OF_RESIDUAL, 0), "conv2": 0.25, "add2": -0.125},
        },
        {
            "images": ("images", {}),
            "faster": ("images", {"neurons": LIF(8 * ms), "leak": 1 / 8}),
        },
        thresholds=OF_RESIDUAL,
        rounded=True,
    ),
    # Concatenations.
    "concatenated": Case(concatenated, thresholds=WITH_POOLS),
    "concatenated_few_steps": Case(
        concatenated_biased,
        FEW_STEPS,
        {
            "images": ("images", {}),
            "by_channel": (
                "images",
                {
                    "thresholds": {
                        "conv2": by_channel(3),
                        "conv3": 2 * by_channel(4),
                        "conv5": by_channel(3),
                    }
                },
            ),
        },
    ),
    "concatenated_delays": Case(
        concatenated_biased, {**FEW_STEPS, "delay": {"conv6": 2 * ms, "ip1": 1 * ms}}
    ),
    "concatenated_explicit": Case(
        concatenated_biased,
        {
            "synapses": "explicit",
            "dtype": "float64",
            "delay": 2 * ms,
            "pooling": "synapses",
        },
        thresholds=OF_CONCATENATED,
    ),
    # Several maps between the same two layers.
    "parallel": Case(lambda: networks.Parallel(bias=False)),
    "parallel_current": Case(
        lambda: networks.Parallel(bias=True), {**CURRENT, "names": "module"}
    ),
    # Average pooling.
    "pools": Case(networks.pools, {"classes": tuple("abcde")}, thresholds=1.0),
    "pools_in_synapses": Case(
        networks.pools,
        {"pooling": "synapses"},
        {
            "images": ("images", {}),
            "by_channel": (
                "images",
                {"thresholds": {"conv1": by_channel(3), "conv2": by_channel(4)}},
            ),
        },
    ),
    "pools_conductances": Case(
        networks.pools,
        {"pooling": "synapses", "neurons": ConductanceLIF(20 * ms), "v_min": -np.inf},
        thresholds=1.0,
        rounded=True,
    ),
    "pools_in_explicit_synapses": Case(
        networks.pools, {"pooling": "synapses", "synapses": "explicit"}
    ),
    "pools_in_failing_synapses": Case(
        networks.pools, {"pooling": "synapses", "release_probability": 0.75}
    ),
    "pools_normalized": Case(
        lambda: networks.pools(bias=True),
        {"normalize": ((0.5, 0.25), 0.5), "v_min": -2.0},
        thresholds=1.0,
    ),
    "thirds": Case(networks.thirds, FEW_STEPS, rounded=True),
    # Kernels.
    "kernels": Case(networks.kernels, {"reset": "subtract"}, thresholds=2.0),
    "kernels_explicit": Case(
        networks.kernels,
        {"reset": "subtract", "synapses": "explicit"},
        thresholds=2.0,
    ),
    "channelwise": Case(networks.channelwise, thresholds=1.0),
    "channelwise_current": Case(networks.channelwise, INSTANT, thresholds=1.0),
    # Ceilings.
    "relu6": Case(networks.ceilings, INSTANT),
    "quantized": Case(
        networks.quantized, FEW_STEPS, thresholds={"ip2": 2.0}, seed=None
    ),
    # Maximum pooling.
    "gate": Case(
        networks.maxima,
        {"max_pooling": "gate", "delay": {"pool2": 2 * ms}},
        {"images": ("images", {}), "trains": ("trains", {"record": ["pool2"]})},
        thresholds=2.0,
    ),
    "largest_count": Case(
        networks.maxima,
        {"max_pooling": "largest-count", **INSTANT},
        {
            "images": ("images", {}),
            "by_channel": ("images", {"thresholds": {"conv1": by_channel(3)}}),
        },
        thresholds=2.0,
    ),
    "largest_count_of_the_image": Case(
        networks.maxima_of_the_image,
        {
            "max_pooling": "largest-count",
            "synapses": "explicit",
            "release_probability": {"pool1": 0.75},
        },
        thresholds=1.0,
    ),
    "largest_count_residual": Case(
        lambda: networks.Residual(bias=True, pool=True),
        {"max_pooling": "largest-count", **FEW_STEPS},
    ),
    # Graphs of NIR.
    "of_another_program": Case(
        networks.of_another_program,
        {"rate_scale": 0.5},
        {"images": ("images", {}), "trains": ("trains", {})},
    ),
    # Learning.
    "stdp": Case(
        networks.pools,
        {"synapses": {"conv2": "explicit", "ip2": "explicit"}, "pooling": "synapses"},
        {
            "kept": ("images", {}),
            "each": ("images", {"keep_weights": False}),
            "slower": (
                "images",
                {
                    "plasticity": {
                        "ip2": STDP(a_plus=0.002, a_minus=0.001, w_min=-2, w_max=2)
                    }
                },
            ),
        },
        thresholds=2.0,
        rules={
            "conv2": STDP(a_plus=0.01, a_minus=0.02, w_min=-1, w_max=1),
            "ip2": STDP(a_plus=0.01, a_minus=0.01, w_min=-2, w_max=2),
        },
        rounded=True,
    ),
    "reward": Case(
        residual,
        {"synapses": {"ip1": "explicit"}},
        {
            "labels": ("images", {"labels": LABELS}),
            "rewards": ("images", {"reward": np.array([1, -1, 0.5, 2])}),
        },
        thresholds=OF_RESIDUAL,
        rules={"ip1": RewardSTDP(a_plus=0.01, baseline=1)},
        rounded=("ip1",),
    ),
    "counting": Case(
        networks.pools,
        {"synapses": {"ip1": "explicit"}, "pooling": "synapses"},
        {
            "kept": ("images", {"reward": np.array([1, -1, 0.5, 2])}),
            "each": ("images", {"labels": LABELS, "keep_weights": False}),
            "by_channel": ("images", {"thresholds": {"conv2": by_channel(4)}}),
            "weights": (
                "images",
                {"weights": {"ip1": np.arange(384) % 48 / 64 - 0.25}},
            ),
        },
        thresholds=2.0,
        rules={"ip1": COUNTING},
    ),
}

#: Runs of exact networks that depend on how a machine rounds: the cosine of a grating.
ROUNDED_RUNS = (("residual", "grating"),)

#: Networks in Brian2's own runs, without a program.
IN_BRIAN = {
    "residual_current": IMAGES[1],
    "concatenated_few_steps": IMAGES[0],
    "gate": TRAINS,
    "counting": TRAINS,
    "of_another_program": TRAINS,
}

#: A rounded sum decides otherwise only if it is at the threshold; that is rare.
BOUND = 0.01
NO_BOUNDS = os.environ.get("CNN2SNN_BRIAN_NO_BOUNDS") == "1"


@cache
def made(name):
    """Make a network."""
    case = CASES[name]
    module = case.make()
    if name == "of_another_program":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return from_nir(module, **case.options)
    if case.seed is not None:
        module = exact(module, case.seed)
    snn = convert(module, SHAPE, thresholds=case.thresholds, **case.options)
    for layer, rule in case.rules.items():
        snn = snn.plasticity(layer, rule)
    return snn if case.change is None else case.change(snn)


def sizes(snn):
    """Neurons, synapses and parameters by layer, as the printed table has them."""
    found = {}
    for line in str(snn.layers).splitlines()[1:]:
        name, *cells = line.split()
        n = {"input": 1, "total": 3}.get(name, 3)
        found[name] = [int(cell.replace(",", "")) for cell in cells[-n:]]
    return found


def counts_of(counts):
    return {
        name: [int(of_layer.sum()), hashed(of_layer)]
        for name, of_layer in counts.items()
    }


def recorded_spikes(result):
    """Hash all recorded spikes of each layer, with their steps."""
    found = {}
    for name, image in sorted(result.recorded):
        trains = result.spikes(name, image)
        steps = np.rint(trains.t / result.dt_s).astype(np.int32)
        places = np.stack([*trains.position, steps]).astype(np.int32)
        found.setdefault(name, []).append(hashed(places[:, np.lexsort(places)]))
    return {
        name: [len(of_images), digest("".join(of_images))]
        for name, of_images in found.items()
    }


def recorded_potentials(result):
    found = {}
    for name, image in sorted(result.recorded_potentials):
        # Adding 0 makes 0 of -0.
        v = result.potentials(name, image).v
        found.setdefault(name, []).append(hashed(np.asarray(v, np.float64) + 0.0))
    return {
        name: [len(of_images), digest("".join(of_images))]
        for name, of_images in found.items()
    }


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def numbers(result):
    """All that is kept of a result."""
    found = {
        "spikes": counts_of(result.spike_counts),
        "events": {name: int(n.sum()) for name, n in result.events.items()},
        "n_events": result.n_events,
        "n_steps": result.n_steps,
        "predictions": result.predictions.tolist(),
        # Adding 0 makes 0 of -0.
        "potentials": hashed(result.output_potentials + 0.0),
        "recorded": recorded_spikes(result),
    }
    if result.recorded_potentials:
        found["traces"] = recorded_potentials(result)
    if result.weights:
        found["weights"] = {
            name: [list(w.shape), float(w.astype(float).sum()), hashed(w)]
            for name, w in result.weights.items()
        }
    if result.trials is not None:
        found["trials"] = [
            result.n_repeats,
            result.stimulus_of_row.tolist(),
            [len(items) for items in result.trials.items],
        ]
    return found


def results(name, **more):
    """Run a network with all of its settings."""
    case, snn = CASES[name], made(name)
    with snn.compile(DURATION) as simulator:
        for run, (inputs, settings) in case.runs.items():
            yield (
                run,
                simulator.run(
                    INPUTS[inputs],
                    seed=3,
                    progress=False,
                    executor=1,
                    **{**settings, **more},
                ),
            )


def counts_in_brian(name):
    """Spike counts in a network of Brian2, neurons ordered as in its groups."""
    brian2.prefs.codegen.target = "numpy"
    snn = made(name)
    network = snn.network(IN_BRIAN[name])
    monitors = {layer: SpikeMonitor(network[layer]) for layer in snn.population_shapes}
    network.add(*monitors.values())
    network.run(20 * ms, namespace={})
    return counts_of(
        {layer: np.asarray(m.count, np.int64) for layer, m in monitors.items()}
    )


def described(name):
    """What a network is, without any spike."""
    snn = made(name)
    activations = snn.layers.activations(IMAGES)
    return {
        "sizes": sizes(snn),
        "n_synapses": snn.layers.n_synapses,
        "activations": {
            layer: [list(a.shape), float(np.sum(a))] for layer, a in activations.items()
        },
    }


def assert_alike(found, expected):
    """Compare numbers that rounding may change a little; hashes are left out."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            if name not in ("potentials", "recorded", "predictions"):
                assert_alike(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_alike(ours, theirs)
    elif not isinstance(expected, str):
        assert found == pytest.approx(expected, rel=BOUND, abs=2)


def check(found, expected, rounded):
    if NO_BOUNDS:
        assert found == expected
        return
    if rounded is True:
        assert_alike(found, expected)
        return
    for name in found["spikes"]:
        if name not in rounded:
            assert found["spikes"][name] == expected["spikes"][name], name
            assert found["events"].get(name) == expected["events"].get(name), name
    if rounded:
        assert_alike(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("name", CASES)
def test_spikes_are_those_of_0_2_0(name):
    case, saved = CASES[name], SAVED["programs"][name]
    assert set(saved) == set(case.runs)
    for run, result in results(name):
        rounded = (name, run) in ROUNDED_RUNS
        check(numbers(result), saved[run], rounded or case.rounded)


@pytest.mark.parametrize("name", CASES)
def test_layers_are_those_of_0_2_0(name):
    found, saved = described(name), SAVED["networks"][name]
    assert found["sizes"] == saved["sizes"]
    assert found["n_synapses"] == saved["n_synapses"]
    assert list(found["activations"]) == list(saved["activations"])
    for layer, (shape, total) in saved["activations"].items():
        assert found["activations"][layer] == [shape, pytest.approx(total, rel=1e-9)]


@pytest.mark.parametrize("name", IN_BRIAN)
def test_spikes_in_brian_are_those_of_0_2_0(name):
    assert counts_in_brian(name) == SAVED["brian"][name]


def test_what_has_to_be_equal_is_saved_as_equal():
    programs = SAVED["programs"]
    for one, other in [
        ("residual", "residual_explicit"),
        ("residual_current", "residual_through_nir"),
        ("residual_current", "residual_mixed"),
        ("pools_in_synapses", "pools_in_explicit_synapses"),
        ("kernels", "kernels_explicit"),
    ]:
        for what in ("spikes", "potentials"):
            assert programs[one]["images"][what] == programs[other]["images"][what]
    for runs in programs.values():
        for run, found in runs.items():
            if run != "dark":
                assert all(total > 0 for total, _ in found["spikes"].values()), run


# Work that simulates again and again.


def settings_found(parameters):
    return {
        what: {name: np.ravel(value).tolist() for name, value in by_layer.items()}
        for what, by_layer in vars(parameters).items()
        if hasattr(by_layer, "items") and by_layer  # there were no `values` then
    }


TUNING = {
    "feedback": {"method": "feedback", "step": 2.0, "start": 2.0},
    "bisection": {"method": "bisection", "bounds": (0.5, 8.5)},
    "data": {"method": "data"},
    "search": {"method": "search", "budget": 8},
}
MANY = np.random.default_rng(7).integers(0, 65, (15, *SHAPE)).astype(np.float32) / 64
CLASSES = np.arange(15) % 5
SMALL_NETWORK = "pools_in_synapses"


def tuned(method, **more):
    """Set thresholds by a method."""
    with made(SMALL_NETWORK).compile(DURATION) as simulator:
        result = tune_thresholds(
            simulator,
            MANY,
            CLASSES,
            objective="spike_ratio",
            progress=False,
            executor=1,
            **TUNING[method],
            **more,
        )
    return {
        "found": settings_found(result.found),
        "accepted": bool(result.accepted),
        "history": len(result.history),
        "values": [result.tuning.value_before, result.tuning.value],
    }


def swept(seeds=(0, 1), **more):
    """Make the rows of a sweep."""
    frame = sweep(
        made(SMALL_NETWORK),
        IMAGES,
        LABELS,
        grid={
            "lesion": {0.0: None, 0.5: Lesion("conv1", fraction=0.5)},
            "thresholds": [2.0, 4.0],
        },
        seeds=seeds,
        duration=DURATION,
        executor=1,
        progress=False,
        **more,
    )
    return json.loads(frame.to_json(orient="split", index=False))


def diagnosed():
    (result,) = (r for run, r in results("residual_current") if run == "images")
    found = diagnose(result, made("residual_current").layers, IMAGES)
    branches = found.branches
    return {
        "layer": found.layer,
        "branches": [[*map(str, index)] for index in branches.index],
        "shares": branches["share"].tolist(),
    }


WORK = {
    **{method: lambda method=method: tuned(method) for method in TUNING},
    "sweep": swept,
    "diagnosis": diagnosed,
}


def assert_close(found, expected):
    """Compare what work found, whose numbers are percentiles and means."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert_close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours, theirs)
    elif isinstance(expected, float):
        close = pytest.approx(expected, rel=1e-5, abs=2e-4, nan_ok=True)
        assert found == (expected if NO_BOUNDS else close)
    else:
        assert found == expected


@pytest.mark.parametrize("name", WORK)
def test_work_finds_what_0_2_0_found(name):
    assert_close(WORK[name](), SAVED["work"][name])


def table():
    """Everything that is saved."""
    return {
        "networks": {name: described(name) for name in CASES},
        "programs": {
            name: {run: numbers(result) for run, result in results(name)}
            for name in CASES
        },
        "brian": {name: counts_in_brian(name) for name in IN_BRIAN},
        "work": {name: work() for name, work in WORK.items()},
    }


def in_lines(value, depth):
    """Write JSON with lines for the upper levels only."""
    if not depth or not isinstance(value, dict):
        return json.dumps(value)
    items = (f"{json.dumps(k)}: {in_lines(v, depth - 1)}" for k, v in value.items())
    return "{\n" + ",\n".join(items) + "\n}"


if __name__ == "__main__":
    from cnn2snn_brian import __version__

    if __version__ != "0.2.0":
        message = f"the table is of version 0.2.0, this is {__version__}"
        raise SystemExit(message)
    PATH.write_text(in_lines(table(), 3) + "\n")
