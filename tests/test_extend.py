"""Brian2 objects of a user's own, in the program as in Brian2's runtime mode."""

import brian2
import numpy as np
import pytest
from brian2 import (
    Hz,
    NetworkOperation,
    NeuronGroup,
    PoissonGroup,
    PoissonInput,
    SpikeGeneratorGroup,
    SpikeMonitor,
    StateMonitor,
    Synapses,
    TimedArray,
    linked_var,
    ms,
    mV,
    second,
)
from by_hand import AvgPool2d, Conv2d, Layers, Linear

from cnn2snn_brian import (
    Conv2dSynapses,
    InputError,
    Recording,
    Simulator,
    SpikingNetwork,
    sweep,
    tune_thresholds,
)
from cnn2snn_brian.errors import BuildError
from cnn2snn_brian.projections import from_neurons
from cnn2snn_brian.settings import Parameters
from cnn2snn_brian.stimuli import SpikeTrains

SHAPE, N_STEPS = (1, 6, 5), 60


def made_network(propagation="step"):
    rng = np.random.default_rng(0)
    layers = Layers(
        SHAPE,
        [
            Conv2d(
                "conv1",
                ["input"],
                SHAPE,
                rng.normal(0.2, 0.4, (3, 1, 3, 3)),
                padding=((1, 1), (1, 1)),
            ),
            AvgPool2d("pool1", ["conv1"], (3, 6, 5), *_halves()),
            Linear("ip1", ["pool1"], (3, 3, 2), rng.normal(0.1, 0.5, (4, 18))),
        ],
    )
    parameters = Parameters.of(layers, thresholds=0.7, v_min=0, leak=0, v_init=0)
    return SpikingNetwork(layers, parameters, dtype="float64", propagation=propagation)


def _halves():
    rows, columns = ((0, 2), (2, 4), (4, 6)), ((0, 2), (2, 4))
    return rows, columns, [[0.5, 0.5]] * 3, [[0.5, 0.5]] * 2


def given_spikes(seed=0):
    """Draw input spikes that Brian2's runtime mode is given too."""
    spikes = np.random.default_rng(seed).random((30, N_STEPS)) < 0.3
    neuron, step = np.nonzero(spikes)
    return SpikeTrains(neuron, step * ms, duration=N_STEPS * ms)


# What users add, each on its own; `readers` comes first.


def readers(network):
    """Adaptive neurons with refractoriness, random starts and a user's constant."""
    tau = 20 * ms  # noqa: F841
    group = NeuronGroup(
        4,
        """dv/dt = -v/tau : 1 (unless refractory)
        dw/dt = -w/(50*ms) : 1
        gain : 1 (shared)
        pause : second
        k : integer""",
        threshold="v > 0.6 + w",
        reset="v = 0; w += 0.1; k += 1",
        refractory="pause",
        method="exact",
        name="readers",
    )
    group.v, group.gain, group.pause = "0.2*rand()", 0.5, "(1 + i % 3)*ms"
    feed = Synapses(network["ip1"], group, on_pre="v += 0.4*gain", name="feed")
    feed.connect(j="i")
    network.add(group, feed)


def lateral(network):
    """Random synapses within a layer, with a delay and a shared strength."""
    conv1 = network["conv1"]
    made = Synapses(
        conv1,
        conv1,
        "strength : 1 (shared)",
        on_pre="v_post -= strength",
        delay=2 * ms,
        name="lateral",
    )
    made.connect("i != j and i // 3 == j // 3", p=0.5)
    made.strength = 0.05
    network.add(made)


def shared_feedback(network):
    """Synapses that share weights, from a layer to the one before."""
    rng = np.random.default_rng(5)
    conv1 = network["conv1"]
    network.add(
        Conv2dSynapses(
            conv1,
            conv1,
            rng.normal(0, 0.1, (3, 3, 3, 3)),
            (3, 6, 5),
            padding=1,
            delay=1 * ms,
            name="surround",
        )
    )


