"""NIR graphs: what is written computes the same, and what is read spikes the same."""

import warnings

import brian2
import h5py
import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import SpikeMonitor, StateMonitor, ms
from by_hand import only, weight_of
from test_graphs import IMAGES, N_STEPS, SHAPE, THRESHOLDS, Graph, loop, randomize
from torch import nn

from cnn2snn_brian import (
    IF,
    LIF,
    ConductanceLIF,
    InputError,
    SpikingNetwork,
    convert,
    from_nir,
    from_torch,
)
from cnn2snn_brian.nir.connections import bias_kernel, pool_kernel, pool_of, symmetric
from cnn2snn_brian.projections import (
    Connection,
    Convolution,
    Dense,
    Network,
    Population,
    Projection,
)
from cnn2snn_brian.stimuli import Movie

ASSUMED = "what is assumed here"


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors are tiny, and threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pairs(value):
    return tuple(int(n) for n in np.broadcast_to(value, (2,)))


def computed(node, x):
    """What a node without neurons makes of a tensor, by torch."""
    kind = type(node).__name__
    if kind == "Conv2d":
        weight, bias = torch.tensor(node.weight), torch.tensor(node.bias)
        padding = node.padding if isinstance(node.padding, str) else pairs(node.padding)
        stride, dilation = pairs(node.stride), pairs(node.dilation)
        groups = int(node.groups)
        return F.conv2d(x[None], weight, bias, stride, padding, dilation, groups)[0]
    if kind in ("AvgPool2d", "SumPool2d"):
        size = pairs(node.kernel_size)
        divisor = 1 if kind == "SumPool2d" else None
        return F.avg_pool2d(
            x[None],
            size,
            pairs(node.stride),
            pairs(node.padding),
            divisor_override=divisor,
        )[0]
    if kind == "Flatten":
        return x.flatten()
    if kind == "Scale":
        return x * torch.tensor(node.scale)
    if kind in ("Linear", "Affine"):
        bias = torch.tensor(node.bias) if kind == "Affine" else 0
        return torch.tensor(node.weight) @ x + bias
    return x


def taken(tau, integration, dt=1e-3):
    """How much of v a step of LIF neurons replaces by r times the input."""
    return 1 - np.exp(-dt / tau) if integration == "exact" else dt / tau


def nir_spikes(graph, inputs, *, reset="zero", start=0.0, integration="exact"):
    """
    Spikes of all nodes with neurons, by the definitions of NIR.

    In each step spikes cross the whole graph. `inputs` has the shape
    (n_steps, *shape), `start` is a share of the thresholds.
    """
    v, spikes, late = {}, {}, {name: [] for name in graph.nodes}
    reads = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
    order = []
    while len(order) < len(graph.nodes):
        order += [
            name
            for name in graph.nodes
            if name not in order and all(one in order for one in reads[name])
        ]
    for x in inputs:
        now = {}
        for name in order:
            node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
            if kind == "Input":
                now[name] = torch.tensor(x)
                continue
            total = sum(now[source] for source in reads[name])
            if kind == "Delay":
                late[name].append(total)
                steps = round(float(np.ravel(node.delay)[0]) / 1e-3)
                past = late[name][: len(late[name]) - steps]
                now[name] = past[-1] if past else torch.zeros_like(total)
            elif kind in ("IF", "LIF", "Threshold"):
                threshold = getattr(node, "v_threshold", getattr(node, "threshold", 0))
                threshold = torch.tensor(threshold)
                if kind == "Threshold":
                    fired = total > threshold
                else:
                    low = torch.tensor(node.v_reset)
                    v.setdefault(name, torch.zeros_like(total) + start * threshold)
                    r = torch.tensor(node.r)
                    if kind == "LIF":
                        share = torch.tensor(taken(np.asarray(node.tau), integration))
                        v[name] = (1 - share) * v[name] + share * r * total
                    else:
                        v[name] = v[name] + r * total
                    fired = v[name] > threshold
                    above = np.nextafter(threshold.numpy(), np.inf)
                    less = v[name] - torch.tensor(above)
                    v[name] = torch.where(
                        fired, low if reset == "zero" else less, v[name]
                    )
                now[name] = fired.to(total.dtype)
                spikes.setdefault(name, []).append(fired.numpy())
            else:
                now[name] = computed(node, total)
    return {name: np.array(found) for name, found in spikes.items()}


def brian_spikes(snn, image, n_steps=N_STEPS):
    """Spikes of all populations in Brian2, (n_steps, *shape)."""
    brian2.prefs.codegen.target = "numpy"
    brian2.seed(1)
    network = snn.network(image)
    shapes = snn.population_shapes
    monitors = {name: SpikeMonitor(network[name]) for name in shapes}
    network.add(*monitors.values())
    network.run(n_steps * snn.dt, namespace={})
    found = {}
    for name, monitor in monitors.items():
        flat = np.zeros((n_steps, len(network[name])), bool)
        flat[np.rint(monitor.t / snn.dt).astype(int), monitor.i] = True
        shape = shapes[name]
        if len(shape) == 3:
            flat = flat.reshape(n_steps, *shape[1:], shape[0])
            flat = np.moveaxis(flat, -1, 1)
        found[name] = flat
    return found


def same_spikes(found, expected, *, of=None):
    for name in of or expected:
        np.testing.assert_array_equal(found[name], expected[name], name)
        assert expected[name].any(), name


