"""
Measure gates, print the tables and draw the figure: ``python docs/gates.py``.

The second convolution of the digits CNN that comes with the package is multiplied by a
gate for each of its channels: first by gates that 30 cells each say by their rate, then
by a block of squeeze and excitation that reads the layer itself. It takes a minute.
"""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from brian2 import Hz, NeuronGroup, Synapses, ms, second

from cnn2snn_brian import NeuronModel, convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.stimuli import Still

LAYER, CHANNELS, CELLS = "conv2", 32, 30
HIDDEN = 8  # cells that squeeze the channels
STEPS = (32, 64, 128, 256, 512)
DT = 1 * ms
LONG = 2000  # steps of gates that change; the second half counts
LEVELS = (0.5, 0.25)  # gates of all channels
FREQUENCIES = (1, 2, 5, 10, 20)  # of a gate that changes, in Hz
TAUS = (20, 50, 100)  # of gates, in ms
NEVER = 1e6 * second  # time constant of a gate that keeps its value
LEAK = 20 * ms  # membrane time constant of a leaky neuron with an open gate

#: What a gate does to a neuron.
NEURONS = {
    "synapses": NeuronModel(
        "v : 1\ngate : 1", on_pre="v_post += w * gate_post", floor=False
    ),
    "leak": NeuronModel(
        "dv/dt = -v / (LEAK * clip(gate, 0.02, inf)) : 1\ngate : 1",
        parameters={"LEAK": LEAK},
        method="exponential_euler",
        floor=False,
    ),
}


def gates(network):
    """Add a gate for each channel, and the cells that say it by their rate."""
    cells = NeuronGroup(
        CHANNELS * CELLS,
        """dx/dt = regular * rate : 1
        rate = mean * (1 + depth * sin(2 * pi * f * t)) : Hz
        mean : Hz
        depth : 1 (shared)
        f : Hz (shared)
        regular : 1 (shared)""",
        threshold="x >= 1 or rand() < (1 - regular) * rate * dt",
        reset="x -= int(x >= 1)",
        method="euler",
        name="cells",
    )
    cells.x = "rand()"
    gate = NeuronGroup(
        CHANNELS,
        """dg/dt = -g / tau : 1
        tau : second (shared)
        step : 1 (shared)""",
        method="exact",
        name="gate",
    )
    gate.tau, gate.g = NEVER, 1
    say = Synapses(cells, gate, on_pre="g_post += step_post", name="say")
    say.connect(f"j == i // {CELLS}")
    layer = network[LAYER]
    act = Synapses(gate, layer, "gate_post = g_pre : 1 (summed)", name="act")
    act.connect(f"i == j % {CHANNELS}")  # channels come last
    network.add(cells, gate, say, act)


def known(g):
    """Set gates that keep a value from the first step on."""
    return {"gate.g": g * np.ones(CHANNELS), "gate.tau": NEVER}


def said(g, total, tau, start=None, regular=0, depth=0.0, f=0 * Hz):
    """Set gates that are said by ``total`` spikes a second where g is 1."""
    g = g * np.ones(CHANNELS)
    return {
        "gate.g": g if start is None else start * np.ones(CHANNELS),
        "gate.tau": tau,
        # So that g is right on average; it is read before it decays.
        "gate.step": -np.expm1(-float(DT / tau)) / float(total * DT),
        "cells.mean": np.repeat(g, CELLS) * total / CELLS,
        "cells.regular": regular,
        "cells.depth": depth,
        "cells.f": f,
    }


training, test = load_digits()
digits = test.per_class(5, seed=0)
cnn, _ = models.pretrained("digits")
simulators, worth = {}, {}
for name, neurons in NEURONS.items():
    snn = convert(
        cnn,
        digits.input_shape,
        calibration=training.images,
        preset="few-steps",
        percentile=100,
        neurons={LAYER: neurons},
    )
    simulators[name] = snn.extend(gates, seed=1).compile(LONG * ms)
    # The activation that a spike of each channel stands for.
    worth = np.max(snn.thresholds["conv1"]) * np.asarray(snn.thresholds[LAYER])
    worth = np.broadcast_to(worth, CHANNELS)[:, None, None]
activations = snn.layers.activations(digits.images / 255)[LAYER].clip(0)


def counts(circuit, values, n_steps=STEPS[-1]):
    """Spikes by image, step and neuron."""
    result = simulators[circuit].run(
        [Still(image, n_steps * DT) for image in digits.images / 255],
        values=values,
        record=[LAYER],
        progress=False,
    )
    return result.binned(LAYER, DT)


def compared(name, spikes, of_spike, expected):
    """Print errors, in percent of the mean, and correlations; return the errors."""
    total = spikes.cumsum(axis=1, dtype=np.int32)
    errors, cells = [], []
    for n_steps in STEPS:
        found = total[:, n_steps - 1] * of_spike / n_steps
        errors.append(100 * np.abs(found - expected).mean() / expected.mean())
        fit = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
        cells.append(f"{errors[-1]:.1f} % ({fit:.3f})")
    print(f"| {name} |", " | ".join(cells), "|", flush=True)
    return errors


