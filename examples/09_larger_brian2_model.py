"""
Part of a larger Brian2 model
=============================

The converted network is a Brian2 network, so it can be the input of a model of your
own. Here its ten output neurons excite ten populations that compete: each one excites
itself and inhibits the others, until one of them wins (winner take all). Digits are
shown one after the other, without a pause and without any reset between them, and the
populations have to let go of the last one.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import NeuronGroup, SpikeMonitor, Synapses, ms, mV, prefs, seed

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

n_right = 0
fig, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
for k, label in enumerate(test.labels[digits]):
    late = (winners.t > (k + 0.5) * duration) & (winners.t <= (k + 1) * duration)
    spikes = np.bincount(winners.i[late] // size, minlength=len(test.classes))
    n_right += spikes.argmax() == label
    print(f"digit {label}: spikes in the second half {spikes}")
    for ax in axes:  # a band behind the right answer
        span = np.array([k, k + 1]) * duration / ms
        ax.fill_between(span, label - 0.5, label + 0.5, color="0.88", zorder=0)
print(f"{n_right} of {len(digits)} digits won")

axes[0].plot(output.t / ms, output.i, "|", ms=6)
axes[0].set(ylabel="output neuron", title="ip1 of the converted network")
axes[1].plot(winners.t / ms, (winners.i + 0.5) / size - 0.5, ".", ms=2)
axes[1].set(ylabel="population", title="winner take all", xlabel="time (ms)")
for ax in axes:
    ax.set(yticks=range(len(test.classes)), ylim=(-0.6, len(test.classes) - 0.4))
fig.savefig(figure_file, dpi=120)
plt.show()
