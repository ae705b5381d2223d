"""Where neurons are: receptive fields against autograd, selections by place."""

import numpy as np
import pytest
import torch
from torch import nn

from cnn2snn_brian import InputError, Recording, from_torch
from cnn2snn_brian.projections.order import INPUT
from cnn2snn_brian.projections.places import ReceptiveFields

SHAPE = (2, 13, 11)


class Branches(nn.Module):
    """Sums and concatenations of branches that see different parts of the image."""

    def __init__(self, stop, pool=nn.functional.max_pool2d):
        super().__init__()
        self.stop, self.pool = stop, pool
        self.first = nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=1)
        self.wide = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.narrow = nn.Conv2d(4, 2, 1)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.far = nn.Conv2d(6, 3, 1, padding=1)
        self.last = nn.Linear(3 * 3 * 2, 3)

    def forward(self, x):
        return self.stages(x)[self.stop]

    def stages(self, x):
        first = self.first(x).relu()
        added = (first + self.wide(first)).relu()
        pooled = self.pool(added, 2)
        both = [pooled, nn.functional.avg_pool2d(self.narrow(first).relu(), 2)]
        joined = self.grouped(torch.cat(both, 1)).relu()
        far = self.far(nn.functional.avg_pool2d(joined, (1, 2))).relu()
        small = nn.functional.adaptive_avg_pool2d(far, (3, 2))
        return first, added, pooled, joined, far, self.last(small.flatten(1))


def positive(net, seed):
    """All weights and values above 0: no ReLU hides a pixel."""
    generator = torch.Generator().manual_seed(seed)
    for values in net.parameters():
        values.data = torch.rand(values.shape, generator=generator) + 0.5
    return net.double().eval()


def seen(net):
    """Which pixels have a gradient, (n_outputs, height, width)."""
    # A maximum has a gradient at one place only; an average reads the same places.
    net.pool = nn.functional.avg_pool2d
    image = torch.full(SHAPE, 0.5, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda x: net(x[None])[0].flatten())(image)
    return (jacobian != 0).any(1).numpy()


@pytest.mark.parametrize("stop", range(6))
@pytest.mark.parametrize("composed", [False, True])
def test_receptive_fields_are_the_pixels_with_a_gradient(stop, composed):
    net = positive(Branches(stop), seed=stop)
    layers = from_torch(net, SHAPE, max_pooling="gate")
    if composed:
        layers = layers.without_pooling_neurons()
    fields = layers.receptive_fields[layers.names[-1]]
    shape = (
        layers[-1].shape if len(layers[-1].shape) == 3 else (*layers[-1].shape, 1, 1)
    )
    found = seen(net).reshape(*shape, *SHAPE[1:])
    for channel, y, x in np.ndindex(shape):
        for axis, at in ((0, y), (1, x)):
            pixels = np.flatnonzero(found[channel, y, x].any(1 - axis))
            size = fields.sizes(axis)[channel, at]
            if len(pixels):
                assert size == pixels[-1] - pixels[0] + 1
                centre = fields.centres(axis)[channel, at]
                assert centre == (pixels[0] + pixels[-1]) / 2
        if not found[channel, y, x].any():
            assert 0 in (fields.sizes(0)[channel, y], fields.sizes(1)[channel, x])


def test_receptive_fields_as_json():
    net = positive(Branches(3), seed=0)
    layers = from_torch(net, SHAPE, max_pooling="gate")
    for fields in layers.receptive_fields.values():
        again = ReceptiveFields.of(fields.record())
        np.testing.assert_array_equal(again.rows, fields.rows)
        np.testing.assert_array_equal(again.columns, fields.columns)
    pixel = layers.receptive_fields[INPUT]
    np.testing.assert_array_equal(pixel.centres(1)[1], np.arange(11))
    assert len(pixel.record()) == 1


def test_a_column_sees_one_point():
    layers = from_torch(positive(Branches(5), seed=0), SHAPE, max_pooling="gate")
    found = layers.column(y=3, x=9)
    assert list(found) == [n for n in layers.names if len(layers.shapes[n]) == 3]
    for name, places in found.items():
        fields = layers.receptive_fields[name]
        assert [place[0] for place in places] == list(range(layers.shapes[name][0]))
        for channel, y, x in places:
            for axis, at, point in ((0, y, 3), (1, x, 9)):
                away = np.abs(fields.centres(axis)[channel] - point)
                assert away[at] == np.nanmin(away)
    assert layers.column(2, 10, ["input"]) == {"input": [(0, 2, 10), (1, 2, 10)]}
    # All of them see the whole image.
    wide = from_torch(nn.Conv2d(2, 1, 7, padding=3), (2, 3, 4))
    assert wide.column()["conv1"] == [(0, 1, 1)]
    assert wide.column(2, 3)["conv1"] == [(0, 2, 3)]


def test_a_sample_has_every_neuron_once():
    layers = from_torch(positive(Branches(5), seed=0), SHAPE, max_pooling="gate")
    found = layers.sample(50, seed=3)
    for name, places in found.items():
        n = min(50, int(np.prod(layers.shapes[name])))
        assert len(set(places)) == len(places) == n
        assert places == sorted(places)
        assert (np.array(places) < layers.shapes[name]).all()
    assert layers.sample(50, seed=3, layers="conv1") == {"conv1": found["conv1"]}
    assert layers.sample(50, seed=4)["conv1"] != found["conv1"]
    known = {f"{name}.v": shape for name, shape in layers.shapes.items()}
    neurons, _ = Recording(potentials=found).traced(known, n_images=1)
    lengths = {name: len(own) for name, own in neurons.items()}
    assert lengths == {f"{name}.v": len(places) for name, places in found.items()}


def test_places_that_do_not_exist():
    layers = from_torch(positive(Branches(5), seed=0), SHAPE, max_pooling="gate")
    with pytest.raises(InputError, match="y of .* is 13, .* from 0 to 12"):
        layers.column(y=13)
    for wrong in ("conv1", ["conv1"]):
        with pytest.raises(InputError, match="y of .* is .*conv1.*, expected a number"):
            layers.column(wrong)
    with pytest.raises(InputError, match="'ip1' is linear"):
        layers.column(layers="ip1")
    with pytest.raises(InputError, match="unknown layer 'conv99'"):
        layers.sample(5, layers=["conv99"])
    for n in (0, 2.5, True):
        with pytest.raises(InputError, match="expected a whole number"):
            layers.sample(n)
    for seed in (-1, 0.5):
        with pytest.raises(InputError, match="seed is .*, expected a whole number"):
            layers.sample(5, seed)
