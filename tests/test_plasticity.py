"""Learning synapses against a numpy loop, in Brian2's own runs and in programs."""

import brian2
import numpy as np
import pytest
import torch
from brian2 import SpikeMonitor, ms
from by_hand import only
from reference import raster, stages, two_layers
from torch import nn

from cnn2snn_brian import (
    STDP,
    InputError,
    RewardSTDP,
    Rule,
    SimulationResult,
    SpikingNetwork,
    Still,
    convert,
)
from cnn2snn_brian.projections import from_neurons
from cnn2snn_brian.simulator.jobs import prepared

SHAPE = (2, 7, 6)
N_STEPS = 24
THRESHOLDS = {"conv1": 1.0, "ip1": 2.0}
IMAGES = np.random.default_rng(0).random((3, *SHAPE)) / 2
LAYERS = ("conv1", "ip1")
STEP = 1 / 16

#: Spikes are counted; variables of neurons, parameters and rewards are read.
OWN = Rule(
    "n : 1",
    on_pre="n += 1\nw += rate * (v_th_post - n / 8)",
    on_post="w -= rate * n / 64",
    on_trial_end="w = clip(w + reward * rate, -2, 2)",
    parameters={"rate": 1 / 128},
    initial={"n": 2},
    name="own",
)
RULES = {
    "stdp": STDP(
        4 * ms, 7 * ms, a_plus=STEP, a_minus=0.75 * STEP, w_min=-0.5, w_max=0.9
    ),
    "reward": RewardSTDP(
        4 * ms, 7 * ms, a_plus=STEP, a_minus=STEP / 2, baseline=0.25, w_max=0.9
    ),
    "own": OWN,
}


def network(rule="stdp", layer="ip1", **options):
    snn = convert(
        two_layers(),
        SHAPE,
        thresholds=THRESHOLDS,
        **{"dtype": "float64", "synapses": {"ip1": "explicit"}, **options},
    )
    return snn if rule is None else snn.plasticity(layer, RULES.get(rule, rule))


def learned_by_loop(kind, input_spikes, weights, *, propagation="step", delay=0, n=2.0):
    """
    Spikes of both layers and the weights before the reward, one trial.

    By the rules of docs/learning.md, with times in steps. Returns the change by a
    reward of 1, too.
    """
    conv = stages(two_layers().double())[0]
    bounds = (-0.5, 0.9)
    w = weights.copy()
    shape = (3, 4, 5)
    v1, v2 = np.zeros(shape), np.zeros(4)
    apre, apost = np.zeros(60), np.zeros(4)  # alike for all synapses of a neuron
    e, counted = np.zeros_like(w), np.full(60, n)
    found = [np.zeros((N_STEPS, *s), bool) for s in (shape, (4,))]
    d_pre, d_post = np.exp(-1 / 4), np.exp(-1 / 7)

    def change(by, at):
        nonlocal w, e
        if kind == "reward":
            e = e + by * at
        elif kind == "stdp":
            w = np.where(at, np.clip(w + by, *bounds), w)
        else:
            w = w + by * at

    def arrive_first(t):
        nonlocal v1
        with torch.no_grad():
            v1 = v1 + conv(torch.tensor(input_spikes[t][None].astype(float)))[0].numpy()

    def arrive_last(t):
        nonlocal v2, apre, counted
        pre = found[0][t - delay].ravel() if t >= delay else np.zeros(60, bool)
        v2 = v2 + w @ pre
        apre = apre + STEP * pre
        counted = counted + pre
        if kind == "own":
            change((2.0 - counted / 8)[None] / 128, pre[None])
        else:
            change(apost[:, None], pre[None])

    for t in range(N_STEPS):
        apre, apost = apre * d_pre, apost * d_post
        if propagation == "instant":
            arrive_first(t)
        spike = v1 >= 1
        v1, found[0][t] = np.where(spike, 0, np.maximum(v1, 0)), spike
        if propagation == "instant":
            arrive_last(t)
        post = v2 >= 2
        v2, found[1][t] = np.where(post, 0, np.maximum(v2, 0)), post
        if propagation == "step":
            arrive_first(t)
            arrive_last(t)
        apost = apost - (0.75 if kind == "stdp" else 0.5) * STEP * post
        by = -counted / 8192 if kind == "own" else apre
        change(by[None], post[:, None])
    return found, w, e


