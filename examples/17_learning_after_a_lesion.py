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
options = {"calibration": training.images, "synapses": {"ip1": "explicit"}}
snn = convert(cnn, test.input_shape, **options)
plastic = snn.plasticity("ip1", RewardSTDP(a_plus=step, baseline=1))
trials = np.random.default_rng(0).permutation(n_rounds * len(training)) % len(training)
images, labels = training.images[trials], training.labels[trials]

with plastic.compile(duration) as simulator:
    fixed = {"plasticity": {"ip1": RewardSTDP(a_plus=0)}}
    results = {
        "before": simulator.run(test.images, **fixed),
        "lesioned": simulator.run(test.images, lesion=lesion, **fixed),
    }
    course = simulator.run(images, labels=labels, lesion=lesion)
    learned = {"lesion": lesion, "weights": course.weights, **fixed}
    results["learned again"] = simulator.run(test.images, **learned)

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
mean = np.convolve(course.predictions == labels, np.ones(window) / window, "valid")
left.plot(np.arange(window, len(trials) + 1), mean, label=f"last {window} trials")
for (name, result), style in zip(results.items(), (":", "--", "-"), strict=True):
    share = result.accuracy(test.labels)
    print(f"{name}: {share:.1%} of {len(test)} test digits")
    left.axhline(share, color="0.4", ls=style, lw=1, label=f"test digits, {name}")
left.set(xlabel="trial", ylabel="accuracy", ylim=(0.5, 1.02))
left.legend(fontsize="small", loc="lower right")
before, after = (run.weights["ip1"].ravel() for run in (results["lesioned"], course))
right.plot(before, after, ".", ms=2)
right.axline((0, 0), slope=1, color="0.4", lw=1)
right.set(xlabel="weight before learning", ylabel="weight after learning")
fig.savefig(figure_file, dpi=120)
plt.show()