def learning(network):
    """Event-driven synapses of a subgroup, two pathways with delays of their own."""
    made = Synapses(
        network["conv1"][10:50],
        network["readers"],
        """wt : 1
        dbefore/dt = -before/(20*ms) : 1 (event-driven)
        dafter/dt = -after/(20*ms) : 1 (event-driven)""",
        on_pre="v_post += 0.05*wt; before += 0.1; wt = clip(wt - after, 0, 1)",
        on_post="after += 0.1; wt = clip(wt + before, 0, 1)",
        delay={"pre": 2 * ms, "post": 1 * ms},
        name="learning",
    )
    made.connect(p=0.5)
    made.wt = "rand()"
    network.add(made)


def summed(network):
    """Clock-driven synaptic currents, and their sum."""
    conductances = NeuronGroup(3, "total : 1\nx : 1", name="conductances")
    made = Synapses(
        network["ip1"],
        conductances,
        "dg/dt = -g/(5*ms) : 1 (clock-driven)\ntotal_post = 5*g : 1 (summed)",
        on_pre="g += 0.4",
        method="exact",
        name="currents",
    )
    made.connect(j="i % 3")
    conductances.run_regularly("x += total", when="end")
    network.add(conductances, made)


def clocks(network):
    """Groups on slower clocks, and regular operations, one on a layer itself."""
    slow = NeuronGroup(
        3,
        "x : 1",
        threshold="x > 0.7",
        reset="x -= 0.7",
        name="slow",
        dt=2 * network.clock.dt,
    )
    slow.run_regularly("x += 0.1 + 0.02*i", dt=4 * ms)
    network["pool1"].run_regularly("v += 0.01", when="groups", order=2)
    back = Synapses(slow, network["pool1"], on_pre="v_post += 0.3", name="back")
    back.connect()
    back.delay = "int(4*rand())*ms"
    network.add(slow, back)


def inputs(network):
    """Given spikes, a table of values in time, linked variables, events."""
    level = TimedArray(np.array([0.0, 0.3, 0.1]), dt=25 * ms)  # noqa: F841
    given = SpikeGeneratorGroup(3, [0, 1, 2, 0], [3, 10, 20, 41] * ms, name="given")
    driven = NeuronGroup(
        3,
        "dy/dt = (level(t) - y)/(10*ms) : 1\nz : 1",
        threshold="y > 0.2",
        reset="y = 0",
        events={"near": "y > 0.1"},
        method="euler",
        name="driven",
    )
    driven.run_on_event("near", "z += 1")
    follower = NeuronGroup(
        3, "y : 1 (linked)", threshold="y > 0.15", reset="", name="follower"
    )
    follower.y = linked_var(driven, "y")
    kick = Synapses(given, driven, on_pre="y_post += 0.5", name="kick")
    kick.connect(j="i")
    network.add(given, driven, follower, kick)


KINDS = (readers, lateral, shared_feedback, learning, summed, clocks, inputs)
VARIABLES = {
    "readers": ["v", "w", "k"],
    "conductances": ["total", "x"],
    "driven": ["z"],
    "conv1": ["v"],
}


def together(network):
    for kind in KINDS:
        kind(network)


def in_runtime_mode(snn, variables=None, **how):
    """Simulate with Brian2's NumPy target."""
    brian2.prefs.codegen.target = "numpy"
    network = snn.network(given_spikes(), **how)
    names = [name for name in snn.population_shapes if name != "input"]
    monitors = {n: SpikeMonitor(network[n], name=f"of_{n}") for n in names}
    traces = {
        name: StateMonitor(network[name], own, record=True, when="end", order=9)
        for name, own in (variables or {}).items()
    }
    network.add(*monitors.values(), *traces.values())
    network.run(N_STEPS * ms)
    return monitors, traces


def check_spikes(result, monitors, trial=0):
    for name, monitor in monitors.items():
        found = result.spikes(name, trial)
        order = np.lexsort((found.neuron, found.t))
        expected = np.lexsort((monitor.i, monitor.t / second))
        np.testing.assert_array_equal(
            found.neuron[order], np.array(monitor.i)[expected], name
        )
        np.testing.assert_allclose(
            found.t[order], np.array(monitor.t)[expected], atol=1e-9, err_msg=name
        )


