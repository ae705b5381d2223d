"""
Set the thresholds
==================

Thresholds from simulations of training digits, by three methods: the paper's listing,
which raises one threshold at a time and looks at the output (*feedback*), the paper's
text, a binary search for each layer (*bisection*), and an evolution strategy
(*search*). The table has the thresholds of each neuron group, like Table I of Shang, Li
and You, *An SNN Construction Method Based on CNN Conversion and Threshold Setting*. The
figure has the accuracy on test digits before and after, like their Fig. 5.

Before is what ``convert`` takes from the CNN's activations. The duration is short, so
that there is something to gain. The listing makes the share of the right output spikes
larger, which is not the same as the accuracy.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from brian2 import ms

from cnn2snn_brian import convert, models, tune_thresholds
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_class_accuracies

duration = 12 * ms  # how long a digit is shown
n_per_class = 10  # training digits of each class
methods = {  # and their arguments; the listing's step is not in the paper
    "feedback": {"step": 0.2},
    "bisection": {},
    "search": {"budget": 60},
}
seed = 0
figure_file = "threshold_setting.png"

training, test = load_digits()
digits = training.per_class(n_per_class, seed)
cnn, _ = models.pretrained("digits")
snn = convert(cnn, test.input_shape, calibration=training.images)

thresholds, by_class = {"before": snn.thresholds}, {}
with snn.compile(duration) as simulator:
    results = {"before": simulator.run(test.images, seed=seed)}
    for method, arguments in methods.items():
        found = tune_thresholds(
            simulator,
            digits.images,
            digits.labels,
            method=method,
            accept="always",  # show what is found, be it better or not
            seed=seed,
            **arguments,
        )
        thresholds[method] = found.thresholds
        results[method] = simulator.run(test.images, seed=seed, **found.arguments)
print(pd.DataFrame(thresholds).round(3))
for name, result in results.items():
    print(f"{name}: {result.accuracy(test.labels):.1%} of {len(test)} test digits")
    right = result.predictions == test.labels
    by_class[name] = [right[test.labels == k].mean() for k in np.unique(test.labels)]

fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
plot_class_accuracies(by_class, ax, classes=test.classes)
ax.set_xlabel("digit")
fig.savefig(figure_file, dpi=120)
plt.show()
