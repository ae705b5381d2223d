"""Models of neurons against numpy loops, in Brian2 and compiled; delays."""

import brian2
import numpy as np
import pytest
from brian2 import SpikeMonitor, ms, mV
from reference import model_spikes, raster, two_layers

from cnn2snn_brian import (
    IF,
    LIF,
    AdaptiveIF,
    ConductanceLIF,
    InputError,
    Lesion,
    NeuronModel,
    SpikingNetwork,
    convert,
)
from cnn2snn_brian.projections import from_neurons

SHAPE = (2, 7, 6)
N_STEPS = 24
THRESHOLDS = {"conv1": 1.0, "ip1": 2.0}
IMAGES = np.random.default_rng(0).random((3, *SHAPE)) / 2
LAYERS = ("conv1", "ip1")

#: Models, and what the numpy loop has to know of them.
CASES = {
    "lif": (LIF(7 * ms), 0, {"tau": 7}),
    "if-refractory": (IF(refractory=3 * ms), 0, {"refractory": 3}),
    "lif-refractory-delay": (
        LIF(7 * ms, refractory=2 * ms),
        3,
        {"tau": 7, "refractory": 2},
    ),
    "conductances": (
        ConductanceLIF(15 * ms, tau_e=4 * ms, tau_i=6 * ms, refractory=1 * ms),
        0,
        {"tau": 15, "conductances": (4, 6, 4.0, -1.0), "refractory": 1},
    ),
}

ADAPTIVE = NeuronModel(
    """dv/dt = -v / tau : 1
    da/dt = -a / tau_a : 1""",
    threshold="v >= v_th + a",
    reset="v = 0; a += step * v_th",
    parameters={"tau": 9 * ms, "tau_a": 30 * ms, "step": 0.4},
    initial={"a": 0.25},
    method="exact",
)


def network(model, delay=0, **options):
    return convert(
        two_layers(),
        SHAPE,
        thresholds=THRESHOLDS,
        neurons=model,
        delay=delay * ms,
        dtype="float64",
        **options,
    )


def in_brian(snn, image, seed=3, **options):
    """Spikes of all populations in runtime mode, (n_steps, *shape)."""
    brian2.seed(seed)
    net = snn.network(image, **options)
    names = snn.population_shapes
    monitors = {name: SpikeMonitor(net[name]) for name in names}
    net.add(*monitors.values())
    net.run(N_STEPS * ms, namespace={})
    found = {}
    for name, shape in names.items():
        spikes = np.zeros((N_STEPS, int(np.prod(shape))), bool)
        spikes[np.rint(monitors[name].t / ms).astype(int), monitors[name].i] = True
        found[name] = from_neurons(spikes, shape)
    return found


@pytest.mark.parametrize("synapses", ["shared", "explicit"])
@pytest.mark.parametrize("case", CASES)
def test_every_spike_in_brian_equals_the_numpy_loop(case, synapses):
    brian2.prefs.codegen.target = "numpy"
    model, delay, rules = CASES[case]
    found = in_brian(network(model, delay, synapses=synapses), IMAGES[0])
    expected = model_spikes(
        two_layers(),
        found["input"],
        thresholds=list(THRESHOLDS.values()),
        delay=delay,
        **rules,
    )
    assert expected[1].any()
    for name, spikes in zip(LAYERS, expected, strict=True):
        np.testing.assert_array_equal(found[name], spikes, name)