def check_everything(snn, variables):
    names = tuple(snn.population_shapes)
    monitors, traces = in_runtime_mode(snn, variables)
    assert all(monitor.num_spikes > 2 for monitor in monitors.values())
    with snn.compile(N_STEPS * ms) as simulator:
        recording = Recording(names, variables=variables)
        result = simulator.run([given_spikes()], repeats=3, record=recording)
        for trial in range(3):
            check_spikes(result, monitors, trial)
            for name, own in variables.items():
                for variable in own:
                    found = result.variable(name, variable, trial)
                    expected = getattr(traces[name], variable + "_")
                    # From single precision.
                    np.testing.assert_allclose(found.v.T, expected, 1e-5, 1e-6)
        yield simulator, result, monitors


@pytest.fixture(scope="module")
def extended(program_cache):
    snn = made_network().extend(together, seed=3)
    yield from check_everything(snn, VARIABLES)


@pytest.mark.standalone
def test_spikes_are_those_of_runtime_mode(extended):
    simulator, result, _ = extended
    assert simulator.populations[-5:] == (
        "driven",
        "follower",
        "given",
        "readers",
        "slow",
    )
    assert result.output_layer == "ip1"


@pytest.mark.standalone
def test_settings_repeat_a_run_on_any_shards(extended):
    simulator, *_ = extended
    rng = np.random.default_rng(1)
    images, record = rng.random((14, *SHAPE)), Recording(["readers", "slow"])
    values = {"lateral.strength": 0.2, "readers.pause": [1, 2, 3, 4] * ms}
    result = simulator.run(images, seed=4, values=values, record=record, executor=1)
    for how in ({"shard_size": 7}, {"shard_size": 2}):
        again = simulator.run(images, **result.settings, record=record, **how)
        for name, counts in result.spike_counts.items():
            np.testing.assert_array_equal(counts, again.spike_counts[name])
    other = simulator.run(images, seed=4, record=record)
    assert (other.spike_counts["conv1"] != result.spike_counts["conv1"]).any()
    text = str(result)
    assert "lateral.strength 0.2" in text
    assert "readers.pause 4 numbers" in text


@pytest.mark.standalone
def test_values_are_those_of_runtime_mode(extended):
    simulator, *_ = extended
    n = simulator.snn.extension.settable["learning.wt"].size
    values = {
        "lateral.strength": 0.3,
        "readers.gain": 2,
        "readers.v": np.array([0.1, 0.2, 0.3, 0.4]),
        "readers.pause": 2 * ms,
        "learning.wt": np.linspace(0, 1, n),
        "surround.w": np.full(81, -0.02),
    }
    names = tuple(simulator.populations)
    result = simulator.run([given_spikes()], values=values, record=names)
    monitors, _ = in_runtime_mode(simulator.snn, values=values)
    check_spikes(result, monitors)
    before, _ = in_runtime_mode(simulator.snn)
    assert before["readers"].num_spikes != monitors["readers"].num_spikes


@pytest.mark.standalone
def test_recordings_of_some_neurons_at_intervals(extended, tmp_path):
    simulator, full, _ = extended
    record = Recording(
        variables={"readers": "w", "conv1": "v"},
        neurons={"readers": [3, 1], "conv1": [(2, 1, 4)]},
        interval=5 * ms,
        window=(10 * ms, 40 * ms),
    )
    result = simulator.run([given_spikes()], record=record)
    found = result.variable("readers", "w", 0)
    np.testing.assert_allclose(found.t, [0.011, 0.016, 0.021, 0.026, 0.031, 0.036])
    whole = full.variable("readers", "w", 0).v
    np.testing.assert_array_equal(found.v, whole[10:40:5][:, [3, 1]])
    order = np.arange(90, dtype=float)
    at = from_neurons(order, (3, 6, 5))[2, 1, 4].astype(int)
    of_layer = full.variable("conv1", "v", 0).v[10:40:5, [at]]
    np.testing.assert_array_equal(result.potentials("conv1", 0).v, of_layer)
    result.save(tmp_path / "result.h5")
    again = type(result).load(tmp_path / "result.h5")
    np.testing.assert_array_equal(again.variable("readers", "w", 0).v, found.v)
    np.testing.assert_array_equal(again.variable("readers", "w", 0).t, found.t)
    assert again.settings["values"] == result.settings["values"]


