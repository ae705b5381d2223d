"""
Leaky neurons and conductances
==============================

The same CNN with three models of neurons: integrate-and-fire (the paper's), leaky
integrate-and-fire, and leaky with excitatory and inhibitory conductances. A spike opens
a conductance for some milliseconds, and has less effect near the reversal potential:
these neurons need lower thresholds, and answer later. A common factor for all
thresholds is chosen on training digits for each model.

The figure has the spikes of the first convolution for one digit, and the accuracy on
test digits had the simulation ended earlier.
"""

import matplotlib.pyplot as plt
from brian2 import ms

from cnn2snn_brian import IF, LIF, ConductanceLIF, convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_accuracy_over_time, plot_raster
from cnn2snn_brian.train import accuracy

duration = 100 * ms  # how long a digit is shown
neurons = {
    "IF": IF(),
    "LIF": LIF(20 * ms),
    "conductances": ConductanceLIF(20 * ms, tau_e=5 * ms, tau_i=10 * ms),
}
factors = (1.0, 0.75, 0.5)  # of the thresholds that `convert` chose
n_per_class = 10  # digits of each class, to choose a factor and to test
digit = 7  # index of the test digit that is drawn
seed = 0  # of the Poisson spikes
figure_file = "neuron_models.png"

training, test = load_digits()
cnn, _ = models.pretrained("digits")
chosen, shown = training.per_class(n_per_class, seed), test.per_class(n_per_class, seed)

fig = plt.figure(figsize=(11, 7.5), layout="constrained")
axes = fig.subplot_mosaic([list(neurons), ["accuracy"] * len(neurons)])
for name, model in neurons.items():
    snn = convert(cnn, test.input_shape, calibration=training.images, neurons=model)
    with snn.compile(duration) as simulator:
        runs = {}  # accuracy on training digits, and the thresholds
        for factor in factors:
            scaled = {layer: factor * th for layer, th in snn.thresholds.items()}
            result = simulator.run(chosen.images, seed=seed, thresholds=scaled)
            runs[factor] = (result.accuracy(chosen.labels), scaled)
        best = max(factors, key=lambda factor: runs[factor][0])
        result = simulator.run(
            shown.images, seed=seed, record={"conv1": [digit]}, thresholds=runs[best][1]
        )
    scored = f"{name}: {result.accuracy(shown.labels):.1%}"
    print(f"{scored} of {len(shown)} test digits, thresholds times {best}")
    plot_raster(result, "conv1", digit, axes[name])
    axes[name].set_title(f"{name}, thresholds x {best}")
    plot_accuracy_over_time(
        result,
        shown.labels,
        axes["accuracy"],
        label=scored,
        reference=accuracy(cnn, shown) if name == "conductances" else None,
    )
fig.savefig(figure_file, dpi=120)
plt.show()
