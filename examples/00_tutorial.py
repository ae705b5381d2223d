"""
Tutorial
========

This page goes from a CNN to its spikes: training, conversion, Brian2, and a compiled
program. What its cells print and draw is below them; at the end there is a link to it
as a Jupyter notebook.

A CNN
-----

Any CNN of supported layers will do (:doc:`/architectures`). Pixels have to be from
0 to 1. If yours was trained on normalized images, give ``normalize=(mean, std)`` to
:func:`~cnn2snn_brian.convert`.
"""

from torch import nn

from cnn2snn_brian.data import load_digits
from cnn2snn_brian.train import TrainingSettings, accuracy, train

training, test = load_digits()
cnn = nn.Sequential(
    nn.Conv2d(1, 16, 3, bias=False),
    nn.LeakyReLU(0.1),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(144, 10, bias=False),
)
training

# %%
# This one has maximum pooling and a LeakyReLU, which spikes can't express.
# :func:`~cnn2snn_brian.adjust` makes a copy without them and says what it changed.
# Biases go too, unless you keep them: they become constant inputs.

from cnn2snn_brian import adjust

adjustment = adjust(cnn)
adjustment

# %%
# The adjusted CNN has to be trained again. :func:`~cnn2snn_brian.train.train` starts
# from new weights; with ``fresh=False`` it goes on from those that the CNN has.

cnn = adjustment.module
train(cnn, training, TrainingSettings(epochs=20, learning_rate=0.1))
print(f"CNN: {accuracy(cnn, test):.1%} of {len(test)} test digits")

# %%
# Converting
# ----------
#
# Thresholds come from the activations on the calibration images, unless you give them.
# Use training images, not test images.

from cnn2snn_brian import convert

snn = convert(cnn, test.input_shape, calibration=training.images)
snn

# %%
# The table has the layers with their numbers of neurons and synapses; ``print(snn)``
# shows the same as text. Layers are named by their role: ``conv1``, ``conv2`` and so on
# for convolutions, ``pool1`` for pooling, and ``ip1`` for a ``Linear`` layer (*inner
# product*, Caffe's name for it). With ``names="module"`` they are named like the
# modules of the CNN.
#
# New thresholds can be set at any time, and a network is saved to one file.

from cnn2snn_brian import SpikingNetwork

snn.thresholds = {"conv1": 5.0}  # the other layers keep theirs
snn.save("digits.snn")
SpikingNetwork.load("digits.snn").thresholds

# %%
# In Brian2
# ---------
#
# :meth:`~cnn2snn_brian.SpikingNetwork.network` builds Brian2 objects. Groups are found
# by the names of their layers, the input is ``input``, and the synapses into ``conv1``
# are ``conv1_synapses``.
#
# The first time, Brian2 compiles each part of a network with Cython, which takes most
# of a minute here. With NumPy there is nothing to compile, and one image takes a
# second.

import matplotlib.pyplot as plt
from brian2 import SpikeMonitor, StateMonitor, ms, prefs, seed

prefs.codegen.target = "numpy"
seed(0)
network = snn.network(test.images[0])
potential = StateMonitor(network["conv1"], "v", record=[59, 148, 200])
spikes = SpikeMonitor(network["ip1"])
network.add(potential, spikes)
network.run(100 * ms)

fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot(potential.t / ms, potential.v.T)
ax.axhline(snn.thresholds["conv1"], color="black", linestyle=":")
ax.set(xlabel="time (ms)", ylabel="v of three neurons of conv1")
print(spikes.count[:])

# %%
# A ``StateMonitor`` reads ``v`` at the start of each step, as the last step left it:
# after the threshold, the reset, and the spikes that arrived. It never sees what
# happens within a step. Where spikes carried ``v`` over the threshold, it shows that
# value, and the neuron spikes in the step that begins. Where a constant input did (a
# leak, a bias, or an image with ``encoding="current"``), it shows no crossing at all:
# the value before is below the threshold, and the next one is that after the reset.
# Take a ``SpikeMonitor`` to know when a neuron spiked.
#
# Neurons of a group are ordered (y, x, channel): neuron ``(y * width + x) * channels
# + c``. :func:`~cnn2snn_brian.projections.from_neurons` turns values of a group into
# an array of shape (channels, height, width).
#
# ``snn.show(network, image)`` gives the network another image. Potentials stay as they
# are, so store the network before the first image and restore it before each other one.
#
# Many images
# -----------
#
# :meth:`~cnn2snn_brian.SpikingNetwork.compile` makes a C++ program of the network. It
# runs all images in one go.

with snn.compile(100 * ms) as simulator:
    result = simulator.run(test.images, seed=0, record={"conv1": [0]})
    higher = simulator.run(test.images, thresholds={"conv1": 8.0})
print(
    f"SNN: {result.accuracy(test.labels):.1%}, "
    f"{higher.accuracy(test.labels):.1%} with a higher threshold"
)
result

# %%
# Nothing is compiled for the second run. Thresholds, ``v_min``, ``leak``, ``v_init``,
# ``rate_scale``, images and the seed can all change. The duration, the weights' shapes,
# ``dt``, ``reset`` and ``encoding`` are part of the program; a stimulus may be shorter
# (:doc:`/experiment`).
#
# A :class:`~cnn2snn_brian.SimulationResult` holds plain numpy arrays.

print(result.spike_counts["conv1"].shape)  # (n, channels, height, width)
print(result.predictions[:10])  # the class with the most output spikes
print(result.ties.sum(), result.silent.sum())  # how sure that is
print(result.accuracy_over_time(test.labels)[[9, 19, 49, 99]])  # after that many steps
print(result.decide(margin=3).mean_steps)  # if an image ends once a class leads by 3
t, neuron = result.spikes("conv1", 0)  # times and neurons, of what was recorded
print(len(t), "spikes of conv1,", result.n_events, "synaptic events")

# %%
# ``simulator.run(images, **result.settings)`` repeats a run.
#
# Counts are kept of all layers. Spike times are kept only for what ``record`` names,
# and of the last layer. ``record=Recording(...)`` also keeps the membrane potentials of
# single neurons, see :doc:`/looking`.

from cnn2snn_brian.plots import plot_raster

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
plot_raster(result, "conv1", 0, ax)
fig.savefig("tutorial.png", dpi=120)

# %%
# All cores are used; ``executor=1`` takes one. :doc:`/clusters` says how to use more
# machines.
#
# When accuracy is low
# --------------------
#
# :func:`~cnn2snn_brian.diagnose` names the layer to look at; :doc:`/looking` says how
# to read it.

from cnn2snn_brian import diagnose

diagnose(result, cnn, test.images)

# %%
# By hand: look at ``accuracy_over_time`` first. If it still rises at the end, take a
# longer duration: a network of n layers has its first output after n steps. Next,
# compare the thresholds. Too high, and ``silent`` is not 0. Too low, and many neurons
# of ``spike_counts[layer]`` spike in every step. :func:`~cnn2snn_brian.tune_thresholds`
# looks for better ones by simulation, on training images, and checks what it found on
# some that it did not see.

from cnn2snn_brian import tune_thresholds

digits = training.per_class(20, seed=0)
with snn.compile(100 * ms) as simulator:
    tuned = tune_thresholds(
        simulator, digits.images, digits.labels, method="search", budget=20
    )
tuned

# %%
# Then try what differs from the paper: ``v_min=float("-inf")``, ``reset="subtract"``,
# and ``encoding="current"``, which has no noise. :doc:`/dynamics` says why.
