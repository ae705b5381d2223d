"""Circles: projections back, and to a population itself, against a numpy loop."""

from dataclasses import replace

import brian2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import Network as BrianNetwork
from brian2 import NeuronGroup, SpikeMonitor, ms
from by_hand import as_matrix
from reference import raster
from torch import nn

from cnn2snn_brian import (
    IF,
    STDP,
    BurstIF,
    InputError,
    SpikingNetwork,
    check_dale,
    connect_convolution,
    convert,
    difference_of_gaussians,
    split_by_sign,
    stimuli,
)
from cnn2snn_brian.projections import (
    INPUT,
    ByChannel,
    Connection,
    Convolution,
    Dense,
    Network,
    Population,
    Projection,
    TransposedConvolution,
    Window,
    from_neurons,
    span_matrix,
    to_neurons,
)

SHAPE = (2, 4, 5)
N_STEPS = 25
THRESHOLDS = {"conv1": 1.0, "conv2": 2.0, "ip1": 1.0}


def dyadic(*shape, seed=0):
    """Draw multiples of 1/64, whose sums are exact."""
    return np.random.default_rng(seed).integers(-24, 41, shape) / 64


def circle(back=2e-3, itself=1e-3):
    """input -> conv1 -> conv2 -> ip1, conv2 -> conv1 and conv2 -> conv2."""
    first = Convolution(SHAPE, dyadic(3, 2, 3, 3), padding=((1, 1), (1, 1)))
    second = Convolution((3, 4, 5), dyadic(4, 3, 2, 2), stride=(2, 1))
    upwards = TransposedConvolution((4, 2, 4), dyadic(4, 3, 2, 2), stride=(2, 1))
    lateral = ByChannel((4, 2, 4), np.array([-1.0, -0.5, 0.25, 0.0]))
    last = Dense((4, 2, 4), dyadic(3, 32))
    made = (
        ("conv1", INPUT, "conv1", first, 0.0),
        ("conv1_from_conv2", "conv2", "conv1", upwards, back),
        ("conv2", "conv1", "conv2", second, 0.0),
        ("conv2_from_conv2", "conv2", "conv2", lateral, itself),
        ("ip1", "conv2", "ip1", last, 0.0),
    )
    populations = [("conv1", (3, 4, 5)), ("conv2", (4, 2, 4)), ("ip1", (3,))]
    return Network(
        SHAPE,
        tuple(Population(*population) for population in populations),
        tuple(
            Projection(
                name,
                source,
                target,
                Connection(kernel.input_shape, None, kernel),
                delay,
            )
            for name, source, target, kernel, delay in made
        ),
    )


def input_spikes(seed=0):
    return np.random.default_rng(seed).random((N_STEPS, *SHAPE)) < 0.3


def loop(
    network,
    spikes,
    propagation,
    delays=None,
    factors=None,
    thresholds=None,
    shortcuts=None,
    most=1,
):
    """
    Spikes of all populations, (n_steps, n), by the rules of docs/dynamics.md.

    What feedback brings that was sent in step t counts in step t + delay.
    """
    th, v_min = thresholds or THRESHOLDS, -4.0
    sent = {INPUT: to_neurons(spikes, SHAPE).astype(float)}
    v = {name: np.zeros(np.prod(network.shapes[name])) for name in network.names}
    for name in network.names:
        sent[name] = np.zeros((N_STEPS, len(v[name])))
    matrices = {p.name: as_matrix(p.connection) for p in network.projections}
    # Spikes of all sources count alike, see docs/conversion.md.
    factors, delays = factors or {}, delays or {}

    def arrive(name, t, back):
        for p in network.into(name):
            if network.is_feedback(p) != back:
                continue
            late = round((p.delay_s + delays.get(name, 0.0)) * 1e3) - back
            # In steps of layers, a shortcut waits for those that it passes by.
            late += (shortcuts or {}).get(p.name, 0)
            if t >= late:
                weights = factors.get(p.name, 1.0) * matrices[p.name]
                v[name] += sent[p.source][t - late] @ weights

    for t in range(N_STEPS):
        for name in network.names:
            if propagation == "instant":
                arrive(name, t, back=False)
            spike = np.clip(np.floor(v[name] / th[name]), 0, most)
            v[name] = np.maximum(v[name] - spike * th[name], v_min)
            sent[name][t] = spike
        for name in network.names:
            if propagation == "step":
                arrive(name, t, back=False)
            arrive(name, t, back=True)
    return {
        name: from_neurons(sent[name].astype(int), network.shapes[name])
        for name in network.names
    }


