"""Compiled networks: every spike, every run-time input, every error."""

import copy
from pathlib import Path

import brian2
import numpy as np
import pytest
import torch
from brian2 import NeuronGroup, SpikeMonitor, TimedArray, ms, second
from by_hand import reweighted, weight_of
from reference import numpy_spikes, randomize
from torch import nn

from cnn2snn_brian import (
    IF,
    LIF,
    InputError,
    Recording,
    SimulationError,
    convert,
    from_torch,
    models,
)
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.projections import to_neurons

pytestmark = [pytest.mark.standalone, pytest.mark.default_flags]

N_STEPS = 15


def zoo(bias):
    """
    Odd and even, non-square, strided, padded, grouped, dilated; all in one chain.

    (2, 9, 8) -> conv1 (4, 5, 9) -> conv2 (6, 5, 5) -> pool1 (6, 3, 2)
    -> conv3 (5, 3, 2) -> ip1 3
    """
    return randomize(
        nn.Sequential(
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=1, bias=bias),
            nn.ReLU(),
            nn.Conv2d(4, 6, (1, 3), groups=2, dilation=(1, 2), bias=bias),
            nn.ReLU(),
            nn.AvgPool2d((2, 2), padding=(1, 0)),
            nn.ReLU(),
            nn.Conv2d(6, 5, (2, 2), padding="same", bias=bias),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(5 * 3 * 2, 3, bias=bias),
        ).eval(),
        seed=7,
    )


SHAPE = (2, 9, 8)
NAMES = ("conv1", "conv2", "pool1", "conv3", "ip1")
# Powers of two: the scales of the biases are exact.
THRESHOLDS = dict(zip(NAMES, (1.0, 2.0, 0.5, 2.0, 1.0), strict=True))
IMAGES = np.random.default_rng(0).random((4, *SHAPE))


@pytest.fixture(scope="module")
def build():
    """Compile a network once for the whole module."""
    made = {}

    def compiled(reset, bias, encoding, synapses="shared"):
        key = reset, bias, encoding, synapses
        if key not in made:
            snn = convert(
                zoo(bias),
                SHAPE,
                thresholds=THRESHOLDS,
                reset=reset,
                encoding=encoding,
                synapses=synapses,
            )
            made[key] = snn.compile(N_STEPS * ms)
        return made[key]

    yield compiled
    for simulator in made.values():
        simulator.close()


def raster(result, layer, image):
    spikes = np.zeros((N_STEPS, *result.shapes[layer]), bool)
    trains = result.spikes(layer, image)
    spikes[(np.rint(trains.t / 1e-3).astype(int), *trains.position)] = True
    return spikes