def rewarded(kind, w, e, reward):
    if kind == "reward":
        return np.minimum(w + (reward - 0.25) * e, 0.9)
    return np.clip(w + reward / 128, -2, 2) if kind == "own" else w


def start_weights():
    return two_layers()[-1].weight.detach().numpy().astype(float)


#: A rule and options of the network.
CASES = [
    ("stdp", {}),
    ("stdp", {"propagation": "instant"}),
    ("stdp", {"delay": {"ip1": 2 * ms}}),
    ("reward", {}),
    ("own", {}),
]


def loop_options(options):
    delay = options.get("delay", {"ip1": 0 * ms})["ip1"]
    return {
        "propagation": options.get("propagation", "step"),
        "delay": round(float(delay / ms)),
    }


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_trials_in_brian_equal_the_numpy_loop(kind, options):
    brian2.prefs.codegen.target = "numpy"
    brian2.seed(3)
    snn = network(kind, **options)
    net = snn.network()
    monitors = {name: SpikeMonitor(net[name]) for name in ("input", *LAYERS)}
    net.add(*monitors.values())
    net.store()
    weights, rewards = start_weights(), (1.0, 0.0, 2.0)
    for image, reward in zip(IMAGES, rewards, strict=True):
        snn.show(net, image)
        net.run(N_STEPS * ms, namespace={})
        found = {}
        for name, shape in {"input": SHAPE, "conv1": (3, 4, 5), "ip1": (4,)}.items():
            spikes = np.zeros((N_STEPS, int(np.prod(shape))), bool)
            at = np.rint(monitors[name].t / ms).astype(int), monitors[name].i[:]
            spikes[at] = True
            found[name] = from_neurons(spikes, shape)
        expected, w, e = learned_by_loop(
            kind, found["input"], weights, **loop_options(options)
        )
        for name, spikes in zip(LAYERS, expected, strict=True):
            np.testing.assert_array_equal(found[name], spikes, name)
        assert expected[1].any()
        snn.end_trial(net, reward)
        before, weights = weights, rewarded(kind, w, e, reward)
        assert np.abs(weights - before).max() > STEP / 2
        synapses = net["ip1_synapses"]
        by_pair = np.zeros((4, 60))
        by_pair[synapses.j[:], synapses.i[:]] = synapses.w[:]
        learned = from_neurons(by_pair, (3, 4, 5)).reshape(4, 60)
        np.testing.assert_allclose(learned, weights, rtol=0, atol=1e-12)
    snn.end_trial(net, keep_weights=False)
    by_pair[synapses.j[:], synapses.i[:]] = synapses.w[:]
    np.testing.assert_array_equal(
        from_neurons(by_pair, (3, 4, 5)).reshape(4, 60), start_weights()
    )


