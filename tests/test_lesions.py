"""Lesions: who is silenced, exactly none of their spikes, the same input for others."""

import brian2
import numpy as np
import pytest
from brian2 import SpikeMonitor, ms
from reference import two_layers

from cnn2snn_brian import InputError, Lesion, Recording, convert
from cnn2snn_brian.projections import from_neurons
from cnn2snn_brian.settings.lesions import lesion_masks

SHAPE = (2, 7, 6)
SHAPES = {"input": SHAPE, "conv1": (3, 4, 5), "ip1": (4,)}
IMAGES = np.random.default_rng(0).random((5, *SHAPE))


def test_masks():
    whole = Lesion("conv1").mask((3, 4, 5))
    assert whole.all()
    channels = Lesion("conv1", channels=[2, 0]).mask((3, 4, 5))
    assert channels[[0, 2]].all()
    assert not channels[1].any()
    region = Lesion("conv1", region=(slice(1, 3), slice(-1, None))).mask((3, 4, 5))
    assert region.sum() == 3 * 2
    assert region[:, 1:3, 4].all()
    units = Lesion("ip1", channels=[3]).mask((4,))
    assert units.tolist() == [False, False, False, True]
    both = Lesion("conv1", 0.5, channels=[1], region=(slice(0, 2), slice(None)))
    assert both.mask((3, 4, 5)).sum() == 5
    assert not both.mask((3, 4, 5))[[0, 2]].any()


def test_shares_are_exact_and_nested():
    masks = [Lesion("conv1", f, seed=3).mask((3, 4, 5)) for f in (0, 0.1, 0.4, 1)]
    assert [mask.sum() for mask in masks] == [0, 6, 24, 60]
    for small, large in zip(masks[:-1], masks[1:], strict=True):
        assert (small <= large).all()
    # Without a seed of its own, the run's decides.
    one, two = (Lesion("conv1", 0.4).mask((3, 4, 5), seed) for seed in (3, 4))
    np.testing.assert_array_equal(one, masks[2])
    assert (one != two).any()


def test_lesions_add_up():
    masks = lesion_masks(
        [Lesion("ip1", channels=[0]), Lesion("ip1", channels=[2]), Lesion("conv1", 0)],
        SHAPES,
    )
    assert masks["ip1"].tolist() == [True, False, True, False]
    assert list(masks) == ["ip1"]
    given = lesion_masks({"ip1": masks["ip1"]}, SHAPES)
    assert given["ip1"].tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("lesion", "message"),
    [
        (Lesion("conv9"), "unknown layer 'conv9'"),
        (Lesion("conv1", channels=[3]), "channels .* 0 to 2"),
        (Lesion("conv1", channels=[0.5]), "channels: found 0.5, .* 0 to 2"),
        (
            Lesion("ip1", region=(slice(1), slice(1))),
            r"of shape \(4,\), .* of a layer that has them",
        ),
        (Lesion("conv1", region=(slice(4, 9), slice(None))), "is empty"),
        (Lesion("conv1", region=(slice(0, 2),)), "two slices"),
        ({"conv1": np.ones((4, 5, 3), bool)}, r"shape \(4, 5, 3\), expected"),
        ({"ip1": np.ones(4)}, "found float64, expected bool"),
        (["conv1"], "expected a Lesion"),
        ("conv1", r"lesion is 'conv1', .*: Lesion\('conv1'\) silences the whole"),
        (3, "lesion is 3, expected a Lesion"),
    ],
)
def test_what_is_refused(lesion, message):
    with pytest.raises(InputError, match=message):
        lesion_masks(lesion, SHAPES)


@pytest.mark.parametrize("wrong", [{"fraction": 1.1}, {"seed": -1}])
def test_a_lesion_out_of_range_is_refused(wrong):
    with pytest.raises(InputError, match="lesion of conv1"):
        Lesion("conv1", **wrong)


