"""AdaptiveIF against a numpy loop, and kinds of synapses by layer."""

import brian2
import numpy as np
import pytest
import torch
from brian2 import SpikeMonitor, ms
from reference import layer_spikes, raster, stages, two_layers

from cnn2snn_brian import AdaptiveIF, InputError, SpikingNetwork, convert
from cnn2snn_brian.projections import from_neurons

SHAPE = (2, 7, 6)
N_STEPS = 24
THRESHOLDS = {"conv1": 1.0, "ip1": 2.0}
IMAGES = np.random.default_rng(0).random((3, *SHAPE)) / 2
LAYERS = ("conv1", "ip1")


def network(model=None, **options):
    return convert(
        two_layers(),
        SHAPE,
        thresholds=THRESHOLDS,
        neurons=model,
        **{"dtype": "float64", **options},
    )


def in_brian(snn, image, seed=3):
    """Spikes of all populations in runtime mode, (n_steps, *shape)."""
    brian2.seed(seed)
    net = snn.network(image)
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


def adaptive_spikes(
    input_spikes, adapts, tau_a, step, *, reset="zero", propagation="step", refractory=0
):
    """Spikes of the two layers by the equations of AdaptiveIF; times in steps."""
    parts = stages(two_layers().double())

    def through(part, spikes):
        with torch.no_grad():
            return part(torch.tensor(spikes[None].astype(float))).numpy()[0]

    x = np.zeros(SHAPE)
    shapes = [(x := through(part, x)).shape for part in parts]
    v, a = ([np.zeros(shape) for shape in shapes] for _ in range(2))
    last = [np.full(shape, -(10**6)) for shape in shapes]
    found = [np.zeros((len(input_spikes), *shape), bool) for shape in shapes]
    keep = np.exp(-1 / tau_a)

    def arrive(i, t, listening):
        before = (input_spikes if i == 0 else found[i - 1])[t]
        v[i] = v[i] + through(parts[i], before) * listening

    for t in range(len(input_spikes)):
        listening = []
        for i, th in enumerate(THRESHOLDS.values()):
            active = (t - last[i]) >= refractory
            if adapts == "current":
                v[i] = v[i] - active * th * a[i] * (1 - keep)
            a[i] = a[i] * keep
            if propagation == "instant":
                arrive(i, t, active)
            level = th * (1 + a[i]) if adapts == "threshold" else np.full(shapes[i], th)
            spike = (v[i] >= level) & active
            after = np.zeros(shapes[i]) if reset == "zero" else v[i] - level
            v[i] = np.maximum(np.where(spike, after, v[i]), 0)
            a[i] = a[i] + step * spike
            last[i] = np.where(spike, t, last[i])
            found[i][t] = spike
            listening.append(active & ~spike if refractory else np.ones_like(active))
        if propagation == "step":
            for i in range(len(parts)):
                arrive(i, t, listening[i])
    return found


#: Keywords of AdaptiveIF and of `convert`, and a refractory period in steps.
CASES = {
    "threshold": ({"adapts": "threshold"}, {}, 0),
    "threshold-subtract-instant": (
        {"adapts": "threshold"},
        {"reset": "subtract", "propagation": "instant"},
        0,
    ),
    "threshold-refractory": ({"adapts": "threshold"}, {}, 3),
    "current-subtract": ({"adapts": "current"}, {"reset": "subtract"}, 0),
    "current-instant": ({"adapts": "current"}, {"propagation": "instant"}, 0),
    "current-refractory": ({"adapts": "current"}, {}, 2),
    "current-refractory-instant": (
        {"adapts": "current"},
        {"propagation": "instant"},
        2,
    ),
}


def case(name):
    given, options, refractory = CASES[name]
    model = AdaptiveIF(9 * ms, 0.3, refractory=refractory * ms, **given)
    rules = {"adapts": given["adapts"], "tau_a": 9, "refractory": refractory, **options}
    return network(model, **options), rules


