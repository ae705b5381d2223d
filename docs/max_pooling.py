"""
Draw the error of maximum pooling by a gate: ``python docs/max_pooling.py``.

A small CNN with maximum pooling is trained on scikit-learn's digits, which takes some
seconds. Its pooled activations are compared with what the gate passes.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms
from torch import nn

from cnn2snn_brian import convert
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.train import TrainingSettings, accuracy, train

DURATIONS = (4, 8, 16, 32, 64, 128)
PRESETS = {"few-steps": "currents", "paper": "Poisson"}
RULES = {"gate": "o-", "largest-count": "s--"}

training, test = load_digits()
cnn = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(32 * 2 * 2, 10),
)
train(cnn, training, TrainingSettings(epochs=10, learning_rate=0.05, batch_size=64))
share = accuracy(cnn, test)
print(f"CNN: {share:.1%} of {len(test)} test images")

fig, (errors, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for colour, preset in enumerate(PRESETS):
    for rule, style in RULES.items():
        snn = convert(
            cnn,
            test.input_shape,
            calibration=training.images,
            preset=preset,
            max_pooling=rule,
        )
        pooled = snn.layers.activations(test.images / 255)["pool1"]
        # What a spike of each channel of conv1, and so of pool1, stands for.
        worth = np.broadcast_to(snn.thresholds["conv1"], 16)[:, None, None]
        error, correct = [], []
        for duration in DURATIONS:
            with snn.compile(duration * ms) as simulator:
                result = simulator.run(test.images, seed=1)
            rates = result.spike_counts["pool1"] * worth / duration
            error.append(100 * np.abs(rates - pooled).mean() / pooled.mean())
            correct.append(100 * result.accuracy(test.labels))
            print(
                f"{preset} {rule} T = {duration}: error {error[-1]:.1f} % "
                f"({100 * (rates - pooled).mean() / pooled.mean():+.1f} %), "
                f"correct {correct[-1]:.1f} %"
            )
        label = f"{PRESETS[preset]}, {rule}"
        errors.plot(DURATIONS, error, style, color=f"C{colour}", label=label)
        right.plot(DURATIONS, correct, style, color=f"C{colour}", label=label)
right.axhline(100 * share, color="black", lw=1, label="CNN")
errors.set(ylabel="mean error of pool1 (% of its mean)", ylim=(0, 60))
right.set(ylabel="correct (%)", ylim=(70, 100))
for ax in (errors, right):
    ax.set(xlabel="steps", xscale="log", xticks=DURATIONS, xticklabels=DURATIONS)
    ax.minorticks_off()
right.legend(fontsize="small")
fig.savefig(Path(__file__).parent / "images" / "max-pooling.png", dpi=100)