def converted(network, **options):
    options = {"reset": "subtract", "v_min": -4.0, **options}
    return convert(network, thresholds=THRESHOLDS, **options)


def factors(network):
    """What synapses of other sources than the first are multiplied by, by hand."""
    # Spikes of conv2 stand for 1 * 2 times the input's; ip1 and conv2 read one source.
    return {"conv1_from_conv2": 2.0, "conv2_from_conv2": 2.0}


@pytest.fixture(autouse=True)
def one_millisecond_steps():
    brian2.prefs.codegen.target = "numpy"


CASES = [
    ("shared", "step", 1e-3, 1e-3),
    ("shared", "instant", 2e-3, 3e-3),
    ("explicit", "step", 3e-3, 2e-3),
    ("explicit", "instant", 1e-3, 1e-3),
]


def run_and_compare(snn, stimulus, spikes, **more):
    """Run in Brian2's runtime mode and compare every spike with the loop."""
    network = snn.layers
    net = snn.network(stimulus)
    size = "burst" if snn.neurons.size else None
    monitors = {name: SpikeMonitor(net[name], variables=size) for name in network.names}
    net.add(*monitors.values())
    net.run(N_STEPS * ms)
    expected = loop(network, spikes, snn.propagation, **more)
    for name, monitor in monitors.items():
        found = np.zeros((N_STEPS, monitor.source.N))
        at = np.rint(monitor.t / ms).astype(int), monitor.i
        found[at] = monitor.burst if size else 1
        assert expected[name].any()
        assert not expected[name].all()
        np.testing.assert_array_equal(
            found, to_neurons(expected[name], network.shapes[name]), name
        )


def trains(spikes):
    step, neuron = np.nonzero(to_neurons(spikes, SHAPE))
    return stimuli.SpikeTrains(neuron, step * ms)


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize(("synapses", "propagation", "back", "itself"), CASES)
def test_every_spike_in_runtime_mode(synapses, propagation, back, itself, most):
    network = circle(back, itself)
    neurons = IF() if most == 1 else BurstIF(most)
    more = {"propagation": propagation, "neurons": neurons}
    snn = converted(network, synapses=synapses, **more)
    spikes = input_spikes()
    run_and_compare(snn, trains(spikes), spikes, factors=factors(network), most=most)


@pytest.mark.parametrize("synapses", ["shared", "explicit"])
@pytest.mark.parametrize("propagation", ["step", "instant"])
def test_delays_of_a_network_come_on_top(propagation, synapses):
    spikes = input_spikes(seed=1)
    snn = converted(
        circle(1e-3, 2e-3),
        propagation=propagation,
        synapses=synapses,
        delay={"conv1": 2 * ms},
    )
    delays = {"conv1": 2e-3}
    run_and_compare(
        snn, trains(spikes), spikes, delays=delays, factors=factors(snn.layers)
    )


@pytest.mark.parametrize("synapses", ["shared", "explicit"])
def test_thresholds_by_channel(synapses):
    # Spikes of conv2's channels stand for 1/2, 1, 3/4 and 1 of its largest threshold.
    spikes, network = input_spikes(seed=2), circle()
    own = np.array([1.0, 2.0, 1.5, 2.0])
    snn = converted(network, synapses=synapses)
    snn.thresholds = THRESHOLDS | {"conv2": own}
    share = np.tile(own / 2, 8)[:, None]
    given = {name: 2 * share for name in ("conv1_from_conv2", "conv2_from_conv2")}
    run_and_compare(
        snn,
        trains(spikes),
        spikes,
        factors=given | {"ip1": share},
        thresholds=THRESHOLDS | {"conv2": np.tile(own, 8)},
    )