def gated(name, values, circuit="synapses"):
    """Compare the layer with what the CNN computes, times the gates."""
    return compared(name, counts(circuit, values), worth, product)


fig, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")

# Gates that stay, one for each channel.
g = np.random.default_rng(0).uniform(0.1, 1, CHANNELS)
product = activations * g[:, None, None]
layer = counts("synapses", known(1)).sum(axis=(2, 3, 4)).mean() / float(DT)
print(
    f"{LAYER}: {layer:.0f} spikes/s; gates: {1000 * g.sum():.0f} of 1000 spikes/s each"
)
print("| gate |", " | ".join(f"{n} steps" for n in STEPS), "|")
print("|", " --- |" * (len(STEPS) + 1))
lines = {
    "no gate": compared("none", counts("synapses", known(1)), worth, activations),
    "known gate": gated("known", known(g)),
}
for total in (100, 300, 1000, 3000):
    name = f"Poisson, {total} spikes/s"
    lines[name] = gated(name, said(g, total * Hz, 20 * ms))
for total in (100, 1000):
    name = f"regular, {total} spikes/s"
    lines[name] = gated(name, said(g, total * Hz, 20 * ms, regular=1))
for tau in (5, *TAUS):
    for start, what in ((None, "right"), (0.55, "0.55"), (0, "0")):
        values = said(g, 1000 * Hz, tau * ms, start=start)
        errors = gated(f"1000 spikes/s, {tau} ms, starts {what}", values)
        if start == 0 and tau in (20, 100):
            lines[f"1000 spikes/s, {tau} ms, starts at 0"] = errors
gated("leak, known", known(g), circuit="leak")
own = counts("leak", known(1)).mean(axis=1) * worth * g[:, None, None]
compared("leak, known, of its own rates", counts("leak", known(g)), worth, own)
for name, errors in lines.items():
    style = {"P": "o-", "r": "s--", "1": "^:"}.get(name[0], "k-")
    axes[0].plot(STEPS, errors, style, ms=4, label=name)
axes[0].lines[1].set(linestyle="--")
axes[0].set(xscale="log", yscale="log", xlabel="steps", ylabel="error (% of the mean)")
axes[0].set(xticks=STEPS, xticklabels=STEPS, ylim=(0.03, 110))
axes[0].minorticks_off()
axes[0].legend(fontsize=6, ncols=2, loc="lower left")

# One gate for all: what becomes of the rates.
ends = np.array([0, 1000])
for level, marker in zip(LEVELS, "o^", strict=True):
    for k, circuit in enumerate(NEURONS):
        rate, open_rate = (
            counts(circuit, known(each)).mean(axis=1).ravel() / float(DT)
            for each in (level, 1)
        )
        active = rate > 0
        slope, shift = np.polyfit(open_rate[active], rate[active], 1)
        print(
            f"{circuit}, gate {level}: slope {slope:.3f}, shift {shift:.1f} spikes/s; "
            f"{rate.mean() / open_rate.mean():.3f} of the spikes"
        )
        axes[1].plot(
            open_rate[::40],
            rate[::40],
            marker,
            ms=3,
            color=f"C{k}",
            label=f"{circuit}, g = {level}",
        )
    lost = (1 / level - 1) / (2 * float(LEAK))
    print(f"Holt and Koch: {-lost:.1f} spikes/s")
    axes[1].plot(ends, level * ends, "k-", lw=0.8)
    axes[1].plot(ends, ends - lost, "k--", lw=0.8)
axes[1].set(xlabel="open gate (spikes/s)", ylabel="gated (spikes/s)")
axes[1].set(xlim=(0, 400), ylim=(0, 400))
axes[1].legend(fontsize=7)

# A gate that changes: 0.5 (1 + 0.8 sin), the same for all.
t = (np.arange(LONG) + 0.5) * float(DT)
late = t > t.mean()
steady = counts("synapses", known(0.5), LONG).sum(axis=(0, 2, 3, 4))[late].mean()
fine = np.geomspace(FREQUENCIES[0], FREQUENCIES[-1])
for k, tau in enumerate(TAUS):
    amplitudes = []
    for f in FREQUENCIES:
        values = said(0.5, 1000 * Hz, tau * ms, depth=0.8, f=f * Hz)
        gain = counts("synapses", values, LONG).sum(axis=(0, 2, 3, 4))[late] / steady
        phase = 2 * np.pi * f * t[late]
        waves = np.stack([np.sin(phase), np.cos(phase), np.ones(late.sum())], axis=1)
        (sine, cosine, _), *_ = np.linalg.lstsq(waves, gain)
        amplitudes.append(np.hypot(sine, cosine) / 0.8)
        lag = 1e3 * np.arctan2(-cosine, sine) / (2 * np.pi * f)
        x = 2 * np.pi * f * tau / 1e3
        print(
            f"{tau} ms, {f} Hz: amplitude {amplitudes[-1]:.2f} "
            f"(filter {1 / np.hypot(1, x):.2f}), lag {lag:.0f} ms "
            f"(filter {tau * np.arctan(x) / x:.0f} ms)"
        )
    axes[2].plot(FREQUENCIES, amplitudes, "o", color=f"C{k}", label=f"{tau} ms")
    filtered = 1 / np.hypot(1, 2 * np.pi * fine * tau / 1e3)
    axes[2].plot(fine, filtered, color=f"C{k}", lw=1)
