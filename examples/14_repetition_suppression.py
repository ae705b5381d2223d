"""
Repetition suppression
======================

A digit is shown twice, or behind another digit. Neurons that tire, `AdaptiveIF`, answer
less to what they have just seen (Vinken, Boix and Kreiman 2020,
doi:10.1126/sciadv.abd4205): each spike raises its neuron's threshold for a while. How
many fewer spikes does the second image cause if it is a repetition? Neurons without
adaptation (`IF`) show what else remains of the first image: their potentials only.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import IF, AdaptiveIF, Sequence, convert, models
from cnn2snn_brian.data import load_digits

on, off = 100 * ms, 50 * ms  # of each image, and of the dark screen behind it
neurons = {"AdaptiveIF": AdaptiveIF(tau_a=200 * ms, step=0.1), "IF": IF()}
n_per_class = 3  # digits of each class
repeats = 4  # trials of each pair
bin_width = 10 * ms
figure_file = "repetition_suppression.png"

training, test = load_digits()
digits = test.per_class(n_per_class, seed=0)
cnn, _ = models.pretrained("digits")
# The digit before is of another class: digits are sorted by class.
before = np.roll(digits.images, -n_per_class, axis=0)
pairs = [(image, image) for image in digits.images]
pairs += list(zip(before, digits.images, strict=True))
stimuli = [Sequence(np.stack(pair), on, off, background=0) for pair in pairs]

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for index, (name, model) in enumerate(neurons.items()):
    snn = convert(cnn, test.input_shape, calibration=training.images, neurons=model)
    layers = snn.layer_names
    with snn.compile(2 * (on + off)) as simulator:
        result = simulator.run(stimuli, repeats=repeats, record=layers)
    suppression = []
    for layer in layers:
        rates = result.psth(layer, bin_width)
        rates = rates.reshape(2, len(digits), rates.shape[1], -1).mean((1, 3))
        second = slice(round((on + off) / bin_width), round((2 * on + off) / bin_width))
        repeated, other = rates[:, second].mean(1)
        suppression.append(1 - repeated / other)
        print(f"{name} {layer}: {suppression[-1]:.1%} fewer spikes for a repetition")
        if name == "AdaptiveIF" and layer == "conv2":
            time = bin_width / ms * (np.arange(rates.shape[1]) + 0.5)
            for course, label in zip(rates, ("repeated", "other digit"), strict=True):
                left.plot(time, course, label=f"{layer}, {label}")
    right.bar(np.arange(len(layers)) + 0.4 * index, suppression, 0.4, label=name)
left.set(xlabel="time (ms)", ylabel="mean rate (Hz)", ylim=(0, None))
right.set(ylabel="fewer spikes for a repetition (share)")
right.set_xticks(np.arange(len(layers)) + 0.2, layers)
for ax in (left, right):
    ax.legend(fontsize="small")
fig.savefig(figure_file, dpi=120)
plt.show()
