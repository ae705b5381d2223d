"""Networks computed population by population: each spike is the compiled program's."""

import numpy as np
import pytest
import torch
from brian2 import ms
from reference import randomize
from torch import nn

from cnn2snn_brian import IF, LIF, AdaptiveIF, BurstIF, InputError, convert, stimuli
from cnn2snn_brian.layerwise import Layerwise

N_STEPS = 9
SHAPE = (2, 9, 8)
rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 5, (3, *SHAPE)).astype(np.float32) / 4


class Everything(nn.Module):
    """Strides, groups, an even kernel, a sum, channels side by side, both poolings."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.even = nn.Conv2d(4, 4, (2, 3), padding=(1, 1))
        self.up = nn.ConvTranspose2d(4, 3, (2, 3), padding=(0, 1))
        self.maximum = nn.MaxPool2d(2, ceil_mode=True)
        self.average = nn.AvgPool2d(2)
        self.last = nn.Linear(7, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.grouped(x)) + x
        x = torch.relu(torch.cat([self.up(x), self.even(x)], 1))
        return self.last(self.average(self.maximum(x)).flatten(1))


def network(**options):
    cnn = randomize(Everything(), seed=1).eval()
    found = convert(cnn, SHAPE, thresholds=1.0, leak=1 / 64, **options)
    # Powers of 2: every sum is exact.
    draw = np.random.default_rng(2)
    given = {
        p.name: 2.0 ** draw.integers(-1, 2, p.shape[0])
        for p in found.layers.populations[:-1]
        if not found.layers.is_gate(p.name)
    }
    # Gates have the thresholds that follow from these.
    thresholds = {"ip1": 1.0, **given}
    return convert(cnn, SHAPE, thresholds=thresholds, leak=1 / 64, **options)


@pytest.mark.standalone
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"preset": "few-steps", "max_pooling": "gate", "v_init": -0.5},
            id="currents, at once",
        ),
        pytest.param(
            {
                "max_pooling": "largest-count",
                "neurons": {"conv2": LIF(20 * ms)},
                "delay": {"conv2": 2 * ms, "conv1": 1 * ms},
                "v_min": -1.0,
            },
            id="input spikes, step by step",
        ),
        pytest.param(
            {"preset": "bursts", "max_pooling": "gate", "neurons": BurstIF(3)},
            id="bursts",
        ),
        pytest.param(
            {
                "preset": "bursts",
                "max_pooling": "gate",
                "neurons": {
                    **dict.fromkeys(("conv1", "conv2", "ip1"), BurstIF(2, signed=True)),
                    "join1": BurstIF(3),
                },
                "encoding": "poisson",
                "propagation": "step",
                "v_min": -3.0,
                "delay": {"conv2": 1 * ms},
            },
            id="bursts and corrections, step by step",
        ),
        *(
            pytest.param(
                {"max_pooling": rule, "encoding": encoding, "propagation": order}
                | {"reset": reset, "v_min": -0.5, "pooling": "neurons"},
                marks=pytest.mark.many,
            )
            for rule in ("gate", "largest-count")
            for encoding in ("poisson", "current")
            for order in ("step", "instant")
            for reset in ("zero", "subtract")
        ),
    ],
)
def test_spikes_are_the_programs(options):
    snn, shown, given = network(**options), IMAGES, None
    if snn.encoding == "poisson":
        trains = rng.random((N_STEPS, *IMAGES.shape)) < 0.5
        given, shown = torch.from_numpy(trains.astype(np.int8)), []
        for train in trains.swapaxes(0, 1):
            step, channel, y, x = np.nonzero(train)
            index = (y * SHAPE[2] + x) * SHAPE[0] + channel
            shown.append(stimuli.SpikeTrains(index, step * ms, N_STEPS * ms))
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(shown, record=snn.layer_names, progress=False)
    emulated = Layerwise.of(snn, N_STEPS)
    found = emulated.spikes(snn.parameters, IMAGES, given)
    left, sizes = {}, set()
    for name, spikes, left[name] in found:
        counts = result.spike_counts[name]
        np.testing.assert_array_equal(spikes.sum(0).numpy(), counts, name)
        assert spikes.any(), name
        sizes.update(np.unique(spikes).tolist())
        for image in range(len(IMAGES)):
            t, index = result.spikes(name, image)
            own = np.moveaxis(spikes[:, image].numpy(), 1, -1)
            raster = np.zeros((N_STEPS, own[0].size))
            np.add.at(raster, (np.rint(t / ms).astype(int), index), 1)
            # Rasters are without what is taken back; counts are not.
            own = own.reshape(raster.shape).clip(0)
            np.testing.assert_array_equal(own, raster, name)
    for model in emulated.models.values():
        assert sizes >= {*range(-1 if model.signed else 0, model.most + 1)}
    # The decay of LIF is not dyadic.
    np.testing.assert_allclose(left["ip1"], result.output_potentials, atol=1e-6)


def test_classes_go_by_spikes_then_by_potentials():
    snn = network(preset="few-steps", max_pooling="gate")
    emulated = Layerwise.of(snn, N_STEPS)
    *_, (_, spikes, left) = emulated.spikes(snn.parameters, IMAGES)
    counts, left = spikes.sum(0).numpy(), left.numpy()
    expected = [
        max(range(3), key=lambda unit: (count[unit], v[unit]))
        for count, v in zip(counts, left, strict=True)
    ]
    found = emulated.predictions(snn.parameters, IMAGES)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rounds", [False, True])
@pytest.mark.parametrize("clips", [False, True])
def test_even_spikes_are_counted_by_all_that_arrives(rounds, clips):
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(),
        nn.Linear(5 * 6 * 5, 4), nn.ReLU(), nn.Linear(4, 40),
    ).eval()  # fmt: skip
    snn = convert(
        cnn, SHAPE, calibration=IMAGES, preset="few-steps", max_pooling="gate",
        leak=0.02, v_init=-0.25, percentile=80,
    )  # fmt: skip
    n_steps = 4
    found = Layerwise.of(snn, n_steps).evenly(
        snn.parameters, IMAGES, rounds=rounds, clips=clips
    )

    def rates(sums, name, before):
        """Count spikes a step: sums are those of the CNN, as activations."""
        theta = torch.tensor(np.array(snn.thresholds[name], np.float32))
        theta = theta.reshape(-1, *[1] * (sums.ndim - 2))
        leak = snn.parameters.leak[name]
        n = (n_steps * (sums / before + leak) - 0.25 * theta) / theta
        n = n.floor() if rounds else n - 0.5
        n = n.clamp(0, n_steps if clips else None)
        return n / n_steps * theta * before, before * float(theta.max())

    with torch.no_grad():
        x, scale = rates(cnn[0](torch.tensor(IMAGES)), "conv1", 1.0)
        x, scale = rates(cnn[4](cnn[3](cnn[2](x))), "ip1", scale)
        expected = cnn[6](x).argmax(1).numpy()
    np.testing.assert_array_equal(found, expected)


def test_input_spikes_are_drawn_at_the_rates_of_pixels():
    snn = network(max_pooling="gate")
    emulated = Layerwise.of(snn, 4000)
    spikes = emulated.input_spikes(IMAGES, 0.5, seed=3).numpy()
    # 5 standard deviations of a binomial share.
    np.testing.assert_allclose(spikes.mean(0), IMAGES / 2, atol=5 * 0.5 / 4000**0.5)
    # An image's draw does not depend on those before it.
    alone = emulated.input_spikes(IMAGES[2:], 0.5, seed=3, first=2).numpy()
    np.testing.assert_array_equal(alone, spikes[:, 2:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": {"conv2": AdaptiveIF()}}, "conv2: neurons AdaptiveIF"),
        ({"neurons": IF(refractory=2 * ms)}, "conv1: neurons IF"),
        ({"neurons": {"ip1": LIF(sigma=0.1)}}, "ip1: neurons LIF"),
        ({"release_probability": {"ip1": 0.5}}, "ip1: synapses that fail"),
    ],
)
def test_what_is_not_covered_is_refused(options, message):
    snn = network(max_pooling="gate", **options)
    with pytest.raises(InputError, match=f"{message}.*; covered are IF, LIF"):
        Layerwise.of(snn, N_STEPS)
