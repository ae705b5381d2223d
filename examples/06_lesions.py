"""
Lesions
=======

How much of a layer can be silenced until digits are no longer recognised? A growing
fraction of one layer's neurons, chosen at random, never spikes. Each seed is another
choice of neurons and other input spikes. The bars are 95 % intervals of the mean over
seeds.

A layer that represents a digit by many neurons loses accuracy late.
"""

import matplotlib.pyplot as plt
import pandas as pd
from brian2 import ms

from cnn2snn_brian import Lesion, convert, models, summary, sweep
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_sweep

duration = 100 * ms  # how long a digit is shown
n_per_class = 5  # test digits of each class
layers = ("input", "conv1", "conv2")  # that are lesioned, one at a time
fractions = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)  # of the neurons of the layer
seeds = range(5)
figure_file = "lesions.png"

training, test = load_digits()
digits = test.per_class(n_per_class, seed=0)
cnn, _ = models.pretrained("digits")
snn = convert(cnn, digits.input_shape, calibration=training.images)

tables = []
for layer in layers:
    lesions = {share: Lesion(layer, fraction=share) for share in fractions}
    table = sweep(
        snn,
        digits.images,
        digits.labels,
        {"lesion": lesions},
        seeds=seeds,
        duration=duration,
    )
    tables.append(table.assign(layer=layer))
table = pd.concat(tables, ignore_index=True)
print(summary(table).round(3))

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
plot_sweep(table, "lesion", hue="layer", ax=ax)
ax.axhline(0.1, color="0.5", ls=":", lw=1)
ax.text(0, 0.11, "chance", color="0.4", fontsize="small")
ax.set(xlabel="fraction of the layer's neurons that is silenced", ylim=(0, 1.03))
fig.savefig(figure_file, dpi=120)
plt.show()
