import numpy as np
import pytest
from torch import nn

from cnn2snn_brian.conversion import convert
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.settings import check_settings
from cnn2snn_brian.settings.parameters import Parameters

NAMES = ("conv1", "pool1", "ip1")
GOOD = {"thresholds": 1.5, "v_min": -2.0, "leak": 0.25, "v_init": 0.5}


def of(**changes):
    return Parameters.of(NAMES, **(GOOD | changes))


def test_one_number_holds_for_all_layers():
    parameters = of(rate_scale=0.5)
    assert parameters.thresholds == {"conv1": 1.5, "pool1": 1.5, "ip1": 1.5}
    assert parameters.v_min == {"conv1": -2.0, "pool1": -2.0, "ip1": -2.0}
    assert parameters.leak == {"conv1": 0.25, "pool1": 0.25, "ip1": 0.25}
    assert parameters.v_init == {"conv1": 0.5, "pool1": 0.5, "ip1": 0.5}
    assert parameters.rate_scale == 0.5


def test_numbers_by_layer_are_in_the_order_of_the_layers():
    parameters = of(thresholds={"ip1": 3, "conv1": 1, "pool1": np.float32(2)})
    assert list(parameters.thresholds.items()) == [
        ("conv1", 1.0),
        ("pool1", 2.0),
        ("ip1", 3.0),
    ]
    assert all(type(value) is float for value in parameters.thresholds.values())


def test_what_is_left_out_comes_from_the_default():
    default = of(thresholds={"conv1": 1, "pool1": 2, "ip1": 3}, rate_scale=0.5)
    changed = Parameters.of(NAMES, thresholds={"pool1": 9}, leak=1, default=default)
    assert changed.thresholds == {"conv1": 1.0, "pool1": 9.0, "ip1": 3.0}
    assert changed.leak == {"conv1": 1.0, "pool1": 1.0, "ip1": 1.0}
    assert changed.v_min == default.v_min
    assert changed.v_init == default.v_init
    assert changed.rate_scale == 0.5
    assert default.thresholds["pool1"] == 2.0
    assert Parameters.of(NAMES, rate_scale=1, default=default).rate_scale == 1.0


def test_rate_scale_is_1_where_nothing_is_said():
    assert of().rate_scale == 1.0


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("thresholds", 0, "the threshold of conv1 is 0"),
        ("thresholds", -1, "the threshold of conv1 is -1"),
        ("thresholds", np.nan, "the threshold of conv1 is nan"),
        ("thresholds", np.inf, "the threshold of conv1 is inf"),
        ("thresholds", {"conv1": 1, "pool1": 1, "ip1": 0}, "threshold of ip1 is 0"),
        ("v_min", 1e-9, "v_min of conv1 is 1e-09"),
        ("v_min", np.nan, "v_min of conv1 is nan"),
        ("v_min", np.inf, "v_min of conv1 is inf"),
        ("leak", np.nan, "the leak of conv1 is nan"),
        ("leak", np.inf, "the leak of conv1 is inf"),
        ("leak", -np.inf, "the leak of conv1 is -inf"),
        ("v_init", 1, "v_init of conv1 is 1"),
        ("v_init", 2.5, "v_init of conv1 is 2.5"),
        ("v_init", np.nan, "v_init of conv1 is nan"),
        ("v_init", -np.inf, "v_init of conv1 is -inf"),
        ("rate_scale", 0, "rate_scale is 0"),
        ("rate_scale", -1, "rate_scale is -1"),
        ("rate_scale", np.nan, "rate_scale is nan"),
        ("rate_scale", np.inf, "rate_scale is inf"),
    ],
)
def test_numbers_out_of_range_are_refused(what, value, message):
    with pytest.raises(InputError, match=message):
        of(**{what: value})


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("thresholds", 1e-6),
        ("v_min", -np.inf),
        ("v_min", 0),
        ("leak", -0.5),
        ("leak", 0),
        ("v_init", 0),
        ("v_init", -1.5),
        ("v_init", 0.999),
    ],
)
def test_numbers_at_the_edge_of_their_range_are_taken(what, value):
    assert set(getattr(of(**{what: value}), what).values()) == {float(value)}


