"""
Speed and accuracy with a bound
===============================

An image need not be shown for a fixed time: output spikes add up, and the first class
that leads by a bound is the choice. Low bounds make choices quick and less often
right, high ones slow, as in people who are told to hurry or to be careful. For two
classes it is a random walk between two bounds (Bogacz et al. 2006,
doi:10.1037/0033-295X.113.4.700).

What a higher bound gains is noise that averages out. Poisson input alone is hardly any
for ten digits that look so different, so output neurons have membrane noise here. The
mistakes of the network itself remain, whatever the bound.
"""

import matplotlib.pyplot as plt
from brian2 import ms

from cnn2snn_brian import IF, convert, models, physiology
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_reaction_times, plot_speed_accuracy

duration = 200 * ms  # after which a choice is forced
noise = (0.01, 0.3, 0.5)  # share of the threshold that noise makes within 1 ms
bounds = (1, 2, 3, 4, 6, 8)  # output spikes that the first class leads by
shown = (2, 6)  # bounds whose reaction times are drawn
seed = 0  # of the noise and of the Poisson spikes
figure_file = "speed_and_accuracy.png"

training, test = load_digits()
cnn, _ = models.pretrained("digits")
noisy = [{"ip1": IF(sigma=sigma)} for sigma in noise]
snn = convert(cnn, test.input_shape, calibration=training.images, neurons=noisy[0])
with snn.compile(duration) as simulator:
    settings = [{"neurons": neurons} for neurons in noisy]
    runs = [run for _, run in simulator.run_many(test.images, settings, seed=seed)]

fig, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
for sigma, result in zip(noise, runs, strict=True):
    plot_speed_accuracy(result, test.labels, axes[0], bounds=bounds, rule="margin")
    axes[0].get_lines()[-1].set_label(f"noise {sigma:g}")
    for bound in bounds:
        choices = physiology.decide(result, bound, rule="margin")
        time = 1e3 * choices.reaction_time_s.mean()
        right = 100 * choices.accuracy(test.labels)
        print(f"noise {sigma:g}, bound {bound}: {time:5.1f} ms, {right:.1f}% right")
axes[0].legend(loc="lower right")
for ax, bound in zip(axes[1:], shown, strict=True):
    choices = physiology.decide(runs[-1], bound, rule="margin")
    plot_reaction_times(choices, test.labels, ax)
    ax.set_title(f"noise {noise[-1]:g}, {ax.get_title()}")
fig.savefig(figure_file, dpi=120)
plt.show()
