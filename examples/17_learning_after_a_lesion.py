"""
Learning after a lesion
=======================

Most neurons of the second convolution are silenced. The readout behind it then learns
again from nothing but a reward at the end of each trial: 1 if the output neuron with
most spikes is that of the digit, else -1. The rule is reward-modulated STDP: pairs of
spikes make a synapse eligible, and the reward decides what comes of it. With a baseline
of 1 only errors change weights. Test digits are shown without learning, from the same
program: a step of 0 is a value of the rule.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import Lesion, RewardSTDP, convert, models
from cnn2snn_brian.data import load_digits

duration = 50 * ms  # of a trial
lesion = Lesion("conv2", fraction=0.8, seed=1)
step = 1e-3  # what a pair of spikes adds to the eligibility
n_rounds = 2  # through the training digits
window = 200  # trials that the course of learning is averaged over
figure_file = "learning_after_a_lesion.png"

training, test = load_digits()
cnn, _ = models.pretrained("digits")
snn = convert(
    cnn,
    test.input_shape,
    calibration=training.images,
    synapses={"ip1": "explicit"},  # each synapse learns on its own
)
plastic = snn.plasticity("ip1", RewardSTDP(a_plus=step, baseline=1))
trials = np.random.default_rng(0).permutation(
    np.tile(np.arange(len(training)), n_rounds)
)

with plastic.compile(duration) as simulator:
    fixed = {"plasticity": {"ip1": RewardSTDP(a_plus=0)}}
    whole = simulator.run(test.images, **fixed)
    lesioned = simulator.run(test.images, lesion=lesion, **fixed)
    labels = training.labels[trials]
    course = simulator.run(training.images[trials], labels=labels, lesion=lesion)
    learned = simulator.run(test.images, lesion=lesion, weights=course.weights, **fixed)
results = {"before": whole, "lesioned": lesioned, "learned again": learned}
accuracies = {name: result.accuracy(test.labels) for name, result in results.items()}
for name, share in accuracies.items():
    print(f"{name}: {share:.1%} of {len(test)} test digits")

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
is_right = course.predictions == labels
left.plot(
    np.arange(window, len(trials) + 1),
    np.convolve(is_right, np.ones(window) / window, "valid"),
    label=f"training digits, last {window} trials",
)
for (name, share), style in zip(accuracies.items(), (":", "--", "-"), strict=True):
    left.axhline(share, color="0.4", ls=style, lw=1, label=f"test digits, {name}")
left.set(xlabel="trial", ylabel="accuracy", ylim=(0.5, 1.02))
left.legend(fontsize="small", loc="lower right")
right.plot(lesioned.weights["ip1"].ravel(), course.weights["ip1"].ravel(), ".", ms=2)
right.axline((0, 0), slope=1, color="0.4", lw=1)
right.set(xlabel="weight before learning", ylabel="weight after learning")
fig.savefig(figure_file, dpi=120)
plt.show()