def small_graph(**options):
    """Sums, a concatenation, two readers; pixels as currents, subtraction."""
    settings = {
        "thresholds": THRESHOLDS,
        "encoding": "current",
        "reset": "subtract",
        "v_min": -np.inf,
        "v_init": 0.5,
        "propagation": "instant",
        "dtype": "float64",
        **options,
    }
    return convert(randomize(Graph()), SHAPE, **settings)


def without_pool(numbers):
    return {name: value for name, value in numbers.items() if name != "pool1"}


CHANNELS = {
    "conv1": np.array([1.0, 2.0, 0.5, 1.0]),
    "conv2": np.array([0.5, 0.5, 1.0, 2.0, 0.25, 1.0]),
    "conv3": np.array([1.0, 0.5, 2.0]),
    "ip1": 0.5,
}


def odd_chain(pooling="synapses", **options):
    """
    A chain with what NIR can't say at once.

    Biases that differ at the border (BatchNorm in front of a padded convolution that
    it is folded into), kernels that aren't square, padding of one side, groups,
    dilation, thresholds and leaks by channel.
    """

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(2, 4, (3, 1), padding=(1, 0))
            self.norm = nn.BatchNorm2d(4)
            self.mix = nn.Conv2d(4, 4, 1)
            self.conv2 = nn.Conv2d(4, 6, 3, padding=1, stride=(2, 1), groups=2)
            self.conv3 = nn.Conv2d(6, 3, (2, 4), padding="same", dilation=(1, 1))
            self.line = nn.Linear(3 * 2 * 4, 5)

        def forward(self, x):
            x = self.norm(self.conv1(x).relu())
            x = self.conv2(x).relu()
            x = self.conv3(x).relu()
            return self.line(F.avg_pool2d(x, 2).flatten(1))

    settings = {
        "thresholds": CHANNELS | ({"pool1": 0.5} if pooling == "neurons" else {}),
        "leak": {"conv1": np.array([0.0, 0.25, -0.125, 0]), "conv2": 0.25}
        | {"conv3": 0.0, "ip1": 0.25}
        | ({"pool1": 0.125} if pooling == "neurons" else {}),
        "v_min": -np.inf,
        "propagation": "instant",
        "dtype": "float64",
        "pooling": pooling,
        **options,
    }
    return convert(randomize(Chain()), SHAPE, **settings)


def written(graph, tmp_path):
    """Through a file, where edges and nodes lose their order."""
    nir.write(tmp_path / "graph.nir", graph)
    return nir.read(tmp_path / "graph.nir")


@pytest.mark.parametrize(
    ("way", "pooling"),
    [
        ("depthwise", "neurons"),
        ("depthwise", "synapses"),
        ("avg", "neurons"),
        ("sum", "synapses"),
    ],
)
def test_a_graph_alone_makes_the_spikes_of_a_torch_loop(way, pooling, tmp_path):
    snn = small_graph()
    expected = loop(randomize(Graph()), IMAGES[0], THRESHOLDS, N_STEPS, "instant")
    if pooling == "synapses":
        snn = small_graph(pooling=pooling, thresholds=without_pool(THRESHOLDS))
    graph = written(snn.to_nir(pooling=way, metadata=False), tmp_path)
    found = nir_spikes(
        graph, np.repeat(IMAGES[:1], N_STEPS, 0), reset="subtract", start=0.5
    )
    assert set(found) == {*snn.layer_names}
    same = without_pool(expected) if pooling == "synapses" else expected
    # Without rounding in the pooling neurons the last layer has other spikes.
    same_spikes(found, same, of={*same} - {"ip1"} if pooling == "synapses" else None)


@pytest.mark.parametrize(
    ("reset", "pooling"), [("zero", "synapses"), ("subtract", "neurons")]
)
def test_odd_kernels_biases_and_thresholds_by_channel(reset, pooling, tmp_path):
    snn = odd_chain(pooling, reset=reset)
    spikes = brian_spikes(snn, IMAGES[0])
    graph = written(snn.to_nir(metadata=False), tmp_path)
    inputs = spikes["input"].astype(float)
    found = nir_spikes(graph, inputs, reset=reset)
    same_spikes(found, {name: spikes[name] for name in snn.layer_names})
    with pytest.warns(UserWarning, match="strict=True"):
        back = from_nir(graph, reset=reset, dtype="float64")
    same_spikes(brian_spikes(back, IMAGES[0]), spikes)
    for name, threshold in snn.thresholds.items():
        np.testing.assert_array_equal(back.thresholds[name], threshold)


def test_kernels_are_square_and_biases_spread_from_one_pixel():
    graph = odd_chain().to_nir(metadata=False)
    kernels = {
        name: node for name, node in graph.nodes.items() if isinstance(node, nir.Conv2d)
    }
    assert {"constant", "conv2_bias"} <= set(kernels)
    for name, node in kernels.items():
        assert node.weight.shape[2] == node.weight.shape[3], name


@pytest.mark.parametrize("integration", ["exact", "euler"])
def test_delays_and_lif_neurons(integration, tmp_path):
    snn = small_graph(
        encoding="poisson",
        neurons={"conv1": LIF(tau=4 * ms), "add2": LIF(tau=1e-6 * ms)},
        delay={"add2": 2 * ms},
        reset="zero",
        v_init=0.0,
    )
    graph = written(snn.to_nir(metadata=False, integration=integration), tmp_path)
    kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
    assert (kinds["conv1"], kinds["add2"], kinds["bn1"]) == ("LIF", "Threshold", "IF")
    assert kinds["add2_from_bn1_delay"] == kinds["add2_from_add1_delay"] == "Delay"
    spikes = brian_spikes(snn, IMAGES[0])
    inputs = spikes["input"].astype(float)
    found = nir_spikes(graph, inputs, integration=integration)
    # v * exp(-dt / tau) is rounded: these weights are no multiples of anything.
    same_spikes(found, {name: spikes[name] for name in snn.layer_names})
    with pytest.warns(UserWarning, match=ASSUMED):
        back = from_nir(graph, dtype="float64", integration=integration)
    assert back.delays_s == snn.delays_s
    same_spikes(brian_spikes(back, IMAGES[0]), spikes)