def check_trials(result, kind, options, weights, rewards, *, kept=True):
    """Compare a program's run with the loop; returns the learned weights."""
    for image, reward in enumerate(rewards):
        expected, w, e = learned_by_loop(
            kind, raster(result, "input", image), weights, **loop_options(options)
        )
        for name, spikes in zip(LAYERS, expected, strict=True):
            np.testing.assert_array_equal(raster(result, name, image), spikes, name)
        learned = rewarded(kind, w, e, reward)
        if kept:
            weights = learned
        else:
            np.testing.assert_allclose(
                result.weights["ip1"][image], learned, rtol=0, atol=1e-12
            )
    if kept:
        np.testing.assert_allclose(result.weights["ip1"], weights, rtol=0, atol=1e-12)
    return weights


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("stdp", {"propagation": "instant", "delay": {"ip1": 2 * ms}}),
        ("reward", {}),
        ("own", {"synapses": "explicit"}),
    ],
)
def test_a_program_learns_what_the_numpy_loop_learns(kind, options, tmp_path):
    rewards = (1.0, 0.0, 2.0)
    record = ("input", *LAYERS)
    snn = network(kind, **options)
    if kind == "own":  # two layers that learn; the first one's steps are 0
        snn = snn.plasticity("conv1", STDP(a_plus=0, a_minus=0))
    with snn.compile(N_STEPS * ms) as simulator:
        # Kept weights make one run of all images, whatever the workers.
        result = simulator.run(
            IMAGES, record=record, reward=rewards, executor=2, shard_size=1
        )
        learned = check_trials(result, kind, options, start_weights(), rewards)
        # A next run starts anew, or goes on from what was learned.
        again = simulator.run(IMAGES, record=record, reward=rewards)
        np.testing.assert_array_equal(again.weights["ip1"], result.weights["ip1"])
        more = simulator.run(
            IMAGES, record=record, reward=rewards, weights=result.weights, seed=1
        )
        check_trials(more, kind, options, learned, rewards)
        # Reset for each trial: images can run anywhere.
        alone = simulator.run(
            IMAGES,
            record=record,
            reward=rewards,
            keep_weights=False,
            executor=2,
            shard_size=1,
        )
        check_trials(alone, kind, options, start_weights(), rewards, kept=False)
        repeated = simulator.run(IMAGES, record=record, **more.settings)
        np.testing.assert_array_equal(repeated.weights["ip1"], more.weights["ip1"])
        if kind == "reward":
            # Stimulus after stimulus, its repeats in order.
            twice = [0.5, 1.0, 0.0, -0.25, 1.0, 1.0]
            stimuli = [Still(image, N_STEPS * ms) for image in IMAGES]
            trials = simulator.run(stimuli, repeats=2, reward=twice, seed=5)
            images = simulator.run(IMAGES.repeat(2, 0), reward=twice, seed=5)
            np.testing.assert_array_equal(trials.weights["ip1"], images.weights["ip1"])
            check_labels(simulator, record)
            alone.save(tmp_path / "run.h5")
            loaded = SimulationResult.load(tmp_path / "run.h5")
            np.testing.assert_array_equal(loaded.weights["ip1"], alone.weights["ip1"])
            assert loaded.perturbations == alone.perturbations
            assert "plasticity: ip1 RewardSTDP(taupre=4. ms" in str(loaded)
        if kind == "own":
            listed = only(snn.layers, "conv1").connection.expanded()[2]
            np.testing.assert_array_equal(more.weights["conv1"], listed)
        if kind == "stdp":
            still = STDP(4 * ms, 7 * ms, a_plus=0, a_minus=0)
            result = simulator.run(IMAGES, plasticity={"ip1": still})
            np.testing.assert_array_equal(result.weights["ip1"], start_weights())


def check_labels(simulator, record):
    """Rewards by label are those that follow from the spike counts of each trial."""
    labels = [1, 3, 2]
    result = simulator.run(IMAGES, record=record, labels=labels, seed=2)
    counts = result.spike_counts["ip1"]
    right = (counts.argmax(1) == labels) & (counts.max(1) > 0)
    assert right.any()
    assert not right.all()
    check_trials(result, "reward", {}, start_weights(), np.where(right, 1.0, -1.0))


def test_a_network_that_learns_is_a_new_one_and_is_saved(tmp_path):
    plain = network(None)
    snn = plain.plasticity("ip1", RULES["reward"])
    assert not plain.rules
    assert snn != plain
    snn.save(tmp_path / "net.snn")
    loaded = SpikingNetwork.load(tmp_path / "net.snn")
    assert loaded == snn
    assert loaded.rules == snn.rules
    assert "plasticity: ip1 RewardSTDP(taupre=4. ms" in str(loaded)