@pytest.mark.standalone
def test_exports_know_added_populations(extended, tmp_path):
    _, result, monitors = extended
    assert result.spike_counts["readers"].shape == (3, 4)
    n = monitors["readers"].num_spikes
    assert result.psth("readers", 10 * ms).shape == (1, 6, 4)
    segment = result.to_neo(layers=["readers"]).segments[0]
    assert sum(len(train) for train in segment.spiketrains) == n
    assert int(result.to_xarray()["readers"].sum()) == 3 * n
    page = result.inspect(tmp_path / "page.html", images=None)
    assert "readers" in page.read_text()


@pytest.mark.standalone
def test_tuning_and_sweeps_set_values(extended):
    simulator, *_ = extended
    rng = np.random.default_rng(2)
    images, labels = rng.random((8, *SHAPE)), rng.integers(0, 4, 8)
    found = tune_thresholds(
        simulator,
        images,
        labels,
        held_out=0,
        budget=14,
        tune=("lateral.strength",),
        accept="always",
        progress=False,
    )
    strength = found.parameters.values["lateral.strength"]
    assert 0.0005 < strength < 5
    assert strength != 0.05
    table = sweep(
        simulator.snn,
        images,
        labels,
        {"lateral.strength": [0.0, 0.5]},
        seeds=[0],
        duration=N_STEPS * ms,
        progress=False,
    )
    few = simulator.run(images, values={"lateral.strength": 0.5}, progress=False)
    names = ("conv1", "pool1", "ip1")
    n_spikes = sum(int(few.spike_counts[name].sum()) for name in names)
    assert table["n_spikes"][1] == n_spikes < table["n_spikes"][0]
    with pytest.raises(InputError, match=r"object: 'lateral\.x'.*lateral\.strength"):
        sweep(simulator.snn, images, labels, {"lateral.x": [0.0]}, progress=False)
    with pytest.raises(InputError, match=r"tune=\['lateral\.x'\]"):
        tune_thresholds(simulator, images, labels, tune=("lateral.x",))


@pytest.mark.many
@pytest.mark.standalone
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("propagation", ["step", "instant"])
def test_each_kind_alone(kind, propagation):
    def build(network):
        readers(network)
        if kind is not readers:
            kind(network)

    snn = made_network(propagation).extend(build, seed=1)
    own = {
        n: v for n, v in VARIABLES.items() if f"{n}.{v[0]}" in snn.extension.settable
    }
    for _ in check_everything(snn, own):
        pass


def noisy(network):
    noise = NeuronGroup(
        4,
        "dv/dt = -v/(20*ms) + 0.3*xi/sqrt(20*ms) : 1",
        threshold="v > 0.5",
        reset="v = 0",
        method="euler",
        name="noise",
    )
    background = PoissonGroup(20, rates=100 * Hz, name="background")
    noise_of = Synapses(background, noise, on_pre="v_post += 0.3*rand()", name="kicks")
    noise_of.connect(p=0.5)
    many = PoissonInput(noise, "v", 30, 20 * Hz, weight=0.05)
    back = Synapses(noise, network["conv1"], on_pre="v_post += 0.5", name="back")
    back.connect(p=0.3)
    network.add(noise, background, noise_of, many, back)


@pytest.mark.standalone
def test_random_numbers_follow_seed_and_index():
    snn = made_network()
    images = np.random.default_rng(0).random((15, *SHAPE))
    with snn.extend(noisy).compile(N_STEPS * ms) as simulator:
        first = simulator.run(images, seed=1, executor=1)
        again = simulator.run(images, seed=1, shard_size=4)
        other = simulator.run(images, seed=2)
    for name, counts in first.spike_counts.items():
        np.testing.assert_array_equal(counts, again.spike_counts[name])
    assert (first.spike_counts["noise"] != other.spike_counts["noise"]).any()
    trials = simulator_of(snn, images)
    # Whatever else draws, the input spikes are the same.
    np.testing.assert_array_equal(
        first.spike_counts["input"], trials.spike_counts["input"]
    )
    n = first.spike_counts["background"].sum()
    expected = 15 * 20 * N_STEPS * 0.1
    assert abs(n - expected) < 5 * np.sqrt(expected)