@pytest.mark.parametrize("name", CASES)
def test_every_spike_in_brian_equals_the_numpy_loop(name):
    brian2.prefs.codegen.target = "numpy"
    snn, rules = case(name)
    found = in_brian(snn, IMAGES[0])
    expected = adaptive_spikes(found["input"], step=0.3, **rules)
    unadapted = adaptive_spikes(found["input"], step=0.0, **rules)
    assert 0 < expected[0].sum() < unadapted[0].sum()
    assert expected[1].any()
    for layer, spikes in zip(LAYERS, expected, strict=True):
        np.testing.assert_array_equal(found[layer], spikes, layer)


@pytest.mark.standalone
@pytest.mark.parametrize(
    "name", ["threshold-subtract-instant", "current-refractory-instant"]
)
def test_a_program_equals_the_numpy_loop_and_adaptation_ends_with_the_image(name):
    # Three images in one process: `a` starts from 0 for each of them.
    snn, rules = case(name)
    with snn.compile(N_STEPS * ms) as simulator:
        for step in (0.3, 0.7):
            weaker = AdaptiveIF(
                9 * ms,
                step,
                adapts=rules["adapts"],
                refractory=rules["refractory"] * ms,
            )
            result = simulator.run(
                IMAGES, executor=1, record=("input", *LAYERS), neurons=weaker
            )
            for image in range(len(IMAGES)):
                spikes = raster(result, "input", image)
                expected = adaptive_spikes(spikes, step=step, **rules)
                for layer, own in zip(LAYERS, expected, strict=True):
                    np.testing.assert_array_equal(raster(result, layer, image), own)
        other = "current" if rules["adapts"] == "threshold" else "threshold"
        with pytest.raises(InputError, match="other equations"):
            simulator.run(IMAGES, neurons=AdaptiveIF(9 * ms, adapts=other))


def test_an_adaptive_network_is_saved(tmp_path):
    snn = network({"conv1": AdaptiveIF(50 * ms, 0.2)}, synapses={"ip1": "explicit"})
    snn.save(tmp_path / "net.snn")
    loaded = SpikingNetwork.load(tmp_path / "net.snn")
    assert loaded == snn
    assert loaded.models(loaded.neurons) == snn.models(snn.neurons)
    assert loaded.synapse_kinds == {"conv1": "shared", "ip1": "explicit"}
    assert "explicit (ip1) and shared synapses" in str(loaded)


@pytest.mark.parametrize("kind", ["shared", "explicit"])
def test_kinds_of_synapses_mixed_by_layer_give_the_same_spikes(kind):
    brian2.prefs.codegen.target = "numpy"
    mixed = network(synapses={"ip1": "explicit"})
    net = mixed.network()
    assert type(net["conv1_synapses"]).__name__ == "SharedSynapses"
    assert type(net["ip1_synapses"]).__name__ == "Synapses"
    found, expected = (
        in_brian(snn, IMAGES[0]) for snn in (mixed, network(synapses=kind))
    )
    assert expected["ip1"].any()
    for name, spikes in expected.items():
        np.testing.assert_array_equal(found[name], spikes, name)
    # All layers of one kind are that kind.
    assert network(synapses={"conv1": kind, "ip1": kind}) == network(synapses=kind)


@pytest.mark.standalone
def test_a_program_of_mixed_kinds_gives_the_spikes_of_the_loop():
    # Thresholds by channel: weights of both kinds are scaled when a run begins.
    thresholds = {"conv1": np.array([1.0, 0.5, 2.0])}
    snn = network(synapses={"ip1": "explicit"})
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(
            IMAGES, executor=1, record=("input", *LAYERS), thresholds=thresholds
        )
    for image in range(len(IMAGES)):
        expected = layer_spikes(
            two_layers(),
            N_STEPS,
            thresholds=[thresholds["conv1"], 2.0],
            input_spikes=raster(result, "input", image),
        )
        for name, spikes in zip(LAYERS, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
    assert "explicit (ip1) and shared" in str(result)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdaptiveIF(3), "tau_a is 3, expected a time"),
        (lambda: AdaptiveIF(step=np.inf), "step is inf"),
        (lambda: AdaptiveIF(adapts="rate"), "adapts='rate'"),
        (lambda: network(synapses={"ip9": "explicit"}), "synapses names the.*'ip9'"),
        (lambda: network(synapses={"ip1": "plastic"}), "synapses of ip1='plastic'"),
        (lambda: network(synapses="plastic"), "synapses='plastic'"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