def test_weights_are_given_to_a_brian_network():
    weights = np.arange(240).reshape(4, 60) / 64
    net = network().network(weights={"ip1": weights})
    synapses = net["ip1_synapses"]
    of_neuron = np.array([synapses.w[3, j] for j in range(4)]).ravel()
    # Neuron 3 is channel 0 of the second position: number 1 in torch's order.
    np.testing.assert_array_equal(of_neuron, weights[:, 1])


def gated():
    """A network with maximum pooling."""
    cnn = nn.Sequential(nn.Conv2d(2, 3, 2, bias=False), nn.ReLU(), nn.MaxPool2d(2))
    cnn.extend([nn.Flatten(), nn.Linear(18, 4, bias=False)])
    return convert(cnn, SHAPE, thresholds=1, synapses="explicit", max_pooling="gate")


class Joined(nn.Module):
    """Two convolutions, and a layer that reads their sum of spikes."""

    def __init__(self):
        super().__init__()
        self.one, self.two = (nn.Conv2d(2, 3, 1, bias=False) for _ in range(2))
        self.last = nn.Linear(3 * 42, 4, bias=False)

    def forward(self, x):
        summed = torch.relu(self.one(x)) + torch.relu(self.two(x))
        return self.last(torch.relu(summed).flatten(1))


def joined():
    snn = convert(Joined(), SHAPE, thresholds=1, synapses="explicit")
    (name,) = (n for n in snn.layers.names if len(snn.layers.sources(n)) == 2)
    return snn.plasticity(name, STDP())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: STDP(3), "tau_pre is 3, expected a time"),
        (lambda: STDP(tau_post=0 * ms), "tau_post is 0"),
        (lambda: STDP(a_plus=1 * ms), "a_plus is"),
        (lambda: STDP(w_min=1, w_max=0), "w_min 1 is above w_max 0"),
        (lambda: Rule("w : 1"), "w is declared twice"),
        (lambda: Rule("x : 1", parameters={"x": 1}), "can't be read|declared twice"),
        (lambda: Rule("x"), "can't be read"),
        (lambda: Rule(on_pre="w += "), "on_pre can't be read"),
        (lambda: Rule("x : 1", initial={"y": 1}), "initial values of y"),
        (lambda: network("stdp", "ip9"), "plasticity names the unknown layer 'ip9'"),
        (lambda: network("stdp", "conv1"), "synapses={'conv1': 'explicit'}"),
        (lambda: network("fast"), "plasticity of ip1: 'fast', expected a Rule"),
        (
            lambda: network("stdp", "conv1", encoding="current", synapses="explicit"),
            "no spikes reach the first layer",
        ),
        (lambda: gated().plasticity("pool1", STDP()), "pool1: a gate of maximum"),
        (joined, "plasticity of add1: it has 2 projections"),
        (
            lambda: network(None).network(weights={"ip1": np.ones((4, 60))}),
            "no layer of this network learns",
        ),
        (lambda: network().network(weights={"conv1": 1}), "layers that learn are ip1"),
        (lambda: network().network(weights={"ip1": np.ones((60, 4))}), r"\(4, 60\)"),
        (lambda: network().network(reward=[1]), "give it to end_trial"),
        (lambda: network().network(plasticity={"ip1": OWN}), "other equations"),
        (lambda: network().end_trial(network().network()), "network.store"),
        (lambda: network(None).end_trial(None), "no layer"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reward": [1, 2]}, "reward: 2 values for 3 trials"),
        ({"reward": [1, 2, np.nan]}, "finite"),
        ({"labels": [0, 1, 4]}, "labels: expected whole numbers from 0 to 3"),
        ({"labels": [0, 1, 3], "reward": [1, 1, 1]}, "give one of them"),
        ({"keep_weights": "no"}, "keep_weights is 'no'"),
    ],
)
def test_what_a_run_refuses(given, message):
    with pytest.raises(InputError, match=message):
        prepared(network(), N_STEPS, IMAGES, [given], 0, ())