def simulator_of(snn, images):
    with snn.compile(N_STEPS * ms) as simulator:
        return simulator.run(images, seed=1)


def balanced():
    """Excitatory and inhibitory neurons with currents, as in Brette et al. (2007)."""
    membrane, rest = 20 * ms, -49 * mV  # noqa: F841
    group = NeuronGroup(
        300,
        """dv/dt = (ge + gi - (v - rest))/membrane : volt (unless refractory)
        dge/dt = -ge/(5*ms) : volt
        dgi/dt = -gi/(10*ms) : volt""",
        threshold="v > -50*mV",
        reset="v = -60*mV",
        refractory=5 * ms,
        method="exact",
    )
    group.v = "-60*mV + 10*mV*rand()"
    excite = Synapses(group, group, "w : volt (shared)", on_pre="ge += w")
    excite.connect("i < 240", p=0.1)
    excite.w = 1.62 * mV
    inhibit = Synapses(group, group, on_pre="gi -= 9*mV", name="inhibit")
    inhibit.connect("i >= 240", p=0.1)
    return brian2.Network(group, excite, inhibit)


@pytest.mark.standalone
def test_any_network_is_a_program():
    duration, images = 100 * ms, None
    with Simulator.of(balanced, duration, dt=0.1 * ms, seed=2) as simulator:
        assert simulator.populations == ("neurongroup",)
        start = np.linspace(-60, -50, 300) * mV
        settings = [{}, {"values": {"synapses.w": 2 * mV, "neurongroup.v": start}}]
        results = dict(
            simulator.run_many(images, settings, repeats=2, record=["neurongroup"])
        )
        model = simulator.snn
        assert "300 neurons" not in str(results[0])
        with pytest.raises(InputError, match="shows no images"):
            simulator.run(np.zeros((1, 1, 2, 2)))
    brian2.prefs.codegen.target = "numpy"
    for k, values in enumerate(({}, settings[1]["values"])):
        network = model.network(values)
        monitor = SpikeMonitor(network["neurongroup"])
        network.add(monitor)
        network.run(duration)
        assert monitor.num_spikes > 200
        for trial in range(2):
            found = results[k].spikes("neurongroup", trial)
            np.testing.assert_array_equal(found.neuron, monitor.i)
    # Connections are no part of the program.
    with Simulator.of(balanced, duration, dt=0.1 * ms, seed=3) as simulator:
        assert not simulator.compiled
        other = simulator.run(repeats=1)
    counts = results[0].spike_counts["neurongroup"]
    assert (other.spike_counts["neurongroup"] != counts[:1]).any()


# Bad input: nothing is compiled.


def group(name="own", **more):
    return NeuronGroup(2, "x : 1", name=name, **more)


OUTSIDE = {}


def _unfit():
    def operation(network):
        network.add(NetworkOperation(lambda: None, name="python"))

    def monitor(network):
        network.add(SpikeMonitor(network["conv1"], name="monitor"))

    def state_monitor(network):
        network.add(StateMonitor(network["conv1"], "v", record=True, name="states"))

    def taken(network):
        network.add(group("ip1"))

    def delay(network):
        ip1 = network["ip1"]
        made = Synapses(ip1, ip1, on_pre="v_post += 1", delay=1.5 * ms)
        made.connect()
        network.add(made)

    def clock(network):
        network.add(group(dt=1.5 * ms))

    def finer(network):
        network.add(group(dt=0.1 * ms))

    def forgotten(network):
        OUTSIDE["kept"] = group("forgotten")

    def removes(network):
        network.remove(network["ip1"])

    def elsewhere(network):
        network.add(OUTSIDE["other"])

    def lonely(network):
        OUTSIDE["kept"] = end = group("end")
        made = Synapses(network["ip1"], end, on_pre="", name="made")
        made.connect()
        network.add(made)

    def fails(network):
        network.add(group())
        raise KeyError("half-way")

    return [
        (operation, InputError, "python is a NetworkOperation: Python can't run in a"),
        (monitor, InputError, "monitor is a SpikeMonitor: the result records"),
        (state_monitor, InputError, r"states is a StateMonitor.*variables="),
        (taken, InputError, "there is a 'ip1' in the network already"),
        (delay, InputError, r"delay of synapses is 1\.5 ms, .* multiple of dt, 1\. ms"),
        (clock, InputError, r"own has a time step of 1\.5 ms, expected a multiple"),
        (finer, InputError, "own has a time step of 100. us"),
        (forgotten, InputError, "build makes forgotten, but does not add it"),
        (removes, InputError, "build removes ip1"),
        (elsewhere, InputError, "other was made before build was called"),
        (lonely, InputError, "build makes end, but does not add it"),
        (fails, KeyError, "half-way"),
    ]