def one_neuron(node):
    line = nir.Affine(np.ones((1, 1)), np.zeros(1))
    return nir.NIRGraph.from_list(nir.Input(np.array([1])), line, node)


def lif(tau, r=1.0, threshold=1.0):
    return nir.LIF(*(np.full(1, value) for value in (tau, r, 0.0, threshold, 0.0)))


@pytest.mark.filterwarnings("ignore:.*assumed here")
@pytest.mark.parametrize("integration", ["exact", "euler"])
def test_the_neuron_of_the_nir_paper_spikes_when_it_should(integration):
    # The first example of Pedersen et al. (2024), with tau = 25 dt and an input in
    # 34 steps. Norse, snnTorch, nengo and the exact solution agree (Fig. 2 there).
    tens = [6, 22, 27, 31, 32, 35, 37, 40, 41, *range(43, 54), *range(67, 79), 84, 85]
    frames = np.zeros((1000, 1, 1, 1))
    frames[10 * np.array(tens)] = 1
    graph = one_neuron(lif(25e-4, threshold=0.1))
    options = {"dt": 0.1 * ms, "encoding": "current", "dtype": "float64"}
    snn = from_nir(graph, integration=integration, **options)
    found = brian_spikes(snn, Movie(frames, 0.1 * ms), 1000)["lif"]
    assert np.flatnonzero(found).tolist() == [460, 510, 710, 760]


@pytest.mark.filterwarnings("ignore:.*assumed here")
@pytest.mark.parametrize("integration", ["exact", "euler"])
@pytest.mark.parametrize("tau", [0.3, 1, 2, 10, 1000])
def test_potentials_follow_the_closed_form(tau, integration):
    n = np.arange(1, 31)
    graph = one_neuron(lif(tau * 1e-3, 0.75, 2.0))
    options = {"encoding": "current", "dtype": "float64", "integration": integration}
    if integration == "euler" and tau < 1:
        with pytest.raises(InputError, match="lif: tau is 0.0003 s, .* at least dt"):
            from_nir(graph, **options)
        return
    snn = from_nir(graph, **options)
    brian2.prefs.codegen.target = "numpy"
    network = snn.network(np.ones((1, 1, 1)))
    monitor = StateMonitor(network["lif"], "v", record=0, when="end")
    network.add(monitor)
    network.run(30 * ms, namespace={})
    left = np.exp(-n / tau) if integration == "exact" else (1 - 1 / tau) ** n
    np.testing.assert_allclose(monitor.v[0], 0.75 * (1 - left), rtol=1e-10)


@pytest.mark.filterwarnings("ignore:.*assumed here")
def test_lif_nodes_of_spikingjelly_spike_as_they_do_there():
    # Its LIFNode(tau=2.0) is written as tau = 2 dt and r = 1: v += (x - v) / tau.
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1.5, (144, 9))
    ones = np.ones(144)
    graph = nir.NIRGraph.from_list(
        nir.Input(np.array([9])),
        nir.Affine(weight, 0 * ones),
        nir.LIF(2e-3 * ones, ones, 0 * ones, ones, 0 * ones),
    )
    snn = from_nir(graph, integration="euler", strict=False, dtype="float64")
    spikes = brian_spikes(snn, rng.random((9, 1, 1)), 60)
    v, expected = np.zeros(144), []
    for shown in spikes["input"].reshape(60, 9):
        v += (weight @ shown - v) / 2.0
        expected.append(v >= 1)
        v[expected[-1]] = 0
    assert np.sum(expected) > 500
    np.testing.assert_array_equal(spikes["lif"].reshape(60, 144), expected)


OTHERWISE = {
    "pooling": "sum",
    "strict": False,
    "resistance": "second",
    "integration": "euler",
}
NETWORKS = {
    "graph": small_graph,
    "steps": lambda: small_graph(propagation="step", synapses="explicit"),
    "chain": odd_chain,
    "paper": lambda: odd_chain(
        "neurons",
        v_min={"conv1": 0.0, "conv2": -1.0, "conv3": -np.inf, "pool1": 0, "ip1": 0},
        propagation="step",
        rate_scale=1 / 3,
        dtype="float32",
        classes=tuple("abcde"),
        delay=3 * ms,
        neurons=LIF(tau=7 * ms),
    ),
}