def test_feedback_changes_spikes():
    network, spikes = circle(), input_spikes()
    without = replace(
        network,
        projections=tuple(p for p in network.projections if not network.is_feedback(p)),
    )
    for propagation in ("step", "instant"):
        found = loop(network, spikes, propagation, factors=factors(network))
        other = loop(without, spikes, propagation)
        later = loop(circle(3e-3), spikes, propagation, factors=factors(network))
        for name in network.names:
            assert (found[name] != other[name]).any()
            assert (found[name] != later[name]).any()


@pytest.mark.standalone
@pytest.mark.parametrize(("synapses", "propagation", "back", "itself"), CASES)
def test_every_spike_of_a_program(synapses, propagation, back, itself):
    network = circle(back, itself)
    snn = converted(network, synapses=synapses, propagation=propagation)
    images = np.random.default_rng(1).random((2, *SHAPE))
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(images, record=simulator.populations, seed=4)
    for image in range(2):
        spikes = raster(result, INPUT, image)
        expected = loop(network, spikes, propagation, factors=factors(network))
        for name in network.names:
            assert expected[name].any()
            np.testing.assert_array_equal(
                raster(result, name, image), expected[name], name
            )


def test_a_circle_without_a_delay_is_refused():
    for back, itself, name in ((0.0, 1e-3, "conv1"), (1e-3, 0.0, "conv2")):
        message = f"{name}_from_conv2: 'conv2' is not before '{name}'.*need a delay"
        with pytest.raises(InputError, match=message):
            circle(back, itself)


def test_a_delay_shorter_than_a_step_is_refused():
    with pytest.raises(InputError, match="conv1_from_conv2"):
        converted(circle(back=0.2e-3)).network()


def test_what_only_feedback_reaches_is_refused():
    network = circle()
    for name in ("conv1", "conv2"):
        projections = tuple(p for p in network.projections if p.name != name)
        with pytest.raises(InputError, match=f"{name}: nothing"):
            replace(network, projections=projections)


def test_activations_and_thresholds_leave_feedback_out():
    network = circle()
    without = replace(
        network,
        projections=tuple(p for p in network.projections if not network.is_feedback(p)),
    )
    images = np.random.default_rng(1).random((4, *SHAPE))
    found, expected = network.activations(images), without.activations(images)
    for name in network.names:
        np.testing.assert_array_equal(found[name], expected[name])
        fields = network.receptive_fields[name], without.receptive_fields[name]
        np.testing.assert_array_equal(fields[0].rows, fields[1].rows)
    assert (
        network.depths == without.depths == {INPUT: 0, "conv1": 1, "conv2": 2, "ip1": 3}
    )
    assert network.sources("conv1") == (INPUT,)
    assert network.without_pooling_neurons() == network
    assert converted(network).layers.n_synapses == without.n_synapses + sum(
        p.connection.n_synapses for p in network.projections if network.is_feedback(p)
    )
    by_images = [convert(n, calibration=images).thresholds for n in (network, without)]
    assert by_images[0] == by_images[1]
    with pytest.raises(KeyError, match="no population"):
        network["conv1_from_conv2"]


def test_a_circle_is_saved(tmp_path):
    snn = converted(circle())
    snn.save(tmp_path / "a.snn")
    again = SpikingNetwork.load(tmp_path / "a.snn")
    assert again == snn
    assert [p.delay_s for p in again.layers.projections] == [0, 2e-3, 0, 1e-3, 0]
    assert again.layers != circle(back=1e-3)
    assert "conv2" in str(again)


LATERAL, BACK = dyadic(3, 3, 3, 5, seed=5) / 2, dyadic(3, 4, 2, 2, seed=6)


def forwards(network):
    """The network without its feedback."""
    projections = [p for p in network.projections if not network.is_feedback(p)]
    return replace(network, projections=tuple(projections))


def with_kernels(network):
    """The same with kernels from conv1 and conv2 to conv1, as projections."""
    around = Convolution((3, 4, 5), LATERAL, padding=((1, 1), (2, 2)))
    back = TransposedConvolution((4, 2, 4), BACK.swapaxes(0, 1), stride=(2, 1))
    made = [
        Projection(f"conv1_from_{source}", source, "conv1", connection, delay)
        for source, connection, delay in (
            ("conv1", Connection((3, 4, 5), kernel=around), 3e-3),
            ("conv2", Connection((4, 2, 4), kernel=back), 1e-3),
        )
    ]
    return replace(network, projections=(*network.projections, *made))


