"""
Every spike of random CNNs, against a loop over steps that is torch alone.

In the loop the CNN computes as ever, but where it has neurons, these integrate what it
computed and pass on spikes. Thresholds and images are numbers so odd that no sum comes
so close to a threshold that rounding would decide.
"""

import math

import brian2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brian2 import SpikeMonitor, ms
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from torch import nn

from cnn2snn_brian import IF, BurstIF, convert
from cnn2snn_brian.stimuli import SpikeTrains

N_STEPS = 12


class Call(nn.Module):
    """A function, called as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *values):
        return self.function(*values)


class Graph(nn.Module):
    """
    A CNN as a list of calls, each of the image (number 0) or of earlier results.

    `neurons` says which calls have neurons: "unit" for what the call reads, "pool" for
    what it gives, "gate" for maximum pooling. "pair" are ON and OFF cells for what the
    call reads, of which it says what OFF cells are worth, and "pools" are averages of
    both. `spiking` are the calls with neurons.
    """

    def __init__(self, shape):
        super().__init__()
        self.calls, self.reads = nn.ModuleList(), []
        self.spiking, self.neurons = [], {}
        self.results = [torch.zeros(1, *shape, dtype=torch.float64)]

    def add(self, call, *reads, neurons=None, spiking=None):
        """Append a call, and what replaces it among neurons: (call, what it reads)."""
        self.calls.append(call.double().eval())
        self.reads.append(reads)
        self.spiking.append(spiking or (call, reads))
        if neurons:
            self.neurons[len(self.calls)] = neurons
        with torch.no_grad():
            self.results.append(call(*(self.results[k] for k in reads)))
        return len(self.calls)

    def shape(self, k):
        return tuple(self.results[k].shape[1:])

    def forward(self, image):
        values = [image]
        for call, reads in zip(self.calls, self.reads, strict=True):
            values.append(call(*(values[k] for k in reads)))
        return values[-1]


def passing(counts, spikes, pool, rule):
    """Spikes that pass a gate, of counts that include them."""
    if rule == "largest-count":
        return pool(counts) - pool(counts - spikes)
    pooled = F.max_pool2d(
        counts,
        pool.kernel_size,
        pool.stride,
        pool.padding,
        ceil_mode=pool.ceil_mode,
        return_indices=True,
    )
    first = pooled[1]  # of those with most
    return spikes.flatten(2).gather(2, first.flatten(2)).reshape(first.shape)


#: Whose sign populations say, by what has neurons: of a pair ON, then OFF cells.
SIGNS = {"pair": (1, -1), "pools": (1, -1)}


def populations(neurons):
    """Populations in order: what call they belong to, and their sign."""
    return [(k, sign) for k, what in neurons.items() for sign in SIGNS.get(what, (1,))]


def spikes_of(graph, neurons, shown, theta, rules):
    """Spikes of each population, (n_steps, *shape), for images `shown` step by step."""
    reads_of = {k: reads[0] for k, (_, reads) in enumerate(graph.spiking, 1)}
    sources, gain, scale, depth = [{0}], {0: rules["rate_scale"]}, {}, {0: 0}
    for k, (_, reads) in enumerate(graph.spiking, 1):
        sources.append(set().union(*(sources[read] for read in reads)))
        if k not in neurons:
            continue
        mine = [(k, sign) for sign in SIGNS.get(neurons[k], (1,))]
        for own in mine:
            read = {(reads[0], own[1])} if neurons[k] == "pools" else sources[k]
            scale[own] = min(gain[source] for source in read)
            gain[own] = scale[own] / theta[own].max()
            depth[own] = 1 + max(depth[source] for source in read)
        sources[k] = {*mine}
    v = {own: rules["v_init"] * theta[own] + 0 * graph.results[own[0]] for own in theta}
    counts, sent = {k: 0 for k in neurons}, dict.fromkeys(theta, 0)
    most = rules.get("neurons", IF()).most
    found = {own: torch.zeros(N_STEPS, *graph.shape(own[0])) for own in theta}
    # Where spikes take a step for each population, each has a time of its own.
    late = depth if rules["propagation"] == "step" else dict.fromkeys(depth, 0)

    def given(own, step, call, values):
        """Activations that the spikes of a population stand for."""
        k, t = own[0], step + late[own]
        if not 0 <= t < N_STEPS:
            return torch.zeros_like(v[own])
        if neurons[k] == "gate":
            source = reads_of[k], 1
            # All spikes of a burst; an image has none.
            size = theta[source] / scale[source] if source in theta else values[0].max()
            spikes = (values[0] / size).round() if values[0].any() else values[0]
            counts[k] = counts[k] + spikes
            passed = passing(counts[k], spikes, call, rules["max_pooling"])
            arrived = passed * theta[own]
        else:
            sums = call(*values) if "pool" in neurons[k] else own[1] * values[0]
            arrived = scale[own] * sums
        v[own] = v[own] + rules["leak"] + arrived
        # Exact: the division of two numbers that are not close to a whole ratio.
        near = 1e-9 if neurons[k] == "gate" else 0
        spike = torch.floor(v[own] / theta[own] + near).clamp(0, most)
        if rules["is_signed"]:
            back = torch.floor(-v[own] / theta[own]).clamp(0, most)
            spike = spike - torch.minimum(back, sent[own] + 0 * back)
        sent[own] = sent[own] + spike
        is_set_to_0 = neurons[k] == "gate" or rules["reset"] == "zero"
        after = 0 * v[own] if is_set_to_0 else v[own] - spike * theta[own]
        v[own] = torch.where(spike != 0, after, v[own]).clamp(min=rules["v_min"])
        found[own][t] = spike[0]
        return spike * theta[own] / scale[own]

    for step in range(-max(late.values()), N_STEPS):
        results, parts, of_off = [shown(step)], {}, {}
        for k, (call, reads) in enumerate(graph.spiking, 1):
            values = [results[read] for read in reads]
            if neurons.get(k) == "pools":
                read = reads[0]
                parts[k] = [
                    given((k, sign), step, call, [part])
                    for sign, part in zip((1, -1), parts[read], strict=True)
                ]
                of_off[k] = of_off[read][..., :1, :1]
            elif neurons.get(k) == "pair":
                parts[k] = [given((k, sign), step, call, values) for sign in (1, -1)]
                of_off[k] = call(-torch.ones_like(values[0]))
            if k in parts:
                on, off = parts[k]
                results.append(on + of_off[k] * off)
            elif k in neurons:
                results.append(given((k, 1), step, call, values))
            else:
                results.append(call(*values))
    return {own: spikes.numpy() for own, spikes in found.items()}


class Drawing:
    """A graph that grows by what is drawn, only of what can be converted."""

    def __init__(self, draw, shape, *, is_plain, has_spikes, composes):
        self.draw, self.graph = draw, Graph(shape)
        self.is_plain, self.has_spikes = is_plain, has_spikes
        self.composes = composes
        #: Results that are the image or a population, or several of them together.
        self.alone, self.together = [0], []
        #: Those that are ON and OFF cells, or what these and others say together.
        self.pairs, self.signed = [], []
        #: Those that are some channels, and what they are put together with.
        self.parts = set()
        seed = draw(st.integers(0, 2**16))
        self.generator = torch.Generator().manual_seed(seed)

    def one_of(self, *choices):
        return self.draw(st.sampled_from(choices))

    def sizes(self, smallest, largest):
        return tuple(self.draw(st.integers(smallest, largest)) for _ in "yx")

    def channels(self, k):
        return self.graph.shape(k)[0]

    def source(self, *, alone=False, rectified=False, spikes=False, like=None):
        """Draw a map to read; pixels may be no spikes, and normalized below 0."""
        found = self.alone if alone else self.alone + self.together
        if not (alone or rectified):
            found = found + self.pairs + self.signed
        if rectified and not self.is_plain or spikes and not self.has_spikes:
            found = found[1:]
        like = like or (lambda shape: True)
        shapes = {k: self.graph.shape(k) for k in found}
        return self.one_of(
            *(k for k in found if len(shapes[k]) == 3 and like(shapes[k]))
        )

    def add(self, call, *reads, **more):
        """Append a call with drawn weights, in multiples of 1/64, more above 0."""
        call = call if isinstance(call, nn.Module) else Call(call)
        with torch.no_grad():
            for value in call.parameters():
                drawn = torch.randint(-24, 41, value.shape, generator=self.generator)
                value.copy_(drawn / 64)
            if isinstance(call, nn.PReLU):
                call.weight.add_(1 / 128)  # no slope is 0
            if isinstance(call, nn.BatchNorm1d | nn.BatchNorm2d):
                call.running_mean.uniform_(generator=self.generator)
                call.running_var.uniform_(0.5, 2, generator=self.generator)
        return self.graph.add(call, *reads, **more)

    def normed(self, k):
        kind = nn.BatchNorm2d if len(self.graph.shape(k)) == 3 else nn.BatchNorm1d
        return self.add(kind(self.channels(k)), k)

    def maybe_normed(self, k):
        return self.normed(k) if self.one_of(True, False) else k

    def pair(self, call, k):
        """Give ON and OFF cells to what a call reads, which may be negative."""
        # As it is for the image of zeros: OFF cells that never spike are not made.
        shift = float(self.graph.results[k].max()) + 0.375
        if shift > 0:
            k = self.add(lambda x: x - shift, k)
        return self.add(call, k, neurons="pair")

    def between(self, k):
        """Let two maps be composed, or have ON and OFF cells between them."""
        k = self.maybe_normed(k)
        return k if self.composes else self.pair(lambda x: x, k)

    def transposed(self, k):
        """Add a transposed convolution with drawn geometry."""
        kernel, stride = self.sizes(1, 3), self.sizes(1, 2)
        # Something is left, also of one row or column.
        wholes = zip(self.graph.shape(k)[1:], stride, kernel, strict=True)
        most = [min(n - 1, ((size - 1) * by + n - 1) // 2) for size, by, n in wholes]
        padding = [min(n, self.one_of(0, 1)) for n in most]
        more = [min(n - 1, self.one_of(0, 1)) for n in stride]
        n_in = self.channels(k)
        groups = self.one_of(*(n for n in (1, 2, 3) if n_in % n == 0))
        bias = self.one_of(True, False)
        sizes = n_in, 2 * groups, kernel, stride, padding, more, groups, bias
        return self.add(nn.ConvTranspose2d(*sizes), k)

    def conv(self, k, n_out=None, size=None):
        """Add a convolution with drawn geometry, or one that gives a size."""
        n_in, *before = self.graph.shape(k)
        groups = self.one_of(*(n for n in (1, 2, 3) if n_in % n == 0))
        n_out = n_out or groups * self.one_of(1, 2)
        if size is None:
            kernel, stride, dilation = (
                self.sizes(1, 3),
                self.sizes(1, 2),
                self.sizes(1, 2),
            )
            # Brian2 refuses synapses without any: not all that is read may be padding.
            dilation = np.where(np.equal(before, 1), 1, dilation).tolist()
            reach = np.multiply(dilation, np.subtract(kernel, 1)) + 1
            padding = np.maximum(self.sizes(0, 2), (reach - before + 1) // 2)
            padding = np.where(np.equal(before, 1), reach // 2, padding).tolist()
            if stride == (1, 1) and (reach <= before).all():
                padding = self.one_of(padding, "same", "valid")
        else:
            stride = dilation = 1
            padding = np.maximum(0, np.subtract(size, before) + 1) // 2 + self.sizes(
                0, 1
            )
            kernel = (before + 2 * padding - size + 1).tolist()
            padding = padding.tolist()
        groups, bias = math.gcd(groups, n_out), self.one_of(True, False)
        return self.add(
            nn.Conv2d(n_in, n_out, kernel, stride, padding, dilation, groups, bias), k
        )

    def mapped(self, k, n_out=None, size=None):
        """Add one linear map, or two where they are composed."""
        kinds, n_in = ["conv"] * 4 + ["norm, conv"], self.channels(k)
        if size is None:
            kinds += ["depthwise, pointwise", "pointwise, depthwise", "transposed"]
            kinds += ["conv, conv"] * (not self.composes)
        elif self.graph.shape(k) == (n_out, *size):
            kinds += ["itself"] * 4
        kind = self.one_of(*kinds)
        if kind == "depthwise, pointwise":
            k = self.add(nn.Conv2d(n_in, 2 * n_in, 2, padding=1, groups=n_in), k)
            k = self.add(nn.Conv2d(2 * n_in, 3, 1), self.between(k))
        elif kind == "pointwise, depthwise":
            k = self.add(nn.Conv2d(n_in, 4, 1), k)
            # Of one channel it is a gain, which is always composed.
            k = self.maybe_normed(k) if n_in == 1 else self.between(k)
            k = self.add(nn.Conv2d(4, 4, (3, 2), 2, 1, groups=4), k)
        elif kind == "conv, conv":
            k = self.add(nn.Conv2d(n_in, 4, 2, padding=1), k)
            k = self.add(nn.Conv2d(4, 2, (2, 3), padding=1, groups=2), self.between(k))
        elif kind == "transposed":
            k = self.transposed(k)
        elif kind != "itself":
            k = self.conv(self.normed(k) if "norm" in kind else k, n_out, size)
        return self.maybe_normed(k)

    def rectified(self, k):
        relu = self.one_of(nn.ReLU(), nn.ReLU6(), torch.relu, lambda x: x.clamp(min=0))
        self.alone.append(self.add(relu, k, neurons="unit"))
        return self.alone[-1]

    def leaky(self):
        """Add a linear map and what is less below 0."""
        k = self.mapped(self.source())
        slopes = nn.PReLU(self.one_of(1, self.channels(k)))
        call = self.one_of(nn.LeakyReLU(self.one_of(0.01, 0.3)), slopes, torch.abs)
        # Sizes are what both cells say, and never negative.
        found = self.together if call is torch.abs else self.pairs
        found.append(self.pair(call, k))

    def several(self):
        """Add up, or concatenate, linear maps and populations; then a ReLU."""
        terms, is_sum = [self.mapped(self.source())], self.one_of(True, False)
        n_out, *size = self.graph.shape(terms[0])
        for _ in range(self.one_of(1, 2)):
            n_more = n_out if is_sum else self.one_of(1, 2, 3)
            terms.append(self.mapped(self.source(), n_more, size))
        call = added if is_sum else concatenated
        k = self.add(call, *self.draw(st.permutations(terms)))
        self.rectified(self.maybe_normed(k))

    def combined(self):
        """Add up, or concatenate, two populations without a ReLU."""
        first, call = self.source(rectified=True), self.one_of(added, concatenated)
        n_same = 0 if call is added else 1
        shape = self.graph.shape(first)[n_same:]
        second = self.source(rectified=True, like=lambda other: other[n_same:] == shape)
        self.together.append(self.add(call, first, second))
        self.parts |= {self.together[-1]} if {first, second} & self.parts else set()

    def combined_signed(self):
        """Add up, or concatenate, ON and OFF cells and something else."""
        first, call = self.one_of(*self.pairs), self.one_of(added, concatenated)
        n_same = 0 if call is added else 1
        shape = self.graph.shape(first)[n_same:]
        second = self.source(like=lambda other: other[n_same:] == shape)
        self.signed.append(self.add(call, first, second))
        self.parts |= {self.signed[-1]} if {first, second} & self.parts else set()

    def split(self):
        """Take parts of the channels, of which others may be read, too."""
        is_signed = bool(self.pairs) and self.one_of(True, False)
        k = self.one_of(*self.pairs) if is_signed else self.source(rectified=True)
        if self.channels(k) > 1:
            found = self.signed if is_signed else self.together
            half = self.add(lambda x: x.chunk(2, 1)[0], k)
            rest = self.add(lambda x: x[:, x.shape[1] // 2 :].flip(1), k)
            found += [half, rest]
            self.parts |= {half, rest}

    def windows(self, k):
        """Draw kernel, stride and padding of a pooling."""
        kernel = [
            min(n, drawn)
            for n, drawn in zip(self.graph.shape(k)[1:], self.sizes(1, 3), strict=True)
        ]
        padding = [min(n // 2, self.one_of(0, 1)) for n in kernel]
        return kernel, self.sizes(1, 3), padding

    def average(self, k):
        if self.one_of(True, False):
            return nn.AdaptiveAvgPool2d(self.sizes(1, 3))
        in_ceil, counts = self.one_of(True, False), self.one_of(True, False)
        return nn.AvgPool2d(
            *self.windows(k), in_ceil, counts, self.one_of(None, None, 3)
        )

    def averaged(self):
        if self.pairs and self.one_of(True, False):
            k = self.one_of(*self.pairs)
            self.pairs.append(self.add(self.average(k), k, neurons="pools"))
            return
        k = self.source(rectified=True)
        self.alone.append(self.add(self.average(k), k, neurons="pool"))

    def transition(self):
        """Average what a pointwise convolution gives: neurons average what it reads."""
        source = self.source(alone=True, rectified=True)
        pool = self.average(source)
        pooled = self.add(pool, source, neurons="pool")
        conv = nn.Conv2d(self.channels(source), 3, 1)

        def of_pooled(x):
            nothing = conv(torch.zeros_like(self.graph.results[source]))
            return conv(x) - conv(torch.zeros_like(x)) + pool(nothing)

        spiking = (Call(of_pooled), (pooled,))
        self.rectified(self.add(nn.Sequential(conv, pool), source, spiking=spiking))

    def gated(self):
        k = self.source(alone=True, rectified=True, spikes=True)
        pool = nn.MaxPool2d(*self.windows(k), ceil_mode=self.one_of(True, False))
        self.alone.append(self.add(pool, k, neurons="gate"))

    def result(self):
        """Let linear layers read whatever nothing reads, so that all of it counts."""
        read = {0}.union(*(reads for _, reads in self.graph.spiking))
        terms = []
        made = {*self.alone, *self.together, *self.pairs, *self.signed}
        for k in sorted(made - read):
            # Of parts, a BatchNorm can't be a part of the weights.
            k = self.add(nn.Flatten(), k if k in self.parts else self.maybe_normed(k))
            k = self.add(nn.Linear(self.channels(k), 3, self.one_of(True, False)), k)
            if self.one_of(True, False, False):
                k = self.add(nn.Linear(3, 3), self.between(k))
            terms.append(k)
        k = self.add(added, *terms) if len(terms) > 1 else terms[0]
        if self.one_of(True, False):
            k = self.add(nn.Linear(3, 2), self.rectified(self.maybe_normed(k)))
        if self.one_of(True, False):
            self.rectified(k)
        else:
            self.add(lambda x: x, k, neurons="unit")


def added(*values):
    return sum(values[1:], start=values[0])


def concatenated(*values):
    return torch.cat(values, 1)


@st.composite
def cases(draw):
    """Draw a graph, options of `convert`, and whether thresholds are by channel."""

    def one_of(*choices):
        return draw(st.sampled_from(choices))

    options = {
        "encoding": one_of("current", "poisson"),
        "propagation": one_of("step", "instant"),
        "reset": one_of("subtract", "zero"),
        "v_min": one_of(-math.inf, 0.0, -0.31),
        "leak": one_of(0.0, 0.0137),
        "v_init": one_of(0.0, 0.5),
        "rate_scale": one_of(1.0, 0.7),
        "synapses": one_of("shared", "explicit"),
        "pooling": one_of("neurons", "synapses"),
        "max_pooling": one_of("gate", "largest-count"),
        "normalize": one_of(None, (0.3, 0.6)),
        "compose": one_of(math.inf, 0.0),
    }
    drawing = Drawing(
        draw,
        (one_of(1, 2, 3), one_of(3, 5, 6, 8), one_of(3, 4, 7)),
        is_plain=options["normalize"] is None,
        has_spikes=options["encoding"] == "poisson",
        composes=options["compose"] > 0,
    )
    drawing.rectified(drawing.mapped(0))
    grow = "several", "several", "combined", "averaged", "transition", "gated"
    for _ in range(one_of(0, 1, 2, 3, 4)):
        signed = ["combined_signed"] * bool(drawing.pairs)
        how = one_of("mapped", "leaky", "leaky", "split", *grow, *signed)
        if how == "mapped":
            drawing.rectified(drawing.mapped(drawing.source()))
        else:
            getattr(drawing, how)()
    drawing.result()
    options["is_signed"] = False
    if options["reset"] == "subtract" and (most := one_of(0, 2, 3)):
        has_gates = "gate" in drawing.graph.neurons.values()
        options["is_signed"] = one_of(True, False) and not has_gates
        options["neurons"] = BurstIF(most, signed=options["is_signed"])
    return drawing.graph, options, one_of(True, False), draw(st.integers(0, 2**16))


def drawn_thresholds(graph, neurons, random, *, by_channel):
    """Draw thresholds that broadcast; those of gates are what a spike is worth."""
    found = {(0, 1): np.ones(1)}
    for own in populations(neurons):
        k = own[0]
        channels, *rest = graph.shape(k)
        shape = (channels, *[1] * len(rest)) if by_channel else 1
        found[own] = random.uniform(0.3, 1.5, shape)
        if neurons[k] == "gate":
            source = found[graph.spiking[k - 1][1][0], 1]
            found[own] = np.broadcast_to(source / source.max(), shape)
    del found[0, 1]
    return found


def brian_spikes(graph, shown, thresholds, options):
    """Spikes of each population as Brian2 simulates it, (n_steps, neurons)."""
    options = options | {"dtype": "float64"}
    del options["is_signed"]
    shape = graph.shape(0)
    names = convert(graph, shape, thresholds=1.0, **options).layer_names
    by_name = dict(zip(names, thresholds, strict=True))
    network = convert(graph, shape, thresholds=by_name, **options).network(shown)
    sizes = "burst" if options.get("neurons") else None
    monitors = {name: SpikeMonitor(network[name], variables=sizes) for name in names}
    network.add(*monitors.values())
    network.run(N_STEPS * ms, namespace={})
    found = {}
    for name, monitor in monitors.items():
        found[name] = np.zeros((N_STEPS, monitor.source.N))
        at = np.rint(monitor.t / ms).astype(int), monitor.i
        found[name][at] = monitor.burst if sizes else 1
    return found


def check(case):
    graph, options, by_channel, seed = case
    note(f"{graph}\n{graph.reads}\n{graph.neurons}\n{options}")
    random = np.random.default_rng(seed)
    image = shown = random.random(graph.shape(0))
    channels, height, width = image.shape
    spikes = np.broadcast_to(image, (N_STEPS, *image.shape))
    if options["encoding"] == "poisson":
        spikes = random.random(spikes.shape) < 0.7 * image
        step, index = np.nonzero(np.moveaxis(spikes, 1, -1).reshape(N_STEPS, -1))
        shown = SpikeTrains(index, (step + 0.5) * ms)
        spikes = spikes / options["rate_scale"]
    mean, std = options["normalize"] or (0.0, 1.0)

    def values(step):
        is_on = step >= 0 or options["encoding"] == "current"
        pixels = spikes[max(step, 0)] * is_on
        return torch.as_tensor((pixels[None] - mean) / std)

    # Without neurons for pooling, those remain that a gate reads.
    gated = {
        graph.spiking[k - 1][1][0]
        for k, what in graph.neurons.items()
        if what == "gate"
    }
    neurons = {
        k: what
        for k, what in graph.neurons.items()
        if "pool" not in what or options["pooling"] == "neurons" or k in gated
    }
    theta = drawn_thresholds(graph, neurons, random, by_channel=by_channel)
    with torch.no_grad():
        tensors = {k: torch.as_tensor(each.copy()) for k, each in theta.items()}
        expected = spikes_of(graph, neurons, values, tensors, options)
    given = [each.ravel() if by_channel else each.item() for each in theta.values()]
    found = brian_spikes(graph, shown, given, options)
    for (name, ours), wanted in zip(found.items(), expected.values(), strict=True):
        wanted = np.moveaxis(wanted, 1, -1).reshape(N_STEPS, -1)
        np.testing.assert_array_equal(ours, wanted, name)


@pytest.fixture(autouse=True)
def numpy_code():
    brian2.prefs.codegen.target = "numpy"


with_any_graph = settings(deadline=None, suppress_health_check=[*HealthCheck])


@pytest.mark.slow
@settings(with_any_graph, max_examples=8, derandomize=True)
@given(cases())
def test_every_spike_of_random_graphs(case):
    check(case)


@pytest.mark.many
@pytest.mark.timeout(3600)
@pytest.mark.slow
@settings(with_any_graph, max_examples=200)
@given(cases())
def test_every_spike_of_many_random_graphs(case):
    check(case)
