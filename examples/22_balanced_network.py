"""
A balanced network without a CNN
================================

`Simulator.of` makes a program of any Brian2 network. This one has 4,000 leaky neurons,
of which a fifth inhibits the others: the network with exponential currents that
simulators are compared by, in the form of Brette et al. (2007),
doi:10.1007/s10827-007-0038-6, after Vogels and Abbott (2005),
doi:10.1523/JNEUROSCI.3508-05.2005.

What a trial starts with and the strength of synapses are inputs of a run, so nothing is
compiled again for them. From another start, a neuron spikes about as often, since that
follows from who is connected to it, and at other times.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import Network, NeuronGroup, Synapses, ms, mV

from cnn2snn_brian import Simulator

duration = 400 * ms
n_neurons, n_excitatory, probability = 4000, 3200, 0.02
tau, tau_e, tau_i = 20 * ms, 5 * ms, 10 * ms  # membrane, currents
rest, threshold, reset = -49 * mV, -50 * mV, -60 * mV
strengths = (1.2, 1.4, 1.62, 1.8, 2.0)  # mV that a spike adds to excitation
inhibition = -9 * mV
starts = range(4)  # seeds of the potentials at the start
figure_file = "balanced_network.png"


def balanced():
    """Make the network."""
    cells = NeuronGroup(
        n_neurons,
        """dv/dt = (rest - v + excited + inhibited) / tau : volt (unless refractory)
        dexcited/dt = -excited / tau_e : volt
        dinhibited/dt = -inhibited / tau_i : volt""",
        threshold="v > threshold",
        reset="v = reset",
        refractory=5 * ms,
        method="exact",
        name="cells",
    )
    weight = "w : volt (shared)"
    excite = Synapses(cells, cells, weight, on_pre="excited += w", name="excite")
    excite.connect("i < n_excitatory", p=probability)
    inhibit = Synapses(cells, cells, on_pre="inhibited += inhibition", name="inhibit")
    inhibit.connect("i >= n_excitatory", p=probability)
    return Network(cells, excite, inhibit)


def potentials(start):
    """Draw the potentials that a trial starts with."""
    drawn = np.random.default_rng(start).random(n_neurons)
    return reset + drawn * (threshold - reset)


pairs = [(w, start) for w in strengths for start in starts]
values = [{"excite.w": w * mV, "cells.v": potentials(start)} for w, start in pairs]
settings = [{"values": chosen} for chosen in values]
found = {}
with Simulator.of(balanced, duration, dt=0.1 * ms, seed=1) as simulator:
    for k, result in simulator.run_many(None, settings, record=["cells"]):
        found[pairs[k]] = result
counts = {pair: result.spike_counts["cells"][0] for pair, result in found.items()}
rates = {pair: n.mean() / float(duration) for pair, n in counts.items()}
for w in strengths:
    mean = np.mean([rates[w, start] for start in starts])
    r = np.corrcoef(counts[w, 0], counts[w, 1])[0, 1]
    a, b = (found[w, start].binned("cells", 5 * ms)[0] for start in (0, 1))
    in_time = np.corrcoef((a - a.mean(0)).ravel(), (b - b.mean(0)).ravel())[0, 1]
    print(
        f"{w:.2f} mV: {mean:.1f} Hz; start 0 and 1: r = {r:.2f}, in time {in_time:.2f}"
    )

fig, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
for ax, start in zip(axes[:2], starts[:2], strict=True):
    t, neuron = found[1.62, start].spikes("cells", 0)
    ax.plot(1e3 * t[neuron < 200], neuron[neuron < 200], ".k", ms=2)
    ax.set(xlabel="time (ms)", ylabel="neuron", title=f"start {start}, 1.62 mV")
axes[2].plot(*zip(*((w, rates[w, start]) for w, start in pairs), strict=True), ".")
axes[2].set(xlabel="strength of excitation (mV)", ylabel="mean rate (Hz)", ylim=0)
fig.savefig(figure_file, dpi=120)
plt.show()
