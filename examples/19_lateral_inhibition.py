"""
Lateral inhibition and tuning
=============================

Neurons of the first layer of a CNN see gratings, and now they inhibit those of all
other channels at the same place and around it, as cells of visual cortex do. Inhibition
that is the same for all orientations takes a constant from each tuning curve, so that
less of it is above threshold: it gets narrower. Dimmer gratings are the control: fewer
spikes alone don't do that.
"""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import (
    connect_convolution,
    convert,
    difference_of_gaussians,
    models,
    physiology,
)
from cnn2snn_brian.stimuli import static_grating

duration = 200 * ms  # how long a grating is shown
shape = (3, 15, 15)  # of a grating
strengths = (0.01, 0.02, 0.04)  # thresholds that spikes of a whole channel take away
scales = (0.8, 0.6, 0.4)  # of the intensities, in the control
figure_file = "lateral_inhibition.png"

chosen = product(range(0, 180, 15), (1 / 8, 1 / 5), range(0, 360, 90))
gratings = [static_grating(shape, *values) for values in chosen]
angles = [grating.parameters["orientation"] for grating in gratings]
images = np.array([grating.image for grating in gratings])

cnn, _ = models.pretrained("cifar10_quick_adjusted")
snn = convert(cnn[:2], shape, calibration=images, preset="free-floor")
sums = {"centre": 0, "surround": 0, "between_surround": 1}
kernel = difference_of_gaussians(32, 3, surround_sigma=1, **sums)


def inhibition(network):
    """Add the synapses between channels."""
    layers = "conv1", "conv1"
    connect_convolution(network, *layers, kernel, delay=1 * ms, name="lateral")


lateral = snn.extend(inhibition)
weights = lateral.network()["lateral"].w[:] * snn.thresholds["conv1"]
middle = np.ravel_multi_index((range(32), 7, 7), (32, 15, 15))
settings = [{"values": {"lateral.w": x * weights}} for x in (0, *strengths)]
settings += [{"values": {"lateral.w": 0}, "rate_scale": x} for x in scales]
names = ["as it is", *(f"inhibition {x}" for x in strengths)]
names += [f"intensities x {x}" for x in scales]
with lateral.compile(duration) as simulator:
    results = dict(simulator.run_many(gratings, settings))
counts = [physiology.counts(results[k], "conv1") for k in range(len(settings))]
curves = [physiology.tuning(count[..., middle], angles) for count in counts]
spiking = np.all([curve.mean.max(0) > 0 for curve in curves], axis=0)
tuned = spiking & (curves[0].circular_variance < 0.8)
widths = np.array([curve.circular_variance[tuned].mean() for curve in curves])
rates = np.array([curve.mean[:, tuned].mean() for curve in curves]) / float(duration)
for name, rate, width in zip(names, rates, widths, strict=True):
    print(f"{name:16} {rate:5.1f} Hz  circular variance {width:.3f}")
n = len(strengths)
less = curves[n].circular_variance[tuned] < curves[0].circular_variance[tuned]
print(f"inhibition sharpens {less.sum()} of {len(less)} channels")

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
order = np.argmax(curves[0].mean[:, tuned], axis=0) + np.arange(-6, 7)[:, None]
for k in (0, len(curves) - 1, n):  # tuning curves around the best orientation
    around = curves[k].mean[:, tuned][order % 12, np.arange(tuned.sum())]
    axes[0].plot(range(-90, 105, 15), (around / around.max(0)).mean(1), label=names[k])
axes[0].set(xlabel="from the best orientation (degrees)", ylabel="share of the largest")
for label, start in (("inhibition", 1), ("dimmer", n + 1)):
    k = [0, *range(start, start + n)]
    axes[1].plot(rates[k], widths[k], "o-", label=label)
axes[1].set(xlabel="mean rate (Hz)", ylabel="circular variance", xlim=0)
for ax in axes:
    ax.legend()
fig.savefig(figure_file, dpi=120)
plt.show()
