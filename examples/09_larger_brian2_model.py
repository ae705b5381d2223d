"""
Part of a larger Brian2 model
=============================

The converted network is a Brian2 network, so it can be the input of a model of your
own. Here its ten output neurons excite ten populations that compete: each one excites
itself and inhibits the others, until one of them wins (winner take all). Digits are
shown one after the other, without a pause and without any reset between them, and the
populations have to let go of the last one.

`SpikingNetwork.extend` makes the model a part of the compiled program: many trials, on
all cores, each with its own noise.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import NeuronGroup, Synapses, ms, mV

from cnn2snn_brian import Sequence, convert, models
from cnn2snn_brian.data import load_digits

duration = 100 * ms  # how long a digit is shown
digits = [12, 9, 3, 18, 13, 4, 0, 27, 33, 11]  # indices of test digits, one a class
n_trials = 20
size = 8  # neurons of a population
tau = 15 * ms  # of their membrane
rest, threshold = -65 * mV, -50 * mV
drive = 6 * mV  # of a spike of an output neuron
excitation, inhibition = 1 * mV, 0.4 * mV  # of a spike within a population, between
noise = 2 * mV
seed = 0  # of input spikes and noise
figure_file = "winner_take_all.png"


def competition(network):
    """Add ten populations that compete."""
    answers = network["ip1"]  # one neuron for each class
    competitors = NeuronGroup(
        len(answers) * size,
        "dv/dt = (rest - v) / tau + noise * sqrt(2 / tau) * xi"
        ": volt (unless refractory)",
        threshold="v > threshold",
        reset="v = rest",
        refractory=3 * ms,
        method="euler",
        name="competitors",
    )
    competitors.v = rest
    feed = Synapses(answers, competitors, on_pre="v += drive", name="feed")
    feed.connect("i == j // size")
    excite = Synapses(competitors, competitors, on_pre="v += excitation", name="excite")
    excite.connect("i // size == j // size and i != j")
    inhibit = Synapses(competitors, competitors, on_pre="v -= inhibition", name="limit")
    inhibit.connect("i // size != j // size")
    network.add(competitors, feed, excite, inhibit)


training, test = load_digits()
cnn, _ = models.pretrained("digits")
snn = convert(cnn, test.input_shape, calibration=training.images).extend(competition)
shown = Sequence(test.images[digits], duration, off=0 * ms)
with snn.compile(len(digits) * duration) as simulator:
    result = simulator.run([shown], repeats=n_trials, seed=seed, record=["competitors"])

# Spikes by trial, digit, half of its time and population.
spikes = result.binned("competitors", duration / 2)
spikes = spikes.reshape(n_trials, len(digits), 2, -1, size).sum(axis=-1)
won = spikes[:, :, 1].argmax(axis=-1) == test.labels[digits]
for label, row in zip(test.labels[digits], spikes[0, :, 1], strict=True):
    print(f"digit {label}: spikes in the second half {row}")
print(f"{won[0].sum()} of {len(digits)} digits won")
print(f"all {n_trials} trials: {won.mean():.1%}")

fig, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
for name, per_row, ax in zip(("ip1", "competitors"), (1, size), axes, strict=True):
    for k, label in enumerate(test.labels[digits]):  # a band behind the right answer
        span = np.array([k, k + 1]) * duration / ms
        ax.fill_between(span, label - 0.5, label + 0.5, color="0.88", zorder=0)
    t, neuron = result.spikes(name, 0)
    ax.plot(1e3 * t, (neuron + 0.5) / per_row - 0.5, "|", ms=6 if per_row == 1 else 2)
    ax.set(yticks=range(len(test.classes)), ylim=(-0.6, len(test.classes) - 0.4))
axes[0].set(ylabel="output neuron", title="ip1 of the converted network")
axes[1].set(ylabel="population", title="winner take all", xlabel="time (ms)")
fig.savefig(figure_file, dpi=120)
plt.show()