@pytest.mark.parametrize("through", ["memory", "file"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_comes_back_as_it_was(kind, through, tmp_path):
    snn = NETWORKS[kind]()
    for options in ({}, OTHERWISE):
        graph = snn.to_nir(**options)
        if through == "file":
            nir.write(tmp_path / "n.nir", graph)
            graph = tmp_path / "n.nir"
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="the graph")
            back = from_nir(graph)
        assert isinstance(back, SpikingNetwork)
        assert back == snn
        assert back.fingerprint == snn.fingerprint
        assert back.classes == snn.classes


def test_what_is_given_counts_more_than_metadata():
    snn = small_graph()
    other = from_nir(snn.to_nir(), reset="zero", dt=2 * ms, v_init=0.25, v_min=-1)
    assert (other.reset, other.dt_s, other.encoding) == ("zero", 2e-3, "current")
    assert set(other.parameters.v_init.values()) == {0.25}
    assert set(other.parameters.v_min.values()) == {-1.0}
    assert other.thresholds == snn.thresholds


def test_a_graph_that_was_changed_is_read_anew():
    snn = small_graph()
    graph = snn.to_nir()
    graph.nodes["ip1_synapses"].weight[0] += 1
    with pytest.warns(UserWarning, match="were changed after the export") as said:
        other = from_nir(graph)
    assert "reset=" not in str(said[0].message)
    assert other.reset == "subtract"
    assert other.parameters.v_init["conv1"] == 0.5
    difference = weight_of(other.layers, "ip1") - weight_of(snn.layers, "ip1")
    factor = difference[0, 0]
    np.testing.assert_allclose(difference[0], factor)
    assert not difference[1:].any()


def foreign():
    """A graph of no program of ours: unordered, nested, with r and a pool."""
    rng = np.random.default_rng(3)

    def sixty_fourths(*shape):
        return rng.integers(-24, 41, shape) / 64

    ones = np.ones((3, 4, 4))
    inner = nir.NIRGraph(
        {
            "in": nir.Input(np.array([3, 4, 4])),
            "scale": nir.Scale(ones * np.array([1.0, 2.0, 0.5])[:, None, None]),
            "if": nir.IF(2 * ones, ones, 0 * ones),
            "out": nir.Output(np.array([3, 4, 4])),
        },
        [("if", "out"), ("scale", "if"), ("in", "scale")],
    )
    return nir.NIRGraph(
        {
            "output": nir.Output(np.array([5])),
            "neurons": nir.LIF(
                np.full(5, 4e-3), np.full(5, 4.0), np.zeros(5), np.ones(5), np.zeros(5)
            ),
            "0": nir.Conv2d(
                (8, 8), sixty_fourths(3, 2, 3, 3), 2, 1, 1, 1, sixty_fourths(3)
            ),
            "block": inner,
            "again": nir.Conv2d(
                (4, 4), sixty_fourths(3, 3, 3, 3), 1, "same", 1, 1, ones[:, 0, 0] * 0
            ),
            "step": nir.Threshold(0.5 * ones),
            "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
            "flat": nir.Flatten({"input": np.array([3, 2, 2])}, 0, -1),
            "line": nir.Affine(sixty_fourths(5, 12), sixty_fourths(5)),
            "input": nir.Input(np.array([2, 8, 8])),
        },
        [
            ("neurons", "output"),
            ("line", "neurons"),
            ("flat", "line"),
            ("pool", "flat"),
            ("step", "pool"),
            ("block", "pool"),
            ("again", "step"),
            ("block", "again"),
            ("0", "block"),
            ("input", "0"),
        ],
        type_check=False,
    )


def test_a_foreign_graph_spikes_as_nir_defines_it():
    graph = foreign()
    with pytest.warns(UserWarning, match=ASSUMED) as said:
        snn = from_nir(graph, dtype="float64", rate_scale=0.5)
    message = str(said[-1].message)
    for what in ("reset='zero'", "strict=True", "dt=1*ms", "v_min=-inf", "v_init=0.0"):
        assert what in message
    assert "rate_scale" not in message
    assert snn.layer_names == ("block_if", "step", "neurons")
    assert "ip1" not in str(snn)
    image = np.random.default_rng(4).random((2, 8, 8))
    spikes = brian_spikes(snn, image, 20)
    nodes = {k: n for k, n in graph.nodes.items() if k != "block"}
    inner = graph.nodes["block"].nodes
    nodes |= {"scale": inner["scale"], "if": inner["if"]}
    name_of = {"block": "if"}
    edges = [(name_of.get(a, a), b) for a, b in graph.edges]
    edges = [(a, "scale" if b == "block" else b) for a, b in edges] + [("scale", "if")]
    flat = nir.NIRGraph(nodes, edges, type_check=False)
    expected = nir_spikes(flat, spikes["input"].astype(float))
    expected["block_if"] = expected.pop("if")
    same_spikes(spikes, expected)


def test_strict_and_resistance():
    def graph(weight, r):
        return nir.NIRGraph.from_list(
            nir.Input(np.array([1])),
            nir.Linear(np.array([[weight]])),
            nir.IF(np.full(1, r), np.ones(1), np.zeros(1)),
        )

    options = {"dt": 1 * ms, "reset": "zero", "encoding": "current"}
    # 0.25, 0.5, 0.75, 1.0: reaches the threshold, and does not exceed it.
    for strict, n_spikes in ((False, 5), (True, 4)):
        with pytest.warns(UserWarning, match=ASSUMED):
            snn = from_nir(graph(0.25, 1.0), strict=strict, **options)
        (name,) = snn.layer_names
        assert brian_spikes(snn, np.ones((1, 1, 1)), 20)[name].sum() == n_spikes
        assert snn.thresholds[name] == (np.nextafter(np.float32(1), 2) if strict else 1)
    for r, resistance in ((1.0, "step"), (1000.0, "second")):
        with pytest.warns(UserWarning, match=ASSUMED):
            snn = from_nir(graph(0.25, r), resistance=resistance, **options)
        np.testing.assert_allclose(weight_of(snn.layers, name), 0.25, rtol=1e-12)


def recurrent(kind, delay=None):
    """A graph of two layers; the first one reads itself by a map with a bias."""
    rng = np.random.default_rng(6)

    def affine(n_out, n_in):
        weight, bias = rng.integers(-24, 41, (n_out, n_in)), rng.integers(-9, 10, n_out)
        return nir.Affine(weight / 64, bias / 256)

    def neurons(n):
        full = {"v_threshold": np.full(n, 0.75), "v_reset": np.zeros(n)}
        if kind != "IF":
            full |= {"v_leak": np.zeros(n)}
        if kind == "CubaLIF":
            taus = {"tau_syn": np.full(n, 2e-3), "tau_mem": np.full(n, 4e-3)}
            return nir.CubaLIF(**full, **taus, r=np.full(n, 4.0), w_in=np.full(n, 2.0))
        if kind == "LIF":
            return nir.LIF(np.full(n, 4e-3), np.full(n, 4.0), **full)
        return nir.IF(np.full(n, 1.0), **full)

    nodes = {"input": nir.Input(np.array([6])), "output": nir.Output(np.array([4]))}
    nodes |= {"fc1": affine(9, 6), "one": neurons(9), "fc2": affine(4, 9)}
    nodes |= {"two": neurons(4), "back": affine(9, 9)}
    nodes["back"].weight -= 0.5  # more inhibition, or all would spike in each step
    edges = ["input fc1", "fc1 one", "one fc2", "fc2 two", "two output", "back one"]
    if delay is not None:
        nodes["late"] = nir.Delay(np.full(9, delay))
    edges += ["one back"] if delay is None else ["one late", "late back"]
    return nir.NIRGraph(nodes, [tuple(edge.split()) for edge in edges])


def recurrent_spikes(graph, inputs, reset, integration, late):
    """Spikes of both layers of `recurrent`, step by step."""
    nodes, v, current = graph.nodes, {}, {}
    fired = {name: np.zeros((len(inputs), n), bool) for name, n in SIZES.items()}

    def step(name, t, x):
        node = nodes[name]
        if hasattr(node, "tau_syn"):
            share = taken(node.tau_syn, integration)
            kept = (1 - share) * current.get(name, 0.0)
            x = current[name] = kept + share * node.w_in * x
        tau = getattr(node, "tau", getattr(node, "tau_mem", None))
        share = 1.0 if tau is None else taken(tau, integration)
        kept = 1.0 if tau is None else 1 - share
        v[name] = kept * v.get(name, 0.0) + share * node.r * x
        spike = fired[name][t] = v[name] > node.v_threshold
        after = 0.0 if reset == "zero" else v[name] - node.v_threshold
        v[name] = np.where(spike, after, v[name])

    for t, x in enumerate(inputs):
        sent = fired["one"][t - late] if t >= late else np.zeros(9)
        maps = nodes["fc1"], nodes["back"], nodes["fc2"]
        first, back, second = (node.weight for node in maps)
        biases = [node.bias for node in maps]
        step("one", t, first @ x + biases[0] + back @ sent + biases[1])
        step("two", t, second @ fired["one"][t] + biases[2])
    return fired


SIZES = {"one": 9, "two": 4}


@pytest.mark.parametrize(
    ("kind", "reset", "integration", "delay"),
    [
        ("IF", "subtract", "exact", None),
        ("LIF", "zero", "exact", 3e-3),
        ("LIF", "zero", "euler", None),
        ("CubaLIF", "zero", "exact", None),
        ("CubaLIF", "subtract", "euler", 2e-3),
    ],
)
def test_a_recurrent_graph_spikes_step_by_step(
    kind, reset, integration, delay, tmp_path
):
    graph = written(recurrent(kind, delay), tmp_path)
    options = {"reset": reset, "integration": integration, "dtype": "float64"}
    with pytest.warns(UserWarning, match=ASSUMED) as said:
        snn = from_nir(graph, rate_scale=0.5, **options)
    message = "one_from_one, spikes arrive a step later"
    assert (message in str(said[-1].message)) == (delay is None)
    (back,) = filter(snn.layers.is_feedback, snn.layers.projections)
    assert back.delay_s == (delay or 1e-3)
    image = np.random.default_rng(4).random((6, 1, 1))
    spikes = brian_spikes(snn, image, 60)
    inputs = spikes["input"].reshape(60, 6).astype(float)
    late = round(back.delay_s * 1e3)
    expected = recurrent_spikes(graph, inputs, reset, integration, late)
    other = recurrent_spikes(graph, inputs, reset, integration, late + 1)
    for name, fired in expected.items():
        assert 10 < fired.sum() < fired.size - 10
        assert (fired != other[name]).any()
        np.testing.assert_array_equal(spikes[name], fired, name)
    # Written again, with and without what NIR can't say.
    written_again = written(snn.to_nir(integration=integration), tmp_path)
    assert from_nir(written_again) == snn
    bare = snn.to_nir(metadata=False, integration=integration)
    kinds = [type(node).__name__ for node in bare.nodes.values()]
    assert (kinds.count(kind), kinds.count("Delay")) == (2, int(delay is not None))
    with pytest.warns(UserWarning, match=ASSUMED):
        again = from_nir(bare, rate_scale=0.5, **options)
    assert [p.delay_s for p in again.layers.projections] == [
        p.delay_s for p in snn.layers.projections
    ]
    same_spikes(brian_spikes(again, image, 60), spikes)


def test_lateral_and_feedback_projections_are_written_and_read(tmp_path):
    rng = np.random.default_rng(5)

    def sides(source, target, size, delay_s, name=None):
        weight = rng.integers(-24, 41, (target[1], source[1], size, size)) / 64
        around = ((size // 2, size // 2),) * 2
        shape = (source[1], 4, 5)
        made = Connection(shape, kernel=Convolution(shape, weight, padding=around))
        return Projection(name or target[0], source[0], target[0], made, delay_s)

    image, one, two = ("input", 2), ("conv1", 3), ("conv2", 4)
    last = Connection((4, 4, 5), kernel=Dense((4, 4, 5), rng.normal(size=(3, 80))))
    network = Network(
        (2, 4, 5),
        tuple(
            Population(name, (n, 4, 5), n * np.ones((n, 4, 5)) / 64)
            for name, n in (one, two)
        )
        + (Population("ip1", (3,)),),
        (
            sides(image, one, 3, 0.0),
            sides(one, one, 3, 1e-3, "conv1_from_conv1"),
            sides(two, one, 1, 4e-3, "conv1_from_conv2"),
            sides(one, two, 3, 0.0),
            Projection("ip1", "conv2", "ip1", last),
        ),
    )
    options = {"reset": "subtract", "dtype": "float64", "propagation": "instant"}
    snn = convert(network, thresholds=1.5, v_min=-np.inf, rate_scale=0.5, **options)
    graph = written(snn.to_nir(), tmp_path)
    assert from_nir(graph) == snn
    delays = {k: n.delay for k, n in graph.nodes.items() if isinstance(n, nir.Delay)}
    # A step is what any simulator takes on the way back.
    assert [*delays] == ["conv1_from_conv2_delay"]
    assert (delays["conv1_from_conv2_delay"] == 4e-3).all()
    bare = written(snn.to_nir(metadata=False), tmp_path)
    with pytest.warns(UserWarning, match="conv1_from_conv1, spikes arrive a step"):
        back = from_nir(bare, rate_scale=0.5, **options)
    found = {p.name: (p.delay_s, p.source) for p in back.layers.projections}
    assert found == {
        "conv1_from_input": (0, "input"),
        "conv1_from_conv1": (1e-3, "conv1"),
        "conv1_from_conv2": (4e-3, "conv2"),
        "conv2": (0, "conv1"),
        "ip1": (0, "conv2"),
    }
    picture = rng.random((2, 4, 5))
    spikes = brian_spikes(snn, picture)
    assert all(0.02 < spikes[name].mean() < 0.98 for name in network.names)
    same_spikes(brian_spikes(back, picture), spikes)


def chain_of(*nodes):
    return nir.NIRGraph.from_list(*nodes, type_check=False)


def neurons(*shape, **changes):
    full = {"r": 1.0, "v_threshold": 1.0, "v_reset": 0.0}
    return nir.IF(**{k: np.full(shape, v) for k, v in full.items()} | changes)


def linear(n_out, n_in):
    return nir.Linear(np.ones((n_out, n_in)))


def kernel(n_out, n_in, size=3):
    return nir.Conv2d(
        None, np.ones((n_out, n_in, size, size)), 1, 0, 1, 1, np.zeros(n_out)
    )


def circle_without_neurons():
    graph = chain_of(nir.Input(np.array([2])), linear(3, 2), linear(3, 3), neurons(3))
    graph.nodes["back"] = linear(3, 3)
    graph.edges += [("linear_1", "back"), ("back", "linear_1")]
    return graph


def recurrent_of_two_delays():
    graph = chain_of(nir.Input(np.array([2])), linear(3, 2), neurons(3))
    graph.nodes |= {"back": linear(3, 3), "late": nir.Delay(np.full(3, 2e-3))}
    graph.edges += [("if", "back"), ("if", "late"), ("late", "back"), ("back", "if")]
    return graph


def two_outputs():
    graph = chain_of(nir.Input(np.array([2])), linear(3, 2), neurons(3))
    graph.nodes["second"] = nir.Output(np.array([3]))
    graph.edges.append(("if", "second"))
    return graph


def dead_end():
    graph = chain_of(nir.Input(np.array([2])), linear(3, 2), neurons(3))
    graph.nodes["lost"] = neurons(3)
    graph.edges.append(("linear", "lost"))
    return graph


ones = np.ones(3)
IMAGE = nir.Input(np.array([2, 6, 5]))
REFUSED = {
    "linear_1, back: a circle without neurons": circle_without_neurons,
    "back: reads if with different delays": recurrent_of_two_delays,
    "output, second: 2 Output nodes": two_outputs,
    "lost: not on the way": dead_end,
    "cubali: a CubaLI node": lambda: chain_of(
        nir.Input(np.array([2])), linear(3, 2), nir.CubaLI(*[ones] * 4)
    ),
    "output: what comes out": lambda: chain_of(
        nir.Input(np.array([2])), linear(3, 2), neurons(3), linear(3, 3)
    ),
    "if: v_threshold differs within a channel": lambda: chain_of(
        IMAGE,
        kernel(1, 2),
        neurons(1, 4, 3, v_threshold=np.arange(12.0).reshape(1, 4, 3)),
    ),
    "lif: v_leak is": lambda: chain_of(
        nir.Input(np.array([2])), linear(3, 2), nir.LIF(ones, ones, ones, 2 * ones)
    ),
    "conv2d: no neurons between it and conv2d_1": lambda: chain_of(
        IMAGE, kernel(4, 2), kernel(1, 4, 2), neurons(1, 3, 2)
    ),
    "linear: weights of shape": lambda: chain_of(IMAGE, linear(3, 60), neurons(3)),
    "if: v_threshold of shape": lambda: chain_of(
        nir.Input(np.array([2])), linear(3, 2), neurons(4)
    ),
    "if: a threshold that is not above": lambda: chain_of(
        nir.Input(np.array([2])), linear(3, 2), neurons(3, v_threshold=-ones)
    ),
    "input: an input of shape": lambda: chain_of(
        nir.Input(np.array([2, 3])), linear(3, 3)
    ),
    "a Linear, expected": lambda: linear(2, 2),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(message):
    with pytest.raises(InputError, match=message):
        from_nir(REFUSED[message]())


def test_arguments_and_files_are_checked(tmp_path):
    graph = small_graph().to_nir()
    for arguments in (
        {"reset": "soft"},
        {"resistance": "ohm"},
        {"integration": "heun"},
        {"leak": 1.0},
        {"v_min": 2.0},
        {"classes": ("one",)},
    ):
        with pytest.raises(InputError):
            from_nir(graph, **arguments)
    with pytest.raises(InputError, match="no such file"):
        from_nir(tmp_path / "no.nir")
    (tmp_path / "text.nir").write_text("graph")
    with pytest.raises(InputError, match="not a NIR graph"):
        from_nir(tmp_path / "text.nir")
    graph.metadata["cnn2snn_brian"]["format"] = "another"
    with pytest.raises(InputError, match="have the format 'another'"):
        from_nir(graph)


@pytest.mark.filterwarnings("ignore:.*assumed here")
@pytest.mark.parametrize("size", [(6,), (2, 4, 3)])
def test_a_batch_of_one_is_left_out(size):
    rng = np.random.default_rng(0)
    n = int(np.prod(size))

    def graph(*batch, end):
        every = (*batch, *size)
        line = nir.Linear(rng.normal(size=(5, n)))
        flat = nir.Flatten({"input": np.array(every)}, len(batch), end)
        shape = (*batch, 5)
        before = (flat,) if len(size) == 3 else ()
        return chain_of(nir.Input(np.array(every)), *before, line, neurons(*shape))

    rng = np.random.default_rng(0)
    plain = from_nir(graph(end=-1))
    for end in (-1, 3):
        rng = np.random.default_rng(0)
        batch = from_nir(graph(1, end=end))
        assert batch.layers == plain.layers
        assert batch.layers.input_shape == (size if len(size) == 3 else (6, 1, 1))
    wrong = nir.Input(np.array((2, *size)))
    with pytest.raises(InputError, match="expected one or three sizes, or a 1"):
        from_nir(chain_of(wrong, linear(5, n), neurons(5)))


@pytest.mark.filterwarnings("ignore:.*assumed here")
@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_nodes_may_hold_parameters_of_torch(kind):
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.integers(-8, 9, (3, 2)) / 8, dtype=kind)
    bias = torch.tensor([0.5, 0.25, -1.0], dtype=kind)

    def graph(taken):
        line = nir.Affine(taken(weight), taken(bias))
        node = neurons(3)
        node.r, node.v_threshold = taken(torch.ones(3)), taken(torch.ones(3))
        inner = nir.NIRGraph.from_list(nir.Input(np.array([2])), line, node)
        return chain_of(nir.Input(np.array([2])), inner)

    of_arrays = graph(lambda tensor: tensor.double().numpy())
    of_parameters = graph(nn.Parameter)
    held = vars(of_parameters.nodes["nirgraph"].nodes["affine"])["weight"]
    assert from_nir(of_parameters).layers == from_nir(of_arrays).layers
    assert isinstance(held, nn.Parameter), "the graph that was given is not changed"


@pytest.mark.filterwarnings("ignore:.*b.nir")
@pytest.mark.parametrize("metadata", [True, False])
def test_a_damaged_file_is_an_error_of_one_kind(metadata, tmp_path):
    # Bytes that HDF5 itself reads wrongly can end the process; what it holds can't.
    cnn = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.AvgPool2d(2, 1))
    cnn = nn.Sequential(*cnn, nn.Flatten(), nn.Linear(2, 2)).eval()
    neurons = LIF(tau=5 * ms)
    snn = convert(cnn, (1, 3, 3), thresholds=1, neurons=neurons, pooling="synapses")
    nir.write(tmp_path / "a.nir", snn.to_nir(pooling="avg", metadata=metadata))
    written = (tmp_path / "a.nir").read_bytes()
    path, names = tmp_path / "b.nir", []
    with h5py.File(tmp_path / "a.nir") as file:
        file.visit(names.append)
    rng = np.random.default_rng(0)
    others = ("nothing", "group", "text", np.zeros((2, 3, 1)), np.zeros(0), np.nan)
    cases = [(name, other) for name in names for other in others]
    n_refused = 0
    for k in rng.choice(len(cases), 100, replace=False):
        name, other = cases[k]
        path.write_bytes(written)
        with h5py.File(path, "r+") as file:
            del file[name]
            if isinstance(other, str) and other == "group":
                file.create_group(name)
            elif not isinstance(other, str) or other != "nothing":
                file[name] = other
        try:
            assert isinstance(from_nir(path), SpikingNetwork)
        except InputError:
            n_refused += 1
    assert n_refused > 60
    for length in rng.integers(len(written), size=20):
        path.write_bytes(written[:length])
        with pytest.raises(InputError, match=r"b\.nir: not a NIR graph"):
            from_nir(path)


@pytest.mark.parametrize("kind", [RuntimeError, IndexError, OverflowError, MemoryError])
def test_whatever_a_damaged_file_raises(tmp_path, monkeypatch, kind):
    # h5py raises "RuntimeError: Link iteration failed" of a flipped bit, for one.
    def damaged(*_, **__):
        message = "Link iteration failed"
        raise kind(message)

    path = tmp_path / "graph.nir"
    path.write_text("any")
    monkeypatch.setattr(h5py, "File", damaged)
    with pytest.raises(InputError, match=f"not a NIR graph: {kind.__name__}: Link"):
        from_nir(path)


def test_what_cannot_be_said_is_refused_by_name():
    for options, message in (
        ({"neurons": {"add2": IF(refractory=2 * ms)}}, "add2: NIR has no node for"),
        ({"neurons": {"add2": LIF(sigma=0.1)}}, "add2: NIR has no node for"),
        ({"neurons": ConductanceLIF()}, "conv1: NIR has no node for"),
        ({"release_probability": {"bn1": 0.5}}, "bn1: NIR has no node for synapses"),
    ):
        with pytest.raises(InputError, match=message):
            small_graph(**options).to_nir()
    cnn = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten()
    )
    snn = convert(cnn.eval(), (2, 9, 8), thresholds=1)
    for pooling in ("avg", "sum"):
        with pytest.raises(
            InputError, match="pool1.*: average pooling with windows of"
        ):
            snn.to_nir(pooling=pooling)
    with pytest.raises(InputError, match="pool1.*: average pooling with windows of"):
        snn.to_nir()
    cnn = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 1)
    )
    gated = convert(cnn.eval(), (2, 9, 8), thresholds=1, max_pooling="gate")
    with pytest.raises(InputError, match="pool1: NIR has no node for MaxPool2d"):
        gated.to_nir()
    with pytest.raises(InputError, match="pooling='max'"):
        snn.to_nir(pooling="max")


