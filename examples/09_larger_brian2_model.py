"""
Part of a larger Brian2 model
=============================

The converted network is a Brian2 network, so it can be the input of a model of your own.
Here its ten output neurons excite ten populations that compete: each one excites itself
and inhibits the others, until one of them wins (winner take all). Digits are shown one
after the other, without a pause and without any reset between them, and the populations
have to let go of the last one.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import NeuronGroup, SpikeMonitor, Synapses, mV, ms, prefs, seed

from cnn2snn_brian import convert, models
from cnn2snn_brian.data import load_digits

duration = 100 * ms  # how long a digit is shown
digits = [12, 9, 3, 18, 13, 4, 0, 27, 33, 11]  # indices of test digits, one a class
size = 8  # neurons of a population
tau = 15 * ms  # of their membrane
rest, threshold = -65 * mV, -50 * mV
drive = 6 * mV  # of a spike of an output neuron
excitation, inhibition = 1 * mV, 0.4 * mV  # of a spike within a population, between
noise = 2 * mV
figure_file = "winner_take_all.png"
band = {"color": "0.9", "zorder": 0}  # behind the right answer

prefs.codegen.target = "numpy"  # for a few seconds, quicker than compiling with Cython
seed(0)

training, test = load_digits()
cnn, _ = models.pretrained("digits")
snn = convert(cnn, test.input_shape, calibration=training.images)
network = snn.network()
answers = network["ip1"]  # one neuron for each class
step = {"clock": answers.clock}  # the same time step for all

competitors = NeuronGroup(
    len(test.classes) * size,
    "dv/dt = (rest - v) / tau + noise * sqrt(2 / tau) * xi : volt (unless refractory)",
    threshold="v > threshold",
    reset="v = rest",
    refractory=3 * ms,
    method="euler",
    **step,
)
competitors.v = rest
feed = Synapses(answers, competitors, on_pre="v += drive", **step)
feed.connect("i == j // size")
excite = Synapses(competitors, competitors, on_pre="v += excitation", **step)
excite.connect("i // size == j // size and i != j")
inhibit = Synapses(competitors, competitors, on_pre="v -= inhibition", **step)
inhibit.connect("i // size != j // size")
output, winners = SpikeMonitor(answers), SpikeMonitor(competitors)
network.add(competitors, feed, excite, inhibit, output, winners)
for digit in digits:
    snn.show(network, test.images[digit])
    network.run(duration)

shown_at = np.arange(len(digits)) * duration
n_right = 0
for digit, start in zip(digits, shown_at, strict=True):
    late = (winners.t > start + duration / 2) & (winners.t <= start + duration)
    counts = np.bincount(winners.i[late] // size, minlength=len(test.classes))
    n_right += counts.argmax() == test.labels[digit]
    print(f"digit {test.labels[digit]}: spikes in the second half {counts}")
print(f"{n_right} of {len(digits)} digits won")

fig, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
axes[0].plot(output.t / ms, output.i, "|", ms=6)
axes[0].set(ylabel="output neuron", title="ip1 of the converted network")
axes[1].plot(winners.t / ms, winners.i / size - 0.5, ".", ms=2)
axes[1].set(ylabel="population", title="winner take all", xlabel="time (ms)")
for ax in axes:
    ax.set_yticks(range(len(test.classes)), test.classes)
    ax.set_ylim(-0.6, len(test.classes) - 0.4)
    for digit, start in zip(digits, shown_at / ms, strict=True):
        span = (start, start + duration / ms)
        ax.fill_between(span, test.labels[digit] - 0.5, test.labels[digit] + 0.5, **band)
fig.savefig(figure_file, dpi=120)
plt.show()