@pytest.mark.parametrize(
    ("target", "propagation"),
    [
        ("numpy", "step"),
        ("numpy", "instant"),
        # Cython takes half a minute; tests of shared synapses have it in each run.
        pytest.param("cython", "step", marks=[pytest.mark.slow, pytest.mark.many]),
        pytest.param("cpp", "step", marks=[pytest.mark.standalone, pytest.mark.slow]),
    ],
)
def test_kernels_in_a_brian_network(target, propagation, tmp_path):
    network, spikes = forwards(circle()), input_spikes()
    if target == "cpp":
        brian2.set_device("cpp_standalone", directory=str(tmp_path))
    else:
        brian2.prefs.codegen.target = target
    snn = converted(network, propagation=propagation, dtype="float64")
    net = snn.network(trains(spikes))
    # Brian2's own delays: with 0, a spike counts in the next step.
    lateral = connect_convolution(net, "conv1", net["conv1"], LATERAL, delay=2 * ms)
    back = connect_convolution(net, net["conv2"], "conv1", BACK)
    assert (lateral.name, back.name) == (
        "conv1_from_conv1_synapses",
        "conv1_from_conv2_synapses",
    )
    assert (lateral.delay, back.delay) == (2 * ms, 0 * ms)
    assert net[lateral.name] is lateral
    size = "burst" if snn.neurons.size else None
    monitors = {name: SpikeMonitor(net[name], variables=size) for name in network.names}
    net.add(*monitors.values())
    net.run(N_STEPS * ms)
    expected = loop(with_kernels(network), spikes, propagation)
    without = loop(network, spikes, propagation)
    for name, monitor in monitors.items():
        found = np.zeros((N_STEPS, monitor.source.N), bool)
        found[np.rint(monitor.t / ms).astype(int), monitor.i] = True
        assert (expected[name] != without[name]).any()
        shape = network.shapes[name]
        np.testing.assert_array_equal(found, to_neurons(expected[name], shape), name)


def test_kernels_fit_maps_of_other_sizes():
    values = torch.tensor(dyadic(1, 2, 6, 8), dtype=torch.float64)
    same, smaller = dyadic(3, 2, 3, 5), dyadic(3, 2, 2, 2)
    larger = dyadic(3, 2, 4, 3, seed=2)
    for target, kernel, stride, expected in (
        ((3, 6, 8), same, None, F.conv2d(values, torch.tensor(same), padding=(1, 2))),
        ((3, 3, 4), smaller, None, F.conv2d(values, torch.tensor(smaller), stride=2)),
        ((3, 2, 3), smaller, 3, F.conv2d(values, torch.tensor(smaller), stride=3)),
        (
            (3, 12, 16),
            larger,
            2,
            F.conv_transpose2d(
                values,
                torch.tensor(larger).transpose(0, 1),
                stride=2,
                padding=(1, 1),
                output_padding=(0, 1),
            ),
        ),
    ):
        groups = [
            NeuronGroup(np.prod(shape), "v : 1", threshold="v > 1", reset="v = 0")
            for shape in ((2, 6, 8), target)
        ]
        made = connect_convolution(
            BrianNetwork(*groups),
            *groups,
            kernel,
            stride=stride,
            source_shape=(2, 6, 8),
            target_shape=target,
        )
        found = made.connection.drive(values.numpy())
        np.testing.assert_array_equal(found, expected.numpy())


def test_kernels_that_do_not_fit_are_refused():
    net = converted(circle()).network()
    ends, kernel = ("conv1", "conv1"), np.ones((3, 3, 3, 3))
    for message, (source, target), weights, options in (
        ("no 'conv9'; it has .*conv1", ("conv1", "conv9"), kernel, {}),
        ("shape .*expected \\(3, 4", ("conv2", "conv1"), kernel, {}),
        ("not lead from", ("conv2", "conv1"), np.ones((3, 4, 1, 1)), {"stride": 3}),
        ("multiple of dt", ends, kernel, {"delay": 0.3 * ms}),
        ("multiple of dt", ends, kernel, {"delay": -1 * ms}),
        ("expected \\(channels", ("ip1", "conv1"), kernel, {}),
        ("shape is not known", (net["conv1"][:9], "conv1"), kernel, {}),
        ("60 neurons", ends, np.ones((2, 2, 3, 3)), {"source_shape": (2, 4, 5)}),
    ):
        if "source_shape" in options:
            options["target_shape"] = options["source_shape"]
        n_objects = len(net.objects)
        with pytest.raises(InputError, match=message):
            connect_convolution(net, source, target, weights, **options)
        assert len(net.objects) == n_objects
    with pytest.raises(InputError, match="expected a brian2.Network"):
        connect_convolution(circle(), *ends, kernel)


