"""Networks and layers as values: equal by content, checked whenever they change."""

import copy
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from brian2 import Network, NeuronGroup, ms
from by_hand import only, reweighted, weight_of
from torch import nn

from cnn2snn_brian import (
    IF,
    LIF,
    InputError,
    Lesion,
    NeuronModel,
    SpikingNetwork,
    convert,
    from_torch,
    stimuli,
)
from cnn2snn_brian.cnn.clip_floor_shift import ClipFloorShift
from cnn2snn_brian.data import LabelledImages, load_test_images
from cnn2snn_brian.projections import (
    Ceiling,
    Convolution,
    TransposedConvolution,
    Window,
)
from cnn2snn_brian.settings.perturbations import Perturbations
from cnn2snn_brian.settings.presets import Preset, kernel_noise
from cnn2snn_brian.simulator.jobs import prepared
from cnn2snn_brian.simulator.workers import check_workers
from cnn2snn_brian.train import TrainingSettings

SHAPE = (2, 7, 6)


def cnn(weight=0.25, bias=True):
    module = nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), bias=bias), nn.ReLU(), nn.Flatten(), nn.Linear(75, 4)
    ).eval()
    for values in module.parameters():
        nn.init.constant_(values, weight)
    return module


def network(**options):
    weight = options.pop("weight", 0.25)
    return convert(cnn(weight), SHAPE, **{"thresholds": 1.0, **options})


def test_layers_are_equal_by_content():
    first, second = from_torch(cnn(), SHAPE), from_torch(cnn(), SHAPE)
    assert first == second
    assert first["conv1"] == second["conv1"]
    assert first["conv1"] is not second["conv1"]
    assert {first["conv1"], second["conv1"], first["ip1"]} == {*first}
    ours, theirs = only(first, "conv1"), only(second, "conv1")
    assert ours is not theirs
    for one, other in (
        (ours, theirs),
        (ours.connection, theirs.connection),
        (ours.connection.kernel, theirs.connection.kernel),
    ):
        assert one == other
        assert hash(one) == hash(other)
    assert len({first, second}) == 1
    assert first != "conv1"
    assert first["conv1"] != first["ip1"]


@pytest.mark.parametrize("where", [(0, 0, 0, 0), (2, 1, 2, 1)])
def test_one_changed_weight_is_another_network(where):
    layers = from_torch(cnn(), SHAPE)
    weight = weight_of(layers, "conv1").copy()
    weight[where] = np.nextafter(weight[where], 1)
    other = reweighted(layers, "conv1", weight)
    assert other.populations == layers.populations
    for mine, theirs in (
        (only(layers, "conv1"), only(other, "conv1")),
        (only(layers, "conv1").connection, only(other, "conv1").connection),
        (layers, other),
    ):
        assert mine != theirs
        assert hash(mine) != hash(theirs)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "conv2"},
        {"bias": None},
        {"shape": (3, 3, 10), "bias": None},
        {"n_bias_parameters": 4},
        {"ceiling": Ceiling(6.0)},
    ],
)
def test_other_fields_of_a_population_count_too(change):
    population = from_torch(cnn(), SHAPE)["conv1"]
    assert replace(population, **change) != population
    # Where it comes from is not in files.
    assert replace(population, unit="elsewhere") == population


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"source": "other"},
        {"target": "other"},
        {"delay_s": 1e-3},
    ],
)
def test_other_fields_of_a_projection_count_too(change):
    projection = only(from_torch(cnn(), SHAPE), "conv1")
    assert replace(projection, **change) != projection


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": {"stride": (2, 1)}},
        {"kernel": {"padding": ((0, 1), (0, 0))}},
        {"kernel": {"dilation": (2, 1)}},
        {"window": Window(np.eye(7), np.eye(6))},
        {"start": 1, "channels": 4},
        {"channels": 4},
    ],
)
def test_other_parts_of_a_connection_count_too(change):
    connection = only(from_torch(cnn(), SHAPE), "conv1").connection
    if "kernel" in change:
        change = {"kernel": replace(connection.kernel, **change["kernel"])}
    assert replace(connection, **change) != connection


def test_kernels_of_other_kinds_are_not_equal():
    weight = np.ones((2, 2, 1, 1))
    kinds = Convolution((2, 3, 3), weight), TransposedConvolution((2, 3, 3), weight)
    assert kinds[0] != kinds[1]
    assert Ceiling(6.0) != Ceiling(6.0, 4)
    assert Window(np.eye(2), np.eye(3)) != Window(np.eye(3), np.eye(2))


