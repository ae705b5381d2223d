"""
Noise and failing synapses
==========================

Synapses of the brain often fail to transmit a spike, and their strengths are not exact.
On the left each synapse draws for each spike whether it transmits it. Thresholds that
are lowered by the same factor make up for the mean of the lost input, but not for its
noise: only where few spikes would be left at all does that help. On the right each
weight is multiplied by a normal number of mean 1, once for all digits.

The bars are 95 % intervals of the mean over seeds.
"""

import matplotlib.pyplot as plt
from brian2 import ms

from cnn2snn_brian import convert, models, summary, sweep
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_sweep

duration = 100 * ms  # how long a digit is shown
n_per_class = 5  # test digits of each class
probabilities = (0.1, 0.2, 0.4, 0.8)  # that a synapse transmits a spike
noise = (0.0, 0.25, 0.5, 1.0)  # standard deviation, as a share of the weight
seeds = range(4)
figure_file = "noise.png"

training, test = load_digits()
digits = test.per_class(n_per_class, seed=0)
cnn, _ = models.pretrained("digits")
snn = convert(cnn, digits.input_shape, calibration=training.images)
thresholds = snn.thresholds


def failing(release_probability, compensated):
    """Make a network whose synapses fail."""
    scale = release_probability if compensated else 1.0
    return convert(
        cnn,
        digits.input_shape,
        thresholds={name: th * scale for name, th in thresholds.items()},
        release_probability=release_probability,
    )


given = (digits.images, digits.labels)
release = sweep(
    failing,
    *given,
    {
        "release_probability": probabilities,
        "compensated": {"as they are": False, "times the probability": True},
    },
    seeds=seeds,
    duration=duration,
)
noisy = sweep(snn, *given, {"kernel_noise": noise}, seeds=seeds, duration=duration)
print(summary(release).round(3), summary(noisy).round(3), sep="\n")

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
plot_sweep(release, "release_probability", hue="compensated", ax=axes[0])
axes[0].legend(title="thresholds", fontsize="small")
plot_sweep(noisy, "kernel_noise", ax=axes[1])
axes[1].set(xlabel="standard deviation of a weight / its size", ylim=(0, 1.03))
fig.savefig(figure_file, dpi=120)
plt.show()
