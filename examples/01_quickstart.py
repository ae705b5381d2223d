"""
Quickstart
==========

From a trained CNN to spikes. The small CNN that comes with the package has learned
scikit-learn's 8x8 digits. It is converted to integrate-and-fire neurons and compiled
once; all test digits are then shown to it as Poisson spikes. The figure has the spikes
of the first convolution while the network looks at one digit.

The method is that of Shang, Li and You, *An SNN Construction Method Based on CNN
Conversion and Threshold Setting*.
"""

import matplotlib.pyplot as plt
from brian2 import ms

from cnn2snn_brian import convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_raster
from cnn2snn_brian.train import accuracy

duration = 100 * ms  # how long a digit is shown
dt = 1 * ms  # time step
rate_scale = 1.0  # spikes per step of the brightest pixel
percentile = 100  # activation that counts as the largest of its layer
seed = 0  # of the Poisson spikes
digit = 7  # index of the test digit that is drawn
figure_file = "conv1.png"

training, test = load_digits()
cnn, _ = models.pretrained("digits")
snn = convert(
    cnn,
    test.input_shape,
    calibration=training.images,
    percentile=percentile,
    rate_scale=rate_scale,
    dt=dt,
)
print(snn)

with snn.compile(duration) as simulator:
    result = simulator.run(test.images, seed=seed, record={"conv1": [digit]})
print(result)
print(f"CNN {accuracy(cnn, test):.1%}, SNN {result.accuracy(test.labels):.1%}")

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
plot_raster(result, "conv1", digit, ax)
label, answer = test.classes[test.labels[digit]], result.predictions[digit]
fig.suptitle(f"A digit {label}; the SNN says {answer}")
fig.savefig(figure_file, dpi=120)
plt.show()