def test_networks_are_equal_by_content():
    assert network() == network()
    assert network() != "network"
    assert network(neurons=LIF(tau=20 * ms)) == network(neurons=LIF(tau=20 * ms))
    # One model for all layers is the same as that model for each of them.
    assert network(neurons={"conv1": IF(), "ip1": IF()}) == network()


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 0.5},
        {"thresholds": {"conv1": 1.0, "ip1": 2.0}},
        {"v_min": -1.0},
        {"leak": 0.1},
        {"rate_scale": 0.5},
        {"reset": "subtract"},
        {"encoding": "current"},
        {"synapses": "explicit"},
        {"dtype": "float64"},
        {"dt": 0.5 * ms},
        {"classes": list("abcd")},
        {"neurons": LIF(tau=20 * ms)},
        {"delay": 2 * ms},
        {"release_probability": 0.5},
    ],
)
def test_any_change_makes_another_network(change):
    assert network(**change) != network()
    assert network(**change) == network(**change)


def test_networks_change_and_have_no_hash():
    with pytest.raises(TypeError, match="unhashable"):
        hash(network())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("reset", "nonsense", "reset='nonsense': expected 'zero' or 'subtract'"),
        ("encoding", "latency", "encoding='latency'"),
        ("thresholds", {"conv1": -1}, "the threshold of conv1 is -1"),
        ("thresholds", {"conv7": 1}, "unknown layer 'conv7'"),
        ("dt_s", 0.0, "dt is 0"),
        ("classes", ("a", "b"), "4 output neurons, but 2 class names"),
        ("neurons", "LIF", "expected a NeuronModel"),
        ("delays_s", {"conv1": -1e-3}, "at least 0"),
        ("release_probability", {"conv1": 1.5}, "release_probability of conv1 is 1.5"),
    ],
)
def test_a_field_is_checked_when_it_is_set(field, value, message):
    snn = network()
    with pytest.raises(InputError, match=message):
        setattr(snn, field, value)
    assert snn == network()


def test_there_are_no_other_fields():
    with pytest.raises(AttributeError, match="no field 'treshold'"):
        network().treshold = 1.0


def test_fields_can_be_set():
    snn = network()
    snn.reset = "subtract"
    snn.thresholds = {"ip1": 2.0}
    snn.delays_s = {"ip1": 2e-3}
    thresholds = {"conv1": 1.0, "ip1": 2.0}
    assert snn == network(
        reset="subtract", thresholds=thresholds, delay={"ip1": 2 * ms}
    )


@pytest.mark.parametrize(
    "values", ["thresholds", "delays_s", "release_probability", "neurons"]
)
def test_dictionaries_can_not_be_changed_behind_the_checks(values):
    snn = network(
        delay=2 * ms,
        release_probability=0.5,
        neurons={"conv1": LIF(tau=20 * ms)},
    )
    found = getattr(snn, values)
    before = dict(found)
    for change in (
        lambda: found.__setitem__("conv1", -1),
        lambda: found.__delitem__("conv1"),
        lambda: found.update(conv1=-1),
        lambda: found.pop("conv1"),
        lambda: found.popitem(),
        lambda: found.setdefault("conv7", 1),
        found.clear,
    ):
        with pytest.raises(TypeError, match="can't be changed in place"):
            change()
    with pytest.raises(TypeError, match="can't be changed in place"):
        found |= {"conv1": -1}
    assert getattr(snn, values) == before


def test_weights_can_not_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        weight_of(network().layers, "conv1")[0] = 1


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        copy.copy,
        replace,
        lambda snn: pickle.loads(pickle.dumps(snn)),
    ],
    ids=["deepcopy", "copy", "replace", "pickle"],
)
def test_copies_are_equal_and_their_own(copied):
    snn = network(
        delay=2 * ms, release_probability=0.5, neurons={"conv1": LIF(tau=20 * ms)}
    )
    other = copied(snn)
    assert type(other) is type(snn)
    assert other == snn
    other.thresholds = {"conv1": 3.0}
    assert other != snn
    assert snn.thresholds["conv1"] == 1.0
    with pytest.raises(InputError, match="reset='nonsense'"):
        other.reset = "nonsense"


def test_replace_changes_and_checks():
    snn = network()
    assert replace(snn, reset="subtract") == network(reset="subtract")
    with pytest.raises(InputError, match="reset='nonsense'"):
        replace(snn, reset="nonsense")


def perturbations(**given):
    return Perturbations.of(network(release_probability=1.0), seed=3, **given)


