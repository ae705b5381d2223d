"""
Feedback that fills in
======================

The lower rows of a digit are hidden. Synapses back from the second convolution to the
first are to fill in the spikes that are missing there: their weights are a least
squares fit, in training digits. The feedback does fill in, and more digits are
recognised, but not as many as if nothing is hidden. Wrong is feedback with the same
weights from other neurons, a control.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import DenseSynapses, convert, models
from cnn2snn_brian.data import load_digits

duration = 100 * ms  # how long a digit is shown
n_training, n_per_class = 800, 20  # digits for the fit, test digits of each class
first_hidden = 5  # of the 8 rows
strengths = (0.0, 0.5, 1.0, 1.5)  # of the feedback, in what the fit says
figure_file = "filling_in.png"


def feedback(network):
    """Add synapses back, without weights yet."""
    ends, none = (network["conv2"], network["conv1"]), np.zeros((1024, 512))
    network.add(DenseSynapses(*ends, none, delay=1 * ms, name="back"))


def hidden(images):
    """Hide the lower rows."""
    return np.where(np.arange(8)[:, None] < first_hidden, images, 0)


def in_order(counts):
    """Order counts as neurons are: channels last."""
    return np.moveaxis(counts, 1, -1).reshape(len(counts), -1).astype(float)


training, test = load_digits()
digits = test.per_class(n_per_class, seed=0)
cnn, _ = models.pretrained("digits")
snn = convert(cnn, digits.input_shape, calibration=training.images).extend(feedback)
images = training.images[:n_training]
with snn.compile(duration) as simulator:
    whole = simulator.run(images).spike_counts
    part = simulator.run(hidden(images)).spike_counts
    seen = in_order(part["conv2"])
    missing = in_order(whole["conv1"]) - in_order(part["conv1"])
    squares = seen.T @ seen + 3e4 * np.eye(512)  # large weights cost
    w = np.linalg.solve(squares, seen.T @ missing) * snn.thresholds["conv1"]
    w[:, : 16 * 8 * (first_hidden - 1)] = 0  # to neurons that see no hidden row
    wrong = np.random.default_rng(0).permutation(w)
    feedbacks = [*(x * w for x in strengths), *(x * wrong for x in strengths[1:])]
    settings = [{"values": {"back.w": weights.ravel()}} for weights in feedbacks]
    results = dict(simulator.run_many(hidden(digits.images), settings))
    expected = simulator.run(digits.images)
print(f"of whole digits {expected.accuracy(digits.labels):.1%} right, of hidden ones:")

n, true = len(strengths), expected.spike_counts["conv1"]
below = np.s_[:, :, first_hidden + 1 :]  # neurons that see hidden rows only
right = [result.accuracy(digits.labels) for _, result in sorted(results.items())]
for k, x in enumerate((*strengths, *strengths[1:])):
    found = results[k].spike_counts["conv1"][below].ravel()
    r = np.corrcoef(found, true[below].ravel())[0, 1] if found.any() else 0
    print(f"{x} {'feedback' if k < n else 'wrong'}: r = {r:.2f}, {right[k]:.1%} right")

fig = plt.figure(figsize=(11, 4), layout="constrained")
left, part = fig.subfigures(1, 2, width_ratios=(3, 2))
shown = {"whole": expected, "hidden": results[0], "feedback": results[n - 1]}
axes = left.subplots(3, 6, subplot_kw={"xticks": [], "yticks": []})
for row, (name, result) in zip(axes, shown.items(), strict=True):
    row[0].set_ylabel(name)
    for k, place in enumerate(row):
        place.imshow(result.spike_counts["conv1"][k * n_per_class].sum(0), cmap="gray")
left.suptitle("spikes of the first convolution, all channels")
ax = part.subplots()
ax.plot(strengths, right[:n], "o-", label="feedback")
ax.plot(strengths, [right[0], *right[n:]], "o-", label="from wrong neurons")
ax.set(xlabel="strength", ylabel="digits recognised", ylim=(0, 1))
ax.legend()
fig.savefig(figure_file, dpi=120)
plt.show()