@pytest.mark.standalone
@pytest.mark.parametrize("case", ["lif", "lif-refractory-delay", "conductances"])
def test_every_spike_of_a_program_equals_the_numpy_loop(case):
    # Of three images, one after another: nothing is left of those before.
    model, delay, rules = CASES[case]
    dead = {0: Lesion("conv1", fraction=0.3, seed=1).mask((3, 4, 5))}
    with network(model, delay).compile(N_STEPS * ms) as simulator:
        for lesions in ({}, dead):
            result = simulator.run(
                IMAGES,
                executor=1,
                record=("input", *LAYERS),
                lesion={"conv1": lesions[0]} if lesions else None,
            )
            for image in range(len(IMAGES)):
                expected = model_spikes(
                    two_layers(),
                    raster(result, "input", image),
                    thresholds=list(THRESHOLDS.values()),
                    delay=delay,
                    dead=lesions,
                    **rules,
                )
                for name, spikes in zip(LAYERS, expected, strict=True):
                    np.testing.assert_array_equal(raster(result, name, image), spikes)
        assert result.spike_counts["ip1"].any()


@pytest.mark.standalone
def test_an_own_model_is_the_same_in_brian_and_compiled():
    brian2.prefs.codegen.target = "numpy"
    snn = network(ADAPTIVE, encoding="current")
    expected = [in_brian(snn, image) for image in IMAGES]
    plain = in_brian(network(LIF(9 * ms), encoding="current"), IMAGES[0])
    assert 0 < expected[0]["conv1"].sum() < plain["conv1"].sum()
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(IMAGES, executor=1, record=LAYERS)
        for image in range(len(IMAGES)):
            for name in LAYERS:
                np.testing.assert_array_equal(
                    raster(result, name, image), expected[image][name]
                )
        # Values of parameters are run-time inputs; equations are not.
        faster = NeuronModel(
            ADAPTIVE.equations,
            ADAPTIVE.threshold,
            ADAPTIVE.reset,
            parameters={**ADAPTIVE.parameters, "step": 0.0},
            initial=ADAPTIVE.initial,
            method="exact",
        )
        more = simulator.run(IMAGES, executor=1, neurons=faster).spike_counts["conv1"]
        assert more.sum() > result.spike_counts["conv1"].sum()
        last = simulator.run(IMAGES, executor=1, neurons={"ip1": faster}).spike_counts
        np.testing.assert_array_equal(last["conv1"], result.spike_counts["conv1"])
        assert last["ip1"].sum() > result.spike_counts["ip1"].sum()
        with pytest.raises(InputError, match="conv1: IF.* other equations"):
            simulator.run(IMAGES, neurons=IF())


@pytest.mark.standalone
def test_noise_has_its_variance_and_follows_from_the_seed_of_the_picture():
    sigma, tau, n = 0.05, 5.0, 300
    snn = network(
        LIF(tau * ms, refractory=2 * ms, sigma=sigma), 2, release_probability=0.7
    )
    with snn.compile(N_STEPS * ms) as simulator:
        silence = simulator.run(
            np.zeros((n, *SHAPE)), v_min=-np.inf, thresholds=3.0, progress=False
        )
        assert not silence.spike_counts["ip1"].any()
        found = silence.output_potentials.std()
        decayed = 1 - np.exp(-2 * N_STEPS / tau)
        expected = 3.0 * sigma * np.sqrt(tau / 2 * decayed)
        # 5 standard errors of the standard deviation of 4 n numbers.
        assert abs(found / expected - 1) < 5 / np.sqrt(2 * 4 * n)
        images = np.concatenate([IMAGES, IMAGES])
        one = simulator.run(images, seed=4, executor=1, shard_size=6)
        two = simulator.run(images, seed=4, executor=2, shard_size=1)
        alone = simulator.run(images[:2], seed=4, executor=1)
        other = simulator.run(images, seed=5, executor=1)
        np.testing.assert_array_equal(one.output_potentials, two.output_potentials)
        np.testing.assert_array_equal(
            one.output_potentials[:2], alone.output_potentials
        )
        assert (one.output_potentials != other.output_potentials).any()
        for name, counts in one.spike_counts.items():
            np.testing.assert_array_equal(counts, two.spike_counts[name], name)
            np.testing.assert_array_equal(counts[:2], alone.spike_counts[name], name)