@pytest.mark.parametrize(
    ("synapses", "reset", "bias"),
    [
        ("shared", "zero", False),
        ("shared", "zero", True),
        ("shared", "subtract", False),
        ("shared", "subtract", True),
        ("explicit", "zero", True),
        ("explicit", "subtract", False),
    ],
)
@pytest.mark.parametrize("v_min", [0.0, -2.5, -np.inf])
def test_every_spike_equals_the_numpy_loop(build, synapses, reset, bias, v_min):
    simulator = build(reset, bias, "poisson", synapses)
    result = simulator.run(
        IMAGES,
        v_min=v_min,
        v_init=0.5,
        leak={"conv2": 1 / 32},
        seed=11,
        record=("input", *NAMES),
    )
    for image in range(len(IMAGES)):
        expected = numpy_spikes(
            zoo(bias),
            raster(result, "input", image),
            N_STEPS,
            thresholds=list(THRESHOLDS.values()),
            v_min=v_min,
            v_init=0.5,
            leak=[0, 1 / 32, 0, 0, 0],
            reset=reset,
        )
        for name, spikes in zip(NAMES, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
            counts = result.spike_counts[name][image]
            np.testing.assert_array_equal(counts, spikes.sum(0), name)
    assert result.spike_counts["ip1"].any()


@pytest.mark.parametrize("c", [1.0, 0.5])
def test_a_current_equals_the_numpy_loop(build, c):
    images = np.random.default_rng(1).integers(0, 65, (2, *SHAPE)) / 64
    result = build("subtract", True, "current").run(
        images, v_min=-4, rate_scale=c, record=NAMES
    )
    for image in range(2):
        expected = numpy_spikes(
            zoo(bias=True),
            None,
            N_STEPS,
            image=images[image],
            thresholds=list(THRESHOLDS.values()),
            v_min=-4,
            reset="subtract",
            c=c,
        )
        for name, spikes in zip(NAMES, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
    assert "input" not in result.spike_counts
    assert result.spike_counts["conv2"].any()


def test_a_compiled_network_equals_brians_own_runtime(build):
    # The same spikes drive both: rates of 0 or 1/dt, other ones in each step.
    result = build("zero", False, "poisson").run(IMAGES[:1], record=("input", *NAMES))
    brian2.prefs.codegen.target = "numpy"
    snn = convert(zoo(bias=False), SHAPE, thresholds=THRESHOLDS)
    net = snn.network()
    expected = raster(result, "input", 0)
    monitors = {name: SpikeMonitor(net[name]) for name in NAMES}
    net.add(*monitors.values())
    rates = TimedArray(to_neurons(expected.astype(float), SHAPE) / ms, dt=1 * ms)
    net["input"].namespace["played"] = rates
    net["input"].run_regularly("rates = played(t, i)", when="start")
    net.run(N_STEPS * ms)
    for name in NAMES:
        trains = result.spikes(name, 0)
        found = set(zip(np.rint(monitors[name].t / ms), monitors[name].i, strict=True))
        assert found == set(zip(np.rint(trains.t / 1e-3), trains.neuron, strict=True))


def test_a_picture_does_not_depend_on_its_batch(build):
    simulator = build("zero", False, "poisson")
    together = simulator.run(IMAGES, seed=5, record=["conv1"])
    alone = simulator.run(IMAGES[:1], seed=5, record=["conv1"])
    for name, counts in alone.spike_counts.items():
        np.testing.assert_array_equal(counts[0], together.spike_counts[name][0])
    np.testing.assert_array_equal(
        alone.output_potentials, together.output_potentials[:1]
    )
    # The same image at another index has other spikes, and so has another seed.
    twice = simulator.run(IMAGES[[0, 0]], seed=5)
    inputs = twice.spike_counts["input"]
    assert (inputs[0] != inputs[1]).any()
    other = simulator.run(IMAGES, seed=6)
    assert (other.spike_counts["input"] != together.spike_counts["input"]).any()
    # After other images, with other parameters in between: nothing is left behind.
    simulator.run(IMAGES, thresholds=0.01, leak=5)
    again = simulator.run(IMAGES, seed=5)
    np.testing.assert_array_equal(
        again.spike_counts["ip1"], together.spike_counts["ip1"]
    )


def test_input_rates_are_binomial(build):
    image = np.tile(IMAGES[:1], (400, 1, 1, 1))
    counts = (
        build("zero", False, "poisson")
        .run(image, rate_scale=0.8, seed=1, progress=False)
        .spike_counts["input"]
    )
    n, p = 400 * N_STEPS, 0.8 * IMAGES[0]
    deviation = np.abs(counts.sum(0) - n * p)
    assert (deviation <= 5 * np.sqrt(n * p * (1 - p))).all()


def test_thresholds_are_run_time_inputs(build):
    simulator = build("zero", False, "poisson")
    low = simulator.run(IMAGES, thresholds={"conv1": 0.5}).spike_counts["conv1"].sum()
    high = simulator.run(IMAGES, thresholds={"conv1": 8.0})
    assert high.spike_counts["conv1"].sum() < low
    assert high.parameters.thresholds == {**THRESHOLDS, "conv1": 8.0}


def test_events_are_spikes_times_synapses(build):
    simulator = build("zero", False, "poisson")
    result = simulator.run(IMAGES)
    brian2.prefs.codegen.target = "numpy"
    snn = convert(zoo(bias=False), SHAPE, thresholds=THRESHOLDS, synapses="explicit")
    net = snn.network()
    for layer in snn.layers.projections:
        synapses = net[f"{layer.name}_synapses"]
        outgoing = np.bincount(np.asarray(synapses.i), minlength=synapses.source.N)
        source = layer.source
        counts = to_neurons(result.spike_counts[source], snn.layers.shapes[source])
        np.testing.assert_array_equal(result.events[layer.name], counts @ outgoing)
    assert result.n_events == sum(events.sum() for events in result.events.values())


def test_images_can_be_torch_or_8_bit(build):
    simulator = build("zero", False, "poisson")
    eight_bit = np.random.default_rng(2).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    counts = simulator.run(eight_bit).spike_counts["conv1"]
    as_float = torch.from_numpy(eight_bit).float() / 255
    np.testing.assert_array_equal(simulator.run(as_float).spike_counts["conv1"], counts)


CHOSEN = {
    "conv1": [(3, 4, 8), (0, 0, 0), (1, 2, 5)],
    "conv2": [(c, y, x) for c in range(6) for y in range(5) for x in range(5)],
    "pool1": [(5, 2, 1), (2, 1, 0), (0, 1, 1)],
    "ip1": [(2,), (0,)],
}


@pytest.mark.parametrize(
    ("reset", "bias", "encoding"),
    [
        ("zero", True, "poisson"),
        ("subtract", False, "poisson"),
        ("zero", False, "current"),
    ],
)
def test_potentials_equal_the_numpy_loop(build, reset, bias, encoding):
    settings = {"v_min": -2.5, "v_init": 0.5, "leak": {"conv2": 1 / 32}}
    images = np.round(IMAGES * 64) / 64  # currents are exact, too
    # Shards of one image: each program run counts its images from 0.
    simulator = build(reset, bias, encoding)
    populations = NAMES if encoding == "current" else ("input", *NAMES)
    result = simulator.run(
        images,
        **settings,
        record=Recording(populations, CHOSEN, [1, 3]),
        shard_size=1,
    )
    for image in (1, 3):
        potentials = []
        poisson = encoding == "poisson"
        numpy_spikes(
            zoo(bias),
            raster(result, "input", image) if poisson else None,
            N_STEPS,
            image=None if poisson else images[image].astype(np.float32),
            thresholds=list(THRESHOLDS.values()),
            **{**settings, "leak": [0, 1 / 32, 0, 0, 0]},
            reset=reset,
            potentials=potentials,
        )
        for name, positions in CHOSEN.items():
            t, v, position = result.potentials(name, image)
            assert v.dtype == np.float32
            assert v.shape == (N_STEPS, len(positions))
            assert list(zip(*position, strict=True)) == positions
            np.testing.assert_allclose(t, 1e-3 * np.arange(1, N_STEPS + 1))
            at = (slice(None), *np.transpose(positions))
            np.testing.assert_array_equal(v, potentials[NAMES.index(name)][at])
            assert np.ptp(v, axis=0).any()
    # Recording changes nothing.
    plain = simulator.run(images, **settings)
    for name in NAMES:
        np.testing.assert_array_equal(
            plain.spike_counts[name], result.spike_counts[name]
        )
    for name, image, said in [
        ("conv1", 0, "for image 0; recorded are conv1, conv2, ip1, pool1"),
        ("conv3", 1, "potentials={'conv3'"),
    ]:
        with pytest.raises(InputError, match=said):
            result.potentials(name, image)
    with pytest.raises(InputError, match="recorded are none"):
        plain.potentials("conv1", 0)


def test_record_some_pictures_only(build):
    result = build("zero", False, "poisson").run(IMAGES, record={"conv1": [2]})
    counts = result.spike_counts["conv1"][2]
    assert len(result.spikes("conv1", 2).t) == counts.sum()
    with pytest.raises(InputError, match="not recorded for image 0"):
        result.spikes("conv1", 0)
    assert len(result.spikes("ip1", 0).t) == result.spike_counts["ip1"][0].sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": IMAGES * 2}, r"pixels have to be in \[0, 1\]"),
        ({"images": np.full((1, *SHAPE), np.nan)}, "NaN"),
        ({"images": np.zeros((1, 3, 9, 8))}, "expected \\(n, 2, 9, 8\\)"),
        ({"images": np.zeros((0, *SHAPE))}, "the batch is empty"),
        ({"rate_scale": 1.5}, "above 1"),
        ({"thresholds": -1.0}, "threshold of conv1 is -1"),
        ({"thresholds": np.inf}, "threshold of conv1 is inf"),
        ({"thresholds": {"conv7": 1.0}}, "conv7"),
        ({"v_min": np.nan}, "v_min of conv1 is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"record": ["conv7"]}, "conv7"),
        ({"record": {"conv1": [4]}}, "from 0 to 3"),
        (
            {"record": Recording(potentials={"input": [(0, 0, 0)]})},
            "unknown layer 'input'",
        ),
        (
            {"record": Recording(potentials={"conv1": [(4, 0, 0)]})},
            r"not a neuron of .*\(4, 5, 9\)",
        ),
        ({"record": Recording(potentials={"conv1": [(0, -1, 0)]})}, "not a neuron"),
        ({"record": Recording(potentials={"conv1": [3]})}, "not a neuron"),
        ({"record": Recording(potentials={"ip1": [(0.5,)]})}, "not a neuron"),
        ({"record": Recording(images=[4])}, "from 0 to 3"),
    ],
)
def test_run_refuses(build, arguments, message):
    arguments = {"images": IMAGES, **arguments}
    with pytest.raises(InputError, match=message):
        build("zero", False, "poisson").run(**arguments)


def test_compile_refuses_a_duration_that_is_no_multiple_of_dt():
    snn = convert(zoo(bias=False), SHAPE, thresholds=1.0)
    with pytest.raises(InputError, match="expected a multiple of the time step, 1 ms"):
        snn.compile(10.5 * ms)
    with pytest.raises(InputError, match="duration is 0"):
        snn.compile(0 * ms)


def test_a_closed_simulator_says_so():
    snn = convert(zoo(bias=False), SHAPE, thresholds=THRESHOLDS)
    with snn.compile(N_STEPS * ms) as simulator:
        project = Path(simulator._project)
        assert project.is_dir()
    assert not project.exists()
    with pytest.raises(SimulationError, match="closed"):
        simulator.run(IMAGES)


def test_device_clock_and_the_users_standalone_project_are_left_alone(build):
    brian2.set_device("cpp_standalone", build_on_run=False)
    brian2.defaultclock.dt = 0.25 * ms
    group = NeuronGroup(3, "x : 1", name="of_the_user")
    group.x = 2
    queue = list(brian2.get_device().main_queue)
    # Not from the module's builds: it has to build while the user's device is active.
    snn = convert(zoo(bias=False), SHAPE, thresholds=THRESHOLDS)
    with snn.compile(N_STEPS * ms) as simulator:
        simulator.run(IMAGES)
    assert brian2.get_device() is brian2.all_devices["cpp_standalone"]
    assert brian2.defaultclock.dt == 0.25 * ms
    later = brian2.get_device().main_queue
    assert later[: len(queue)] == queue
    # What Brian2 itself does at each change of the device.
    assert {args[0] for _, args in later[len(queue) :]} <= {"_array_defaultclock_dt"}
    assert group.x[:].tolist() == [2, 2, 2]


def test_a_second_compile_finds_the_program_whatever_the_weights(build):
    build("zero", False, "poisson")
    module = randomize(zoo(bias=False), seed=99)
    snn = convert(module, SHAPE, thresholds=3.0, v_min=-1, leak=0.1)
    with snn.compile(N_STEPS * ms) as simulator:
        assert not simulator.compiled
        other = simulator.run(IMAGES, thresholds=THRESHOLDS, v_min=0, leak=0)
    first = build("zero", False, "poisson").run(IMAGES)
    assert (other.spike_counts["conv1"] != first.spike_counts["conv1"]).any()


def test_the_digits_snn_classifies_like_its_cnn():
    training, test = load_digits()
    cnn, card = models.pretrained("digits")
    snn = convert(cnn, (1, 8, 8), calibration=training.images, percentile=100)
    with snn.compile(0.1 * second) as simulator:
        result = simulator.run(test.images, progress=False)
    assert card.test_accuracy - result.accuracy(test.labels) <= 0.015


@pytest.fixture(scope="module")
def changeable():
    """A compiled network that tests change; each gets it as it was."""
    layers = from_torch(zoo(bias=False), SHAPE)
    options = {
        "delay": {"conv2": 2 * ms},
        "release_probability": {"ip1": 0.5},
        "neurons": {"conv1": LIF(tau=20 * ms)},
    }
    original = convert(layers, thresholds=THRESHOLDS, **options)
    with original.compile(N_STEPS * ms) as simulator:
        yield simulator, original


def scaled(layers):
    return reweighted(layers, "conv1", 1.5 * weight_of(layers, "conv1"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reset", "subtract"),
        ("encoding", "current"),
        ("synapses", "explicit"),
        ("dtype", "float64"),
        ("dt_s", 0.5e-3),
        ("delays_s", {"conv2": 3e-3}),
        ("delays_s", {}),
        ("release_probability", {}),
        ("release_probability", {"ip1": 0.5, "conv1": 1.0}),
        ("neurons", IF()),
        ("neurons", {"conv1": LIF(tau=20 * ms, sigma=0.1)}),
        ("layers", scaled),
    ],
)
def test_a_changed_structure_is_refused(changeable, field, value):
    simulator, original = changeable
    simulator.snn = snn = copy.copy(original)
    simulator.run(IMAGES[:1])
    setattr(snn, field, value(snn.layers) if callable(value) else value)
    with pytest.raises(InputError, match="was changed since it was compiled"):
        simulator.run(IMAGES[:1])
    with pytest.raises(InputError, match="was changed since it was compiled"):
        simulator.run_many(IMAGES[:1], [{}])


@pytest.mark.parametrize(
    ("field", "value", "settings"),
    [
        ("thresholds", {"conv2": 0.5}, {"thresholds": {"conv2": 0.5}}),
        (
            "neurons",
            {"conv1": LIF(tau=5 * ms)},
            {"neurons": {"conv1": LIF(tau=5 * ms)}},
        ),
        (
            "release_probability",
            {"ip1": 0.1},
            {"release_probability": {"ip1": 0.1}},
        ),
        ("classes", ("a", "b", "c"), {}),
    ],
)
def test_changed_numbers_are_followed(changeable, field, value, settings):
    simulator, original = changeable
    simulator.snn = original
    expected = simulator.run(IMAGES, **settings)
    simulator.snn = copy.copy(original)
    setattr(simulator.snn, field, value)
    found = simulator.run(IMAGES)
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(found.spike_counts[name], counts)
    assert found.parameters == expected.parameters


SEVERAL = [
    {},
    {"thresholds": 0.75, "v_min": -1.0},
    {"thresholds": {"conv2": 1.0}, "leak": 0.25, "v_init": 0.5, "rate_scale": 0.5},
]


@pytest.mark.parametrize("arguments", [{}, {"executor": 2, "shard_size": 3}])
@pytest.mark.parametrize("encoding", ["poisson", "current"])
def test_several_settings_at_once_equal_separate_runs(build, encoding, arguments):
    reset = "zero" if encoding == "poisson" else "subtract"
    simulator = build(reset, encoding == "current", encoding)
    found = dict(
        simulator.run_many(IMAGES, SEVERAL, seed=8, record=["conv2"], **arguments)
    )
    assert sorted(found) == [0, 1, 2]
    for index, settings in enumerate(SEVERAL):
        expected = simulator.run(IMAGES, seed=8, record=["conv2"], **settings)
        assert found[index].parameters == expected.parameters
        assert found[index].output_threshold == expected.output_threshold
        for name, counts in expected.spike_counts.items():
            np.testing.assert_array_equal(found[index].spike_counts[name], counts)
        np.testing.assert_array_equal(
            found[index].output_potentials, expected.output_potentials
        )
        assert found[index].recorded.keys() == expected.recorded.keys()
        for key, (neuron, step) in expected.recorded.items():
            np.testing.assert_array_equal(found[index].recorded[key][0], neuron)
            np.testing.assert_array_equal(found[index].recorded[key][1], step)
    assert (found[0].spike_counts["conv2"] != found[1].spike_counts["conv2"]).any()


def test_parameters_are_taken_as_they_are(build):
    simulator = build("zero", False, "poisson")
    expected = simulator.run(IMAGES, thresholds={"conv2": 0.5}, leak=0.25)
    ((_, found),) = simulator.run_many(IMAGES, [expected.parameters])
    assert found.parameters == expected.parameters
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(found.spike_counts[name], counts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": [{}, {"thresholds": -1.0}]}, "threshold of conv1 is -1"),
        ({"settings": [{}, {"thresholds": {"conv7": 1.0}}]}, "conv7"),
        (
            {"settings": [{"threshold": 1.0}]},
            "unknown setting 'threshold'; there are",
        ),
        ({"settings": {"thresholds": 1.0}}, "settings: 'thresholds' is not a dict"),
        ({"settings": [{}, {"rate_scale": 1.5}]}, "above 1"),
        ({"images": IMAGES * 2}, r"pixels have to be in \[0, 1\]"),
        ({"seed": -1}, "seed is -1"),
        ({"record": ["conv7"]}, "conv7"),
        ({"executor": 0}, "executor is 0"),
        ({"shard_size": 0}, "shard_size is 0"),
    ],
)
def test_run_many_refuses_at_the_call(build, arguments, message):
    # Nothing is asked of the iterator: the call itself has to raise.
    arguments = {"images": IMAGES, "settings": [{}], **arguments}
    with pytest.raises(InputError, match=message):
        build("zero", False, "poisson").run_many(**arguments)
