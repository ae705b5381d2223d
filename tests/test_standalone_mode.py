"""Networks in a user's own C++ standalone mode: what they do in runtime mode."""

import re
from pathlib import Path

import brian2
import numpy as np
import pytest
from brian2 import SpikeGeneratorGroup, SpikeMonitor, ms
from by_hand import weight_of
from reference import randomize
from torch import nn

from cnn2snn_brian import LIF, STDP, ConversionError, Lesion, SpikeTrains, convert

SHAPE = (2, 5, 6)
N_STEPS = 30
N_INPUTS = int(np.prod(SHAPE))
LAYERS = ("conv1", "pool1", "conv2", "ip1")


@pytest.fixture
def standalone(tmp_path):
    """Brian2's standalone mode; without optimisation, floats are as in NumPy."""
    cpp, own = brian2.prefs.codegen.cpp, brian2.prefs.devices.cpp_standalone
    before = cpp.extra_compile_args_gcc, own.extra_make_args_unix

    def start(**options):
        brian2.set_device("cpp_standalone", directory=str(tmp_path / "cpp"), **options)
        cpp.extra_compile_args_gcc = ["-w", "-O0", "-std=c++11"]
        own.extra_make_args_unix = ["-j2"]

    yield start
    cpp.extra_compile_args_gcc, own.extra_make_args_unix = before


def spiking(**options):
    """A network with a layer for each of the perturbations."""
    cnn = nn.Sequential(
        nn.Conv2d(2, 3, 2, bias=False),
        nn.ReLU(),
        nn.AvgPool2d((2, 1)),
        nn.Conv2d(3, 2, (1, 2), bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * 2 * 4, 3, bias=False),
    )
    return convert(
        randomize(cnn, seed=3).eval(),
        SHAPE,
        thresholds={"conv1": 1.0, "pool1": 0.5, "conv2": 0.5, "ip1": 1.0},
        propagation="instant",
        synapses={"ip1": "explicit"},
        neurons={"conv2": LIF(tau=8 * ms)},
        release_probability={"pool1": 0.5},
        dtype="float64",
        **options,
    ).plasticity("ip1", STDP(4 * ms, 7 * ms, a_plus=1 / 16, a_minus=1 / 32, w_max=1))


def recorded(snn):
    """Spikes of all layers with their potentials, and the weights that were learned."""
    neuron, step = np.nonzero(
        np.random.default_rng(1).random((N_INPUTS, N_STEPS)) < 0.2
    )
    network = snn.network(
        SpikeTrains(neuron, step * ms, duration=N_STEPS * ms),
        neurons={"conv2": LIF(tau=5 * ms)},
        release_probability={"pool1": 1.0},
        lesion=Lesion("pool1", channels=[1]),
        weights={"ip1": weight_of(snn.layers, "ip1") / 2},
    )
    monitors = {name: SpikeMonitor(network[name], variables="v") for name in LAYERS}
    given = SpikeMonitor(network["input"])
    network.add(*monitors.values(), given)
    network.run(N_STEPS * ms, namespace={}, profile=True)
    profiled = [name for name, _ in network.profiling_info]
    assert any(name.startswith("conv2_synapses") for name in profiled)
    # Copies: Brian2 2.11 gives views of memory that goes with the network.
    found = {
        name: [np.rint(monitor.t / ms), np.array(monitor.i), np.array(monitor.v)]
        for name, monitor in monitors.items()
    }
    found["input"] = [np.rint(given.t / ms), np.array(given.i)]
    return found, np.array(network["ip1_synapses"].w)


@pytest.mark.standalone
@pytest.mark.slow
def test_spikes_and_potentials_are_those_of_runtime_mode(standalone):
    brian2.prefs.codegen.target = "numpy"
    snn = spiking()
    expected, learned = recorded(snn)
    standalone()
    found, weights = recorded(snn)
    for name, values in expected.items():
        assert len(values[0]) > 10, name
        assert name in ("input", "pool1") or values[0].max() == N_STEPS - 1, name
        for what, one in zip(values, found[name], strict=True):
            np.testing.assert_array_equal(one, what, name)
    # Potentials of the moment of the spike, in front of the reset.
    assert (expected["conv1"][2] >= 1).all()
    assert not (expected["pool1"][1] % 3 == 1).any()
    np.testing.assert_array_equal(weights, learned)
    assert (learned != weight_of(spiking().layers, "ip1").ravel() / 2).any()


@pytest.mark.standalone
@pytest.mark.slow
def test_the_page_on_your_own_model(standalone, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "own-model.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (last,) = [block for block in blocks if "set_device" in block]
    standalone()  # for its flags
    brian2.set_device("runtime")
    names = {}
    exec(blocks[0], names)
    added = "background", "feed", "noise", "readers"
    assert names["extended"].extension.names == added
    folder = str(tmp_path / "own-model")
    exec(last.replace("own-model", folder).replace(":200", ":20"), names)
    right = names["answers"] == names["test"].labels[:20]
    assert right.mean() >= 0.8


@pytest.mark.parametrize("propagation", ["step", "instant"])
def test_monitors_find_the_objects_of_runtime_mode(standalone, propagation):
    places = []
    for begin in (lambda: None, lambda: standalone(build_on_run=False)):
        begin()
        snn = convert(
            nn.Sequential(nn.Flatten(), nn.Linear(N_INPUTS, 3)).eval(),
            SHAPE,
            thresholds=1.0,
            propagation=propagation,
        )
        network = snn.network()
        monitor = SpikeMonitor(network["ip1"])
        network.add(monitor)
        places.append(
            [(o.name, o.when, o.order) for o in network["ip1"].contained_objects]
            + [(monitor.when, monitor.order)]
        )
        del network, monitor
    assert places[0] == places[1]


@pytest.mark.parametrize("source", ["image", "spikes", "group"])
@pytest.mark.parametrize(
    "perturbation",
    [
        {"input_deletion": 0.5},
        {"input_jitter": 2 * ms},
        {"lesion": Lesion("input", fraction=0.5)},
    ],
    ids=lambda value: next(iter(value)),
)
def test_perturbed_input_spikes_are_refused(standalone, perturbation, source):
    standalone(build_on_run=False)
    given = {
        "image": {"image": np.ones(SHAPE)},
        "spikes": {"image": SpikeTrains([0, 3], [1, 2] * ms)},
        "group": {"input": SpikeGeneratorGroup(N_INPUTS, [0], [1] * ms, dt=1 * ms)},
    }[source]
    if source == "group" and "input_jitter" in perturbation:
        pytest.skip("refused in any mode")
    snn = spiking()
    before = list(brian2.get_device().main_queue)
    with pytest.raises(NotImplementedError, match=next(iter(perturbation))) as found:
        snn.network(**given, **perturbation)
    assert isinstance(found.value, ConversionError)
    assert "compile" in str(found.value)
    # Nothing of it is left in the user's project.
    assert brian2.get_device().main_queue == before