@pytest.mark.standalone
@pytest.mark.parametrize("synapses", ["shared", "explicit"])
def test_a_delay_shifts_the_output_and_ends_with_the_picture(synapses):
    brian2.prefs.codegen.target = "numpy"
    options = {"encoding": "current", "synapses": synapses}
    late = network(IF(), **options)
    late.delays_s = {"ip1": 0.004}
    chosen = [0, 1, 0]
    now = [in_brian(network(IF(), **options), image) for image in IMAGES[:2]]
    with late.compile(N_STEPS * ms) as simulator:
        result = simulator.run(IMAGES[chosen], executor=1, record=LAYERS)
    for image, shown in enumerate(chosen):
        np.testing.assert_array_equal(
            raster(result, "conv1", image), now[shown]["conv1"]
        )
        outputs, delayed = now[shown]["ip1"], raster(result, "ip1", image)
        assert outputs[:-4].any()
        assert not delayed[:4].any()
        np.testing.assert_array_equal(delayed[4:], outputs[:-4])


def test_models_can_differ_by_layer_and_are_saved(tmp_path):
    snn = network(
        {"conv1": ConductanceLIF(sigma=0.1), "ip1": ADAPTIVE},
        release_probability={"ip1": 0.5},
    )
    snn.delays_s = {"conv1": 0.002}
    snn.save(tmp_path / "net.snn")
    loaded = SpikingNetwork.load(tmp_path / "net.snn")
    assert loaded.models(loaded.neurons) == snn.models(snn.neurons)
    assert loaded.delays_s == {"conv1": 0.002}
    assert loaded.release_probability == {"ip1": 0.5}
    one = network(LIF(7 * ms, refractory=2 * ms))
    one.save(tmp_path / "one.snn")
    assert SpikingNetwork.load(tmp_path / "one.snn").neurons == one.neurons
    assert "LIF(tau=7. ms, refractory_period=2. ms)" in str(one)
    net = loaded.network()
    assert net["ip1"].a[:].tolist() == [0.25] * 4
    assert net["conv1_synapses"].delay == 2 * ms


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeuronModel("dv/dt = -v"), "can't be read"),
        (lambda: NeuronModel("x : 1"), "no variable v"),
        (lambda: NeuronModel("v : volt"), "no variable v without unit"),
        (lambda: NeuronModel("v : 1\nleak : 1"), "leak is declared twice"),
        (lambda: NeuronModel("v : 1", initial={"v": 1}), "starts at v_init"),
        (lambda: NeuronModel("v : 1", parameters={"a": np.nan}), "a is nan"),
        (lambda: LIF(3), "tau is 3, expected a time"),
        (lambda: LIF(0 * ms), "tau is 0"),
        (lambda: IF(sigma=-1), "sigma is -1"),
        (lambda: IF(refractory=3), "refractory is 3, expected a time"),
        (lambda: IF(refractory=-1 * ms), "refractory is -1"),
        (lambda: ConductanceLIF(e_reversal=0.5), "e_reversal is 0.5"),
        (lambda: ConductanceLIF(i_reversal=0), "i_reversal is 0"),
        (lambda: network({"conv9": IF()}), "conv9"),
        (lambda: network(3), "neurons of conv1: 3"),
        (lambda: network(None, 1.5), "multiple of dt"),
        (lambda: network(None, -1), "multiple of dt"),
        (
            lambda: convert(two_layers(), SHAPE, thresholds=1, delay=2),
            "expected a time",
        ),
        (
            lambda: convert(two_layers(), SHAPE, thresholds=1, delay={"ip1": 2 * mV}),
            "delay of ip1",
        ),
        (
            lambda: convert(two_layers(), SHAPE, thresholds=1, delay={"c": 2 * ms}),
            "'c'",
        ),
        (lambda: network(None, release_probability=1.5), "release_probability"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_models_say_their_names():
    names = [make().name for make in (IF, LIF, ConductanceLIF, AdaptiveIF)]
    assert names == ["IF", "LIF", "ConductanceLIF", "AdaptiveIF"]
    assert NeuronModel("v : 1").name not in names