def test_difference_of_gaussians():
    kernel = difference_of_gaussians(
        2,
        (5, 3),
        centre_sigma=0.7,
        surround_sigma=2,
        centre=3,
        surround=2,
        between_surround=0.5,
        itself=True,
    )
    near, around = np.zeros((2, 5, 3))
    for y in range(5):
        for x in range(3):
            r2 = (y - 2) ** 2 + (x - 1) ** 2
            near[y, x], around[y, x] = np.exp(-r2 / 0.98), np.exp(-r2 / 8)
    near, around = near / near.sum(), around / around.sum()
    for out in range(2):
        for into in range(2):
            own = out == into
            expected = (3 * near - 2 * around) if own else -0.5 * around
            np.testing.assert_allclose(kernel[out, into], expected, rtol=1e-12)
    assert kernel[0, 0].sum() == pytest.approx(1)
    without = difference_of_gaussians(2, (5, 3), between_centre=1)
    assert without[0, 0, 2, 1] == without[1, 1, 2, 1] == 0
    assert without[0, 1, 2, 1] > 0
    for wrong in (
        {"size": 4},
        {"size": (3, 0)},
        {"n_channels": 0},
        {"centre_sigma": 0},
        {"surround": np.nan},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            difference_of_gaussians(**{"n_channels": 1, "size": 3, **wrong})


class Repeated(nn.Module):
    """A CNN that calls its layers several times."""

    def __init__(self, kind, n):
        super().__init__()
        self.kind, self.n = kind, n
        weights = {"bias": False, "dtype": torch.float64}
        self.u = nn.Conv2d(2, 3, 3, padding=1, **weights)
        self.a = nn.Conv2d(3, 2, 3, padding=1, **weights)
        self.b = nn.Conv2d(2, 3, 1, **weights)
        self.w = nn.Conv2d(3, 3, 1, groups=3, **weights)
        self.out = nn.Linear(60, 3, **weights)
        shares = zip(self.children(), (8, 2, 1, 1, 8), strict=True)
        for k, (part, share) in enumerate(shares):
            values = dyadic(*part.weight.shape, seed=k) / share
            part.weight.data = torch.tensor(values)

    def forward(self, x):
        h = F.relu(self.u(x))
        if self.kind == "zeros":
            h = x.new_zeros(x.shape[0], 3, 4, 5)
        total, g = 0, F.relu(self.a(h))
        for _ in range(self.n):
            if self.kind in ("layer", "zeros"):
                h = F.relu(self.w(h) + self.u(x))
            elif self.kind == "block":
                h = F.relu(self.b(F.relu(self.a(h))) + self.u(x))
            elif self.kind == "once":
                h = F.relu(self.w(h))
            elif self.kind == "side by side":
                h, g = F.relu(self.w(h) + self.u(x)), F.relu(self.a(h) + g)
            elif self.kind == "all passes":
                h = F.relu(self.w(h) + self.u(x))
                total = total + h
        if self.kind == "side by side":
            h = F.relu(h + self.b(g))
        return self.out((total if self.kind == "all passes" else h).flatten(1))


def rolled_by_hand(cnn, names, made, delay):
    shapes = {"conv1": (3, 4, 5), "conv2": (2, 4, 5), "out": (3,)}
    projections = []
    for name, source, target, part in made:
        weight, kernel = part.weight.numpy(force=True), Dense
        given = {}
        if weight.ndim == 4:
            sides = (weight.shape[2] // 2,) * 2
            kernel, given = Convolution, {"padding": (sides, sides)}
        if part is cnn.w:
            kernel, weight, given = ByChannel, weight.ravel(), {}
        shape = SHAPE if source == INPUT else shapes[source]
        connection = Connection(shape, kernel=kernel(shape, weight, **given))
        late = (
            delay
            if source != INPUT and [*names].index(source) >= [*names].index(target)
            else 0.0
        )
        projections.append(Projection(name, source, target, connection, late))
    populations = tuple(Population(name, shapes[name]) for name in names)
    return Network(SHAPE, populations, tuple(projections))


def renamed(network, last):
    """Call the last population ``out``."""
    text = {last: "out"}
    return Network(
        network.input_shape,
        tuple(replace(p, name=text.get(p.name, p.name)) for p in network),
        tuple(
            replace(
                p, name=text.get(p.name, p.name), target=text.get(p.target, p.target)
            )
            for p in network.projections
        ),
    )


REPEATED = {
    "layer": [
        ("conv1_from_conv1", "conv1", "conv1", "w"),
        ("conv1_from_input", INPUT, "conv1", "u"),
        ("out", "conv1", "out", "out"),
    ],
    "block": [
        ("conv1_from_conv2", "conv2", "conv1", "b"),
        ("conv1_from_input", INPUT, "conv1", "u"),
        ("conv2", "conv1", "conv2", "a"),
        ("out", "conv1", "out", "out"),
    ],
    "once": [
        ("conv1_from_input", INPUT, "conv1", "u"),
        ("conv1_from_conv1", "conv1", "conv1", "w"),
        ("out", "conv1", "out", "out"),
    ],
}


@pytest.mark.parametrize("kind", REPEATED)
def test_repeated_layers_are_populations_with_feedback(kind):
    cnn = Repeated(kind, 3)
    snn = convert(cnn, SHAPE, thresholds=1.0, unroll=False, feedback_delay=3 * ms)
    made = [(*one, getattr(cnn, part)) for *one, part in REPEATED[kind]]
    names = dict.fromkeys(target for _, _, target, _ in made)
    last = snn.layer_names[-1]
    assert renamed(snn.layers, last) == rolled_by_hand(cnn, names, made, 3e-3)
    assert len(convert(cnn, SHAPE, thresholds=1.0).layers) == {"block": 8}.get(kind, 5)
    images = np.random.default_rng(2).random((3, *SHAPE))
    found = snn.layers.activations(images, passes=4)[last]
    again = snn.layers.activations(images, passes=5)[last]
    expected = cnn(torch.tensor(images)).numpy(force=True)
    assert np.abs(found - again).max() > 1e-4
    # Where the image enters once only, the SNN is another network.
    assert (np.abs(found - expected).max() < 1e-12) == (kind != "once")
    by_images = convert(cnn, SHAPE, calibration=images, unroll=False, percentile=100)
    h = snn.layers.activations(images, passes=4)["conv1"]
    assert by_images.thresholds["conv1"] == pytest.approx(h.max(), rel=1e-6)


def test_a_repetition_may_start_from_zeros():
    # Four passes from zeros are a first one without W, and three.
    cnn, options = Repeated("zeros", 4), {"thresholds": 1.0, "unroll": False}
    layers = convert(cnn, SHAPE, **options).layers
    other = convert(Repeated("layer", 3), SHAPE, **options).layers
    connections = [
        [(p.connection, p.delay_s) for p in network.projections]
        for network in (layers, other)
    ]
    assert connections[0] == connections[1]
    images = np.random.default_rng(2).random((2, *SHAPE))
    found = layers.activations(images, passes=4)[layers.names[-1]]
    expected = cnn(torch.tensor(images)).numpy(force=True)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("propagation", ["step", "instant"])
def test_every_spike_of_repeated_layers(propagation):
    snn = convert(
        Repeated("block", 2),
        SHAPE,
        thresholds=0.5,
        unroll=False,
        feedback_delay=2 * ms,
        propagation=propagation,
        reset="subtract",
        v_min=-4.0,
    )
    thresholds = dict.fromkeys(snn.layer_names, 0.5)
    factors = {"conv1_from_conv2": 0.25}
    spikes = input_spikes()
    run_and_compare(snn, trains(spikes), spikes, thresholds=thresholds, factors=factors)


def test_what_is_of_the_pass_before_comes_later():
    # The second layer reads the first one as it was a pass before.
    snn = convert(
        Repeated("side by side", 3),
        SHAPE,
        thresholds=0.5,
        unroll=False,
        reset="subtract",
        v_min=-4.0,
    )
    first, second, both, last = snn.layer_names
    found = {(p.source, p.target): p.delay_s for p in snn.layers.projections}
    assert found == {
        (INPUT, first): 0,
        (first, first): 1e-3,
        (first, second): 1e-3,
        (second, second): 1e-3,
        (first, both): 0,
        (second, both): 0,
        (both, last): 0,
    }
    names = {(p.source, p.target): p.name for p in snn.layers.projections}
    ends = (first, first), (second, second), (second, both)
    halved = {names[end]: 0.5 for end in ends}
    # A spike of a step later goes past no layer, and waits for none.
    spikes = input_spikes()
    thresholds = dict.fromkeys(snn.layer_names, 0.5)
    late = {names[first, both]: 1}
    run_and_compare(
        snn,
        trains(spikes),
        spikes,
        thresholds=thresholds,
        factors=halved,
        shortcuts=late,
    )


def test_rates_settle_at_the_fixed_point():
    cnn = Repeated("layer", 2)
    snn = convert(
        cnn,
        SHAPE,
        thresholds=1.0,
        unroll=False,
        reset="subtract",
        encoding="current",
        v_min=-np.inf,
        dtype="float64",
    )
    image = np.random.default_rng(3).random((1, *SHAPE))
    net = snn.network(image[0])
    monitor = SpikeMonitor(net["conv1"])
    net.add(monitor)
    net.run(400 * ms)
    rates = from_neurons(np.array(monitor.count) / 400, (3, 4, 5))
    with torch.no_grad():
        driven = cnn.u(torch.tensor(image))
        h = F.relu(driven)
        for _ in range(200):
            h = F.relu(cnn.w(h) + driven)
    assert h.max() < 1
    assert (h - F.relu(driven)).abs().max() > 0.05
    np.testing.assert_allclose(rates, h[0].numpy(), atol=0.02)


def test_what_does_not_repeat_is_refused():
    for kind, n, message in (
        ("layer", 0, "no weights come again"),
        ("once", 1, "no weights come again"),
        ("all passes", 3, "have the same weights"),
    ):
        cnn = Repeated(kind, n)
        assert convert(cnn, SHAPE, thresholds=1.0).layers
        with pytest.raises(InputError, match=f"unroll=False.*{message}"):
            convert(cnn, SHAPE, thresholds=1.0, unroll=False)
    given = {"input_shape": SHAPE, "thresholds": 1.0}
    cnn = Repeated("layer", 3)
    with pytest.raises(InputError, match="feedback_delay: there is no"):
        convert(cnn, feedback_delay=1 * ms, **given)
    with pytest.raises(InputError, match="conv1_from_conv1 is 0.5 ms.*multiple"):
        convert(cnn, unroll=False, feedback_delay=0.5 * ms, **given)
    with pytest.raises(InputError, match="a delay"):
        convert(cnn, unroll=False, feedback_delay=0 * ms, **given)


def signs_by_hand(network, name):
    """Neurons of a population with weights of both signs, from matrices."""
    matrices = [as_matrix(p.connection) for p in network.out_of(name)]
    whole = np.concatenate(matrices, axis=1)
    mixed = (whole > 0).any(1) & (whole < 0).any(1)
    return {
        p.name: int((mixed & (matrix != 0).any(1)).sum())
        for p, matrix in zip(network.out_of(name), matrices, strict=True)
    }


def test_dale_counts_neurons_of_both_signs():
    network = circle()
    by_hand = [signs_by_hand(network, name) for name in (INPUT, "conv1", "conv2")]
    expected = {name: n for found in by_hand for name, n in found.items() if n}
    # Three of four channels of conv2 inhibit or excite themselves.
    assert expected["conv2_from_conv2"] == 24
    assert check_dale(network) == expected
    assert check_dale(converted(network)) == expected
    snn = converted(network, encoding="current")
    assert {*expected} - {*check_dale(snn)} == {"conv1"}
    positive = Connection(SHAPE, kernel=Dense(SHAPE, np.abs(dyadic(3, 40))))
    one = Network(
        SHAPE, (Population("ip1", (3,)),), (Projection("ip1", INPUT, "ip1", positive),)
    )
    assert check_dale(one) == {}
    pooled = pooling_of_both_signs()
    assert check_dale(pooled) == signs_by_hand(pooled, INPUT)
    assert 0 < check_dale(pooled)["ip1"] < 40


def pooling_of_both_signs():
    """Averages, of which some have weights of one sign only."""
    window = Window(
        span_matrix(4, [(0, 2), (2, 4)], [0.5, 0.5]),
        span_matrix(5, [(0, 3), (2, 5)], [0.5, 0.5]),
    )
    weight = dyadic(3, 8, seed=3)
    weight[:, ::3] = np.abs(weight[:, ::3])
    read = Connection(SHAPE, window, Dense((2, 2, 2), weight))
    return Network(
        SHAPE, (Population("ip1", (3,)),), (Projection("ip1", INPUT, "ip1", read),)
    )


@pytest.mark.parametrize("propagation", ["step", "instant"])
@pytest.mark.parametrize("name", ["conv1", "conv2"])
def test_a_population_is_split_by_sign(name, propagation, tmp_path):
    options = {"propagation": propagation, "dtype": "float64"}
    options |= {"neurons": {name: IF()}, "delay": {name: 2 * ms}}
    snn = converted(circle(), **options)
    snn.thresholds = snn.thresholds | {"conv2": np.array([1.0, 2.0, 1.5, 2.0])}
    apart = split_by_sign(snn, name)
    both = [f"{name}_excitatory", f"{name}_inhibitory"]
    assert apart.layer_names == tuple(
        own for one in snn.layer_names for own in (both if one == name else [one])
    )
    left = check_dale(apart)
    assert not {p.source for p in apart.layers.projections if p.name in left} & {*both}
    for kind, sign in zip(both, (1, -1), strict=True):
        out = apart.layers.out_of(kind)
        assert out
        assert all((sign * p.connection.weight >= 0).all() for p in out)
    apart.save(tmp_path / "a.snn")
    assert SpikingNetwork.load(tmp_path / "a.snn") == apart
    found = []
    for network in (snn, apart):
        net = network.network(trains(input_spikes(seed=4)))
        monitors = {one: SpikeMonitor(net[one]) for one in network.layer_names}
        net.add(*monitors.values())
        net.run(N_STEPS * ms)
        potentials = {one: np.array(net[one].v) for one in network.layer_names}
        found.append(
            {
                one: (*map(np.array, (monitor.i, monitor.t)), potentials[one])
                for one, monitor in monitors.items()
            }
        )
    whole, parts = found
    for one, values in parts.items():
        expected = whole[name if one in both else one]
        assert len(expected[0]) > 10
        for mine, theirs in zip(values, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs, one)


def test_what_cannot_be_split_is_refused():
    snn = converted(circle())
    with pytest.raises(InputError, match="conv9"):
        split_by_sign(snn, "conv9")
    with pytest.raises(InputError, match="ip1: the last layer"):
        split_by_sign(snn, "ip1")
    apart = split_by_sign(snn, "conv1")
    with pytest.raises(InputError, match="outgoing weights is inhibitory"):
        split_by_sign(apart, "conv1_excitatory")
    learning = converted(circle(), synapses="explicit")
    learning = learning.plasticity("ip1", STDP(4 * ms, 7 * ms))
    with pytest.raises(InputError, match="ip1 learn"):
        split_by_sign(learning, "conv2")


@pytest.mark.standalone
@pytest.mark.slow
def test_kernels_in_a_program():
    network = forwards(circle())

    def build(net):
        connect_convolution(net, "conv1", "conv1", LATERAL, delay=2 * ms)
        connect_convolution(net, "conv2", "conv1", BACK)

    snn = converted(network, propagation="instant", dtype="float64").extend(build)
    images = np.random.default_rng(1).random((2, *SHAPE))
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(images, record=simulator.populations, seed=4)
    for image in range(2):
        spikes = raster(result, INPUT, image)
        expected = loop(with_kernels(network), spikes, "instant")
        for name in network.names:
            assert expected[name].any()
            np.testing.assert_array_equal(raster(result, name, image), expected[name])