def equal_padding(kernel):
    """Give the padding of both axes, which is the same on both sides."""
    assert all(before == after for before, after in kernel.padding)
    return tuple(before for before, _ in kernel.padding)


def is_square(kernel):
    return kernel.weight.shape[2] == kernel.weight.shape[3]


@pytest.mark.parametrize("size", [(9, 8), (8, 8), (7, 10)])
@pytest.mark.parametrize("padding", [0, (1, 2), "same"])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation"),
    [((3, 1), 1, 1), (3, (2, 1), (1, 2)), ((2, 4), 1, 1), ((1, 4), (3, 2), 2)],
)
def test_kernels_are_written_with_equal_padding(
    size, padding, kernel_size, stride, dilation
):
    if padding == "same" and stride != 1:
        pytest.skip("torch has no such padding")
    module = nn.Conv2d(
        4, 6, kernel_size, stride, padding, dilation=dilation, groups=2, bias=False
    )
    connection = only(from_torch(randomize(module), (4, *size))).connection
    found = symmetric(connection.kernel)
    x = torch.rand(1, 4, *size, dtype=torch.float64)
    expected = module(x)
    made = F.conv2d(
        x,
        torch.tensor(found.weight),
        None,
        found.stride,
        equal_padding(found),
        found.dilation,
    )
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)
    shape = np.array(expected.shape[2:]) - size
    # With a stride of 1, square kernels change both sizes by the same parity.
    if stride == 1 and (shape[0] - shape[1]) % 2 == 0:
        assert is_square(found)