axes[2].set(xscale="log", xlabel="frequency of the gate (Hz)", ylim=(0, 1.05))
axes[2].set(ylabel="amplitude of the rates / of g")
axes[2].set(xticks=FREQUENCIES, xticklabels=FREQUENCIES)
axes[2].minorticks_off()
axes[2].legend(fontsize=8, title="time constant")
fig.savefig(Path(__file__).parent / "images" / "gates.png", dpi=80)
for simulator in simulators.values():
    simulator.close()

# Squeeze and excitation, with random weights, such that gates take all values.
snn = convert(
    cnn,
    digits.input_shape,
    calibration=training.images,
    preset="few-steps",
    percentile=100,
    neurons={
        LAYER: NeuronModel("v : 1\ngate : 1", floor=False),
        "ip1": NeuronModel("v : 1", on_pre="v_post += w * gate_pre", floor=False),
    },
)
means = snn.layers.activations(training.images / 255)[LAYER].clip(0).mean(axis=(2, 3))


def block(down, up, shift, network):
    """Add squeeze and excitation; a hard sigmoid is a neuron's rate."""
    layer = network[LAYER]
    model = {"threshold": "v >= 1", "reset": "v -= 1"}
    squeeze = NeuronGroup(HIDDEN, "v : 1", name="squeeze", **model)
    excite = NeuronGroup(CHANNELS, "v : 1\nbias : 1", name="excite", **model)
    excite.run_regularly("v += bias", when="groups")
    squeeze.v = excite.v = 0.5
    excite.bias = (shift + 3) / 6
    gate = NeuronGroup(
        CHANNELS,
        "dg/dt = -g / tau : 1\ntau : second (shared)\nstep : 1 (shared)",
        method="exact",
        name="gate",
    )
    gate.g = 0.5
    average = Synapses(layer, squeeze, "w : 1", on_pre="v_post += w", name="average")
    average.connect()
    weights = down * worth.ravel() * CHANNELS / len(layer)
    average.w = weights[average.j, average.i % CHANNELS]
    drives = Synapses(squeeze, excite, "w : 1", on_pre="v_post += w", name="drives")
    drives.connect()
    drives.w = up[drives.j, drives.i] / 6
    say = Synapses(excite, gate, on_pre="g_post += step_post", name="say")
    say.connect(j="i")
    act = Synapses(gate, layer, "gate_post = g_pre : 1 (summed)", name="act")
    act.connect(f"i == j % {CHANNELS}")
    network.add(squeeze, excite, gate, average, drives, say, act)


def answers(gains):
    """Compute the outputs of the CNN, with a gate for each channel."""
    weights = cnn.ip1.weight.detach().numpy()
    gated = activations * gains[:, :, None, None]
    return (gated.reshape(len(digits), -1) @ weights.T).clip(0)


of_answer = np.max(worth) * np.asarray(snn.thresholds["ip1"])
for draw in range(5):
    rng = np.random.default_rng(draw)
    down, up = rng.normal(size=(HIDDEN, CHANNELS)), rng.normal(size=(CHANNELS, HIDDEN))
    down /= np.abs(means @ down.T).max(axis=0)[:, None]  # 1 is a spike in each step
    drive = (means @ down.T).clip(0) @ up.T
    up *= 2 / drive.std(axis=0)[:, None]
    shift = -2 * drive.mean(axis=0) / drive.std(axis=0)

    hidden = (activations.mean(axis=(2, 3)) @ down.T).clip(0)
    gains = (((hidden @ up.T + shift) + 3) / 6).clip(0, 1)
    expected = answers(gains)
    lost = np.abs(answers(np.ones_like(gains)) - expected).mean() / expected.mean()
    print(f"gates {np.percentile(gains, [10, 50, 90]).round(2)}, without {lost:.0%}")
    extended = snn.extend(partial(block, down, up, shift), seed=1)
    with extended.compile(STEPS[-1] * DT) as simulator:
        for tau in (5, *TAUS):
            step = -np.expm1(-float(DT / ms) / tau)
            values = {"gate.tau": tau * ms, "gate.step": step}
            result = simulator.run(
                digits.images, values=values, record=["ip1"], progress=False
            )
            found = result.binned("ip1", DT)
            compared(f"draw {draw}, {tau} ms", found, of_answer, expected)
