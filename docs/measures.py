"""
Draw the pictures of the page on measures: ``python docs/measures.py``.

Twenty of scikit-learn's digits, each shown 40 times to the CNN that comes with the
package.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import convert, models, physiology, plots
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.stimuli import Still

folder = Path(__file__).parent / "images"
n_repeats = 40

training, test = load_digits()
digits = test.per_class(2, seed=0)
order = np.argsort(digits.labels, kind="stable")
images, labels = digits.images[order], digits.labels[order]
cnn, _ = models.pretrained("digits")
snn = convert(cnn, digits.input_shape, calibration=training.images)
layers = ("input", *snn.layer_names)
with snn.compile(100 * ms) as simulator:
    stimuli = [Still(image / 255) for image in images]
    result = simulator.run(stimuli, repeats=n_repeats, record=layers)
    many = simulator.run(test.images, record=layers)


spikes = {layer: physiology.trial_spikes(result, layer) for layer in layers}
latencies = {name: physiology.latency(spikes[name]) for name in snn.layer_names}
fig, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
plots.plot_psth(
    physiology.psth(spikes["ip1"], bin=5 * ms),
    axes[0],
    stimuli=[4],
    neurons=[2, 3, 8],
)
plots.plot_latency(latencies, axes[1])
values = {name: physiology.sparseness(spikes[name]) for name in snn.layer_names}
plots.plot_sparseness(values, axes[2])
fig.savefig(folder / "measures-responses.png", dpi=100)

fig, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
plots.plot_fano_factor(spikes["input"], ax=axes[0], label="input", n_steps=100)
plots.plot_fano_factor(spikes["conv2"], ax=axes[0], label="conv2")
signal = physiology.signal_correlation(spikes["conv2"])
noise = physiology.noise_correlation(spikes["conv2"])
plots.plot_correlations(signal, noise, axes[1])
for name in ("input", "conv1", "ip1"):
    found = physiology.decoding(many, test.labels, name, bin=10 * ms)
    plots.plot_decoding(found, axes[2], label=name)
fig.savefig(folder / "measures-variability.png", dpi=100)

fig, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
rdms = {name: physiology.rdm(each) for name, each in spikes.items()}
plots.plot_rdm(rdms["ip1"], axes[0], labels=labels)
pixels = physiology.rdm(images)
plots.plot_comparisons(
    {name: physiology.compare(each, pixels) for name, each in rdms.items()}, axes[1]
)
axes[1].set_title("similarity to the pixels")
choices = physiology.decide(many, 3, rule="margin")
plots.plot_reaction_times(choices, test.labels, axes[2])
fig.savefig(folder / "measures-representations.png", dpi=100)