@pytest.mark.parametrize(("build", "kind", "message"), _unfit())
def test_what_does_not_fit_is_refused(build, kind, message):
    snn = made_network()
    OUTSIDE["other"] = group("other")
    device, clock = brian2.get_device(), brian2.defaultclock.dt
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    target = brian2.prefs.codegen.target
    with pytest.raises(kind, match=message):
        snn.extend(build)
    assert brian2.get_device() is device
    assert brian2.defaultclock.dt == clock
    assert brian2.prefs.codegen.target == target
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    OUTSIDE.clear()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"readers.tau": 1}, r"'readers\.tau' is not a variable .* readers\.v"),
        ({"conv1.v": 1}, r"'conv1\.v' is not a variable"),
        ({"readers.i": 1}, r"'readers\.i' is not a variable"),
        ({"readers.pause": 3}, "the unit of 3.* is 1, expected s"),
        ({"readers.pause": 3 * mV}, "expected s"),
        ({"readers.v": [1, 2, 3]}, r"shape \(3,\), expected one number or \(4,\)"),
        ({"readers.v": np.nan}, "not finite"),
        ({"readers.v": "much"}, r"values of readers\.v"),
        (3, "expected a dict by name"),
    ],
)
def test_values_that_do_not_fit(values, message):
    snn = made_network().extend(readers)
    with pytest.raises(InputError, match=message):
        snn.network(values=values)
    with pytest.raises(InputError, match=message):
        snn.parameters = snn.parameters.replace(values=values)


def test_an_extended_network_says_so(tmp_path):
    plain = made_network()
    snn = plain.extend(readers, seed=1).extend(lateral, seed=2)
    assert "added: feed, lateral, readers" in str(snn)
    assert plain.extension.names == ()
    assert snn == plain.extend(readers, seed=1).extend(lateral, seed=2)
    assert snn != plain.extend(readers, seed=1).extend(lateral, seed=3)
    assert snn != plain
    with pytest.raises(InputError, match="save the network before"):
        snn.save(tmp_path / "network.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_build_that_changes_is_found():
    names = iter(("first", "first", "second"))

    def build(network):
        network.add(group(next(names)))

    snn = made_network().extend(build)
    snn.network()
    with pytest.raises(BuildError, match="build added second now, and first before"):
        snn.compile(10 * ms)


def test_a_network_without_spikes_is_a_program():
    def build():
        cells = NeuronGroup(
            3, "dv/dt = -v / (10 * ms) : 1", method="exact", name="cells"
        )
        cells.v = [1, 2, 4]
        return brian2.Network(cells)

    with Simulator.of(build, 5 * ms, dt=1 * ms) as simulator:
        assert simulator.populations == ()
        recording = Recording(variables={"cells": "v"})
        result = simulator.run(repeats=2, record=recording, progress=False)
    assert result.n_images == 2
    assert not result.spike_counts
    for trial in range(2):
        found = result.variable("cells", "v", trial)
        expected = np.outer(np.exp(-np.arange(1, 6) / 10), [1, 2, 4])
        np.testing.assert_allclose(found.v, expected, rtol=1e-6)


def test_of_takes_networks_only():
    with pytest.raises(InputError, match="expected a brian2.Network"):
        Simulator.of(lambda: 3, 10 * ms)
    with pytest.raises(InputError, match="not a function"):
        made_network().extend(3)