@pytest.mark.parametrize(
    "change",
    [
        {"lesion": Lesion("conv1", fraction=0.5)},
        {"lesion": Lesion("conv1", fraction=0.5, seed=4)},
        {"lesion": Lesion("input", channels=[0])},
        {"release_probability": 0.5},
        {"input_deletion": 0.5},
        {"input_jitter": 2 * ms},
    ],
)
def test_perturbations_are_equal_by_content(change):
    assert perturbations(**change) == perturbations(**change)
    assert perturbations(**change) != perturbations()
    other = Lesion("conv1", fraction=0.5, seed=5)
    assert perturbations(**change) != perturbations(**{**change, "lesion": other})
    assert perturbations() != "perturbations"


def test_values_of_a_model_are_not_changed_in_place():
    model = LIF(tau=20 * ms)
    with pytest.raises(TypeError, match="can't be changed in place"):
        model.parameters["tau"] = -5 * ms


@pytest.mark.parametrize("value", [1, 1.0, np.float64(1)])
def test_a_model_from_a_file_has_the_same_structure(tmp_path, value):
    model = NeuronModel(
        "dv/dt = -v / tau : 1\na : 1",
        parameters={"tau": 20 * ms},
        initial={"a": value},
        method="exact",
    )
    network(neurons=model).save(tmp_path / "network.snn")
    loaded = SpikingNetwork.load(tmp_path / "network.snn")
    assert loaded.neurons.structure == model.structure


def test_models_whose_parameters_differ_in_units_can_be_compared():
    models = [
        NeuronModel("v : 1", parameters={"x": value}) for value in (1.0, 1.0 * ms)
    ]
    first, second = (
        Perturbations.of(network(neurons=model), neurons=model) for model in models
    )
    assert first != second


def test_an_unknown_perturbation_is_refused():
    image = np.zeros(SHAPE, np.float32)
    for wrong in ({"lesions": Lesion("ip1")}, {"thresholds": 5.0}):
        with pytest.raises(InputError, match="unknown perturbation"):
            network().network(image, **wrong)


def test_a_network_of_ones_own_is_shown_an_image():
    snn = network(rate_scale=0.5)
    mine = NeuronGroup(1, "v : 1")
    larger = Network(*snn.network().objects, mine)
    snn.show(larger, np.ones(SHAPE, np.float32))
    np.testing.assert_allclose(np.asarray(larger["input"].rates), 500)
    larger.run(1 * ms)  # or Brian2 warns later, in another test's log


@pytest.mark.parametrize("preset", [None, 3, ["paper"]])
def test_a_preset_of_the_wrong_type_is_refused(preset):
    with pytest.raises(InputError, match="preset="):
        network(preset=preset)


def test_an_unknown_argument_of_a_preset_is_refused():
    preset = Preset("mine", {"rset": "zero"}, 10 * ms, ())
    with pytest.raises(InputError, match=r"unknown argument of the preset 'rset'"):
        network(preset=preset)


IMAGE = np.zeros((1, *SHAPE))
PICTURES = LabelledImages(
    np.zeros((4, *SHAPE), np.uint8), np.array([0, 0, 1, 1]), ("a", "b")
)
#: What takes a whole number, and the smallest one.
WHOLE = {
    "kernel_noise": (lambda n: kernel_noise(network(), 0.1, n), 0),
    "Lesion": (lambda n: Lesion("conv1", 0.5, seed=n), 0),
    "network": (lambda n: network().network(seed=n), 0),
    "jobs": (lambda n: prepared(network(), 5, IMAGE, [{}], n, ()), 0),
    "repeats": (lambda n: prepared(network(), 5, IMAGE, [{}], 0, (), n), 1),
    "white_noise": (lambda n: stimuli.white_noise(SHAPE, 2, seed=n), 0),
    "noise_on": (lambda n: stimuli.noise_on(np.zeros(SHAPE), 2, seed=n), 0),
    "n_frames": (lambda n: stimuli.sparse_noise(SHAPE, n), 1),
    "per_class": (lambda n: PICTURES.per_class(n, 0), 1),
    "seed of per_class": (lambda n: PICTURES.per_class(1, n), 0),
    "load_test_images": (lambda n: load_test_images("digits", (1, 8, 8), n), 1),
    "steps": (ClipFloorShift, 1),
    "epochs": (lambda n: TrainingSettings(epochs=n), 1),
    "seed of a training": (lambda n: TrainingSettings(seed=n), 0),
    "shard_size": (lambda n: check_workers(1, n), 1),
}


@pytest.mark.parametrize("what", WHOLE)
def test_whole_numbers_are_checked_and_true_is_none(what):
    call, least = WHOLE[what]
    call(least)
    call(np.int64(least + 1))
    for wrong in (True, False, np.True_, least - 1, least + 0.5, float(least), "1"):
        with pytest.raises(InputError, match=f"{re.escape(repr(wrong))}, expected"):
            call(wrong)
