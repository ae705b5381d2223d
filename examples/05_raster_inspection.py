"""
Rasters and membrane potentials
===============================

Three views of one layer while the network looks at one digit: its raster with the
population rate, the membrane potentials of two neurons, and the output spikes. Neurons
of one channel have the same kernel at different places, so they are drawn together.

A file to explore with a browser is written too, which needs ``pip install
"cnn2snn-brian[inspector]"``. The regularity of spike trains is computed with Neo and
Elephant, if they are installed.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms

from cnn2snn_brian import Recording, convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_membrane, plot_output_counts, plot_raster

duration = 100 * ms  # how long a digit is shown
n_digits = 10  # test digits that are simulated
digit = 7  # index of the test digit that is drawn
neurons = [(0, 1, 4), (6, 5, 2)]  # (channel, y, x) whose potentials are drawn
seed = 0  # of the Poisson spikes
figure_file, page = "raster.png", "digits.html"

training, test = load_digits()
test = test[:n_digits]
cnn, _ = models.pretrained("digits")
snn = convert(
    cnn, test.input_shape, calibration=training.images, classes=training.classes
)

with snn.compile(duration) as simulator:
    result = simulator.run(
        test.images,
        seed=seed,
        record=Recording(simulator.populations, potentials={"conv1": neurons}),
    )
answer = result.predictions[digit]
print(f"digit {test.labels[digit]}, answer {answer}")
result.inspect(page, test.images, test.labels, snn, test.classes)

try:
    from elephant.statistics import cv, isi
except ImportError:
    print("pip install neo elephant, to see the statistics of spike trains")
else:
    block = result.to_neo([digit], test.labels, ["input", "conv1"])
    for group in block.groups:
        # Irregularity needs some intervals. Poisson trains with p a step: sqrt(1 - p).
        trains = [train for train in group.spiketrains if len(train) > 5]
        mean_cv = np.mean([cv(isi(train)) for train in trains])
        print(f"{group.name}: {len(trains)} trains, mean CV of intervals {mean_cv:.2f}")

fig = plt.figure(figsize=(11, 8), layout="constrained")
left, right = fig.subfigures(1, 2)
plot_raster(result, "conv1", digit, left.subplots(), population_rate=True)
upper, lower = right.subplots(2, 1)
plot_membrane(result, "conv1", digit, upper)
upper.set_xlim(0, 50)  # ms
plot_output_counts(result, digit, lower, test.classes)
fig.savefig(figure_file, dpi=120)
plt.show()