@pytest.mark.standalone
def test_a_program_silences_exactly_the_lesioned_neurons():
    snn = convert(two_layers(), SHAPE, thresholds={"conv1": 1.0, "ip1": 2.0})
    lesions = [Lesion("conv1", fraction=0.5), Lesion("ip1", channels=[1])]
    occluded = Lesion("input", region=(slice(0, 3), slice(None)))
    with snn.compile(30 * ms) as simulator:
        before = simulator.run(IMAGES, seed=2, executor=1)
        lesioned = simulator.run(IMAGES, seed=2, executor=1, lesion=lesions)
        shards = simulator.run(IMAGES, seed=2, executor=2, shard_size=1, lesion=lesions)
        hidden = simulator.run(IMAGES, seed=2, executor=1, lesion=occluded)
        again = simulator.run(IMAGES, seed=2, executor=1)
        empty = simulator.run(IMAGES, seed=2, executor=1, lesion=Lesion("conv1", 0))
        settings = [{"lesion": lesions}, {}, {"input_deletion": 1.0}]
        many = dict(
            simulator.run_many(
                IMAGES,
                settings,
                seed=2,
                record=Recording(potentials={"ip1": [(1,), (0,)]}, images=[3]),
            )
        )
        with pytest.raises(InputError, match="input_deletion"):
            simulator.run_many(IMAGES, [{}, {"input_deletion": 2.0}])
    masks = lesion_masks(lesions, SHAPES, seed=2)
    conv1 = lesioned.spike_counts["conv1"]
    assert not conv1[:, masks["conv1"]].any()
    assert not lesioned.spike_counts["ip1"][:, 1].any()
    assert before.spike_counts["ip1"][:, 1].any()
    # The input is the same, and conv1 has no synapses within.
    for name in ("input", "conv1"):
        alive = ~masks.get(name, np.zeros(SHAPES[name], bool))
        np.testing.assert_array_equal(
            lesioned.spike_counts[name][:, alive], before.spike_counts[name][:, alive]
        )
    assert lesioned.spike_counts["ip1"].sum() < before.spike_counts["ip1"].sum()
    assert not lesioned.output_potentials[:, 1].any()
    rest = hidden.spike_counts["input"]
    assert not rest[:, :, :3].any()
    np.testing.assert_array_equal(
        rest[:, :, 3:], before.spike_counts["input"][:, :, 3:]
    )
    for name in SHAPES:
        for same, as_this in (
            (again, before),
            (empty, before),
            (shards, lesioned),
            (many[0], lesioned),
            (many[1], before),
        ):
            np.testing.assert_array_equal(
                same.spike_counts[name], as_this.spike_counts[name], name
            )
    # Each setting has its own; a lesioned neuron's potential stays 0.
    assert not many[2].spike_counts["input"].any()
    v = many[0].potentials("ip1", 3).v
    assert not v[:, 0].any()
    assert v[:, 1].any()
    assert many[1].potentials("ip1", 3).v[:, 0].any()
    np.testing.assert_array_equal(v[-1], lesioned.output_potentials[3, [1, 0]])


@pytest.mark.slow
def test_lesions_in_brian():
    brian2.prefs.codegen.target = "numpy"
    snn = convert(two_layers(), SHAPE, thresholds={"conv1": 1.0, "ip1": 2.0})
    lesions = [
        Lesion("conv1", channels=[1]),
        Lesion("input", region=(slice(0, 3), slice(None))),
    ]
    counts = {}
    for name, lesion in (("without", None), ("with", lesions)):
        brian2.seed(1)
        net = snn.network(IMAGES[0], lesion=lesion)
        monitors = {layer: SpikeMonitor(net[layer], record=False) for layer in SHAPES}
        net.add(*monitors.values())
        net.run(30 * ms, namespace={})
        counts[name] = {
            layer: from_neurons(np.asarray(monitor.count), SHAPES[layer])
            for layer, monitor in monitors.items()
        }
    assert not counts["with"]["conv1"][1].any()
    assert counts["without"]["conv1"][1].any()
    assert counts["with"]["conv1"][0].any()
    assert not counts["with"]["input"][:, :3].any()
    np.testing.assert_array_equal(
        counts["with"]["input"][:, 3:], counts["without"]["input"][:, 3:]
    )
    # The variable can be changed between runs.
    net["conv1"].lesioned = True
    before = monitors["conv1"].num_spikes
    net.run(10 * ms, namespace={})
    assert monitors["conv1"].num_spikes == before