@pytest.mark.parametrize("what", ["thresholds", "v_min", "leak", "v_init"])
def test_unknown_layers_are_refused(what):
    values = dict.fromkeys(NAMES, -0.5 if what == "v_min" else 0.5)
    message = f"{what} names the unknown layer 'conv2'; layers are conv1, pool1, ip1"
    with pytest.raises(InputError, match=message):
        of(**{what: values | {"conv2": 0.0}})


@pytest.mark.parametrize("what", ["thresholds", "v_min", "leak", "v_init"])
def test_missing_numbers_are_refused(what):
    with pytest.raises(InputError, match=f"{what} is missing for pool1, ip1"):
        of(**{what: {"conv1": -0.5 if what == "v_min" else 0.5}})
    with pytest.raises(InputError, match=f"{what} is missing"):
        of(**{what: None})


@pytest.mark.parametrize("value", ["high", ["a", 2], {"conv1": None}])
def test_what_is_no_number_is_refused(value):
    default = of()
    with pytest.raises(InputError, match="thresholds: expected a number or a dict"):
        Parameters.of(NAMES, thresholds=value, default=default)


@pytest.mark.parametrize("value", [np.ones((2, 2)), [[1.0]], np.ones((1, 0))])
def test_channels_have_one_axis(value):
    with pytest.raises(InputError, match=r"thresholds of conv1: an array of shape"):
        Parameters.of(NAMES, thresholds=value, default=of())


def test_a_rate_scale_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="rate_scale"):
        of(rate_scale="high")


def test_parameters_made_directly_are_checked_too():
    good = of()
    with pytest.raises(InputError, match="the threshold of ip1 is -1"):
        Parameters({"ip1": -1.0}, good.v_min, good.leak, good.v_init, 1.0)


def test_changed_parameters_keep_the_rest():
    before = of(rate_scale=0.5)
    after = before.replace(thresholds={"pool1": 9}, leak=1)
    assert after.thresholds == {"conv1": 1.5, "pool1": 9.0, "ip1": 1.5}
    assert after.leak == {"conv1": 1.0, "pool1": 1.0, "ip1": 1.0}
    assert (after.v_min, after.v_init) == (before.v_min, before.v_init)
    assert after.rate_scale == 0.5
    assert before == of(rate_scale=0.5)
    assert before.replace() == before
    with pytest.raises(InputError, match="unknown layer 'conv2'"):
        before.replace(thresholds={"conv2": 1})
    with pytest.raises(InputError, match="unknown parameter 'tresholds'"):
        before.replace(tresholds=1)


def test_a_run_takes_parameters_as_they_are():
    snn = convert(nn.Conv2d(1, 2, 1), (1, 3, 2), thresholds=1.0)
    tuned = snn.parameters.replace(thresholds=[2.0, 3.0])
    assert check_settings(snn, {})[0] is snn.parameters
    assert check_settings(snn, tuned)[0] is tuned
    assert check_settings(snn, {"parameters": tuned})[0] is tuned
    # What is given by name goes before.
    changed, _ = check_settings(snn, {"parameters": tuned, "leak": 0.5})
    assert changed == tuned.replace(leak=0.5)
    with pytest.raises(InputError, match="expected Parameters"):
        check_settings(snn, {"parameters": {"thresholds": 1.0}})
    with pytest.raises(InputError, match="thresholds names the unknown layer 'pool1'"):
        check_settings(snn, of())
    with pytest.raises(
        InputError, match=r"conv1: found the shape \(3,\), expected \(2"
    ):
        check_settings(snn, snn.parameters.replace(thresholds=[1.0, 2.0, 3.0]))
    with pytest.raises(
        InputError, match=r"conv1: found the shape \(3,\), expected \(2"
    ):
        snn.parameters = snn.parameters.replace(leak=[0.0, 0.0, 1.0])