@pytest.mark.parametrize(
    "shape", [(2, 1, 1), (3, 4, 7), (1, 6, 3), (2, 5, 5), (1, 2, 8)]
)
def test_one_pixel_spreads_to_any_bias(shape):
    bias = np.random.default_rng(0).normal(size=shape)
    found = bias_kernel(bias)
    assert is_square(found)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    padding = equal_padding(found)
    made = F.conv2d(one, torch.tensor(found.weight), None, found.stride, padding)
    np.testing.assert_array_equal(made[0], bias)


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d((2, 3), (1, 2), (1, 0)),
        nn.AdaptiveAvgPool2d(1),
    ],
)
def test_pooling_windows(pool):
    cnn = nn.Sequential(pool, nn.Conv2d(2, 3, 1))
    layer = only(from_torch(cnn.eval(), (2, 7, 8)), "pool1")
    assert layer.is_average
    (size, stride, padding), share = pool_of("pool1", layer.connection.window)
    x = torch.rand(1, 2, 7, 8, dtype=torch.float64)
    pair = [tuple(axis.tolist()) for axis in (size, stride, padding)]
    made = F.avg_pool2d(x, *pair, divisor_override=1)
    torch.testing.assert_close(made * share, pool(x))
    kernel = pool_kernel("pool1", (2, 7, 8), layer.connection.window)
    torch.testing.assert_close(torch.tensor(kernel.drive(x.numpy())), pool(x))


def test_a_kernel_that_cannot_be_square_is_written_as_it_is(tmp_path):
    # Stride 1, (3, 2): rows lose two positions, columns one.
    cnn = nn.Sequential(nn.Conv2d(2, 3, (3, 2)), nn.ReLU())
    snn = convert(cnn.eval(), (2, 7, 6), thresholds=1)
    graph = snn.to_nir(metadata=False)
    assert graph.nodes["conv1_synapses"].weight.shape == (3, 2, 3, 2)
    nir.write(tmp_path / "odd.nir", graph)
    with pytest.warns(UserWarning, match=ASSUMED):
        back = from_nir(tmp_path / "odd.nir")
    assert isinstance(only(back.layers, "conv1").connection.kernel, Convolution)
    np.testing.assert_allclose(
        weight_of(back.layers, "conv1"), weight_of(snn.layers, "conv1"), rtol=1e-6
    )
