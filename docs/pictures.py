"""
Draw the pictures of the README: ``python docs/pictures.py``.

One of scikit-learn's digits, in the CNN that comes with the package.
"""

from pathlib import Path

import matplotlib.pyplot as plt
from brian2 import ms

from cnn2snn_brian import convert, models, plots
from cnn2snn_brian.data import load_digits

digit = 7  # index of the test digit
folder = Path(__file__).parent / "images"

training, test = load_digits()
cnn, _ = models.pretrained("digits")
snn = convert(cnn, test.input_shape, calibration=training.images)
pictures = test.images[digit : digit + 1]
with snn.compile(100 * ms) as simulator:
    result = simulator.run(pictures, record=["input", "conv1", "ip1"])

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
plots.plot_raster(result, "conv1", 0, axes[0])
plots.plot_output_counts(result, 0, axes[1], classes=test.classes)
axes[1].set(title="output spikes of each class")
fig.savefig(folder / "raster.png", dpi=110)

fig, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
for pair, layer in ((axes[:2], "conv1"), (axes[2:], "conv2")):
    plots.plot_feature_maps(result, snn.layers, layer, 0, pair, images=pictures)
fig.savefig(folder / "feature-maps.png", dpi=110)
