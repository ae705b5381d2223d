"""
A Dask cluster
==============

The same run with the processes of a Dask cluster. Here they are two on this machine;
with ``dask-jobqueue`` they are jobs of a computing centre, and nothing else changes.
Each worker compiles the program for its own processor once. The spikes are the same as
without the cluster, because an image's random numbers follow from the seed and its
index alone.

Workers are new processes that import this script. So what starts them is inside
``main``, behind ``if __name__``. Dask comes with
``pip install "cnn2snn-brian[cluster]"``.
"""

import matplotlib.pyplot as plt
import numpy as np
from brian2 import ms
from dask.distributed import Client, LocalCluster
from sklearn.metrics import confusion_matrix

from cnn2snn_brian import convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.plots import plot_accuracy_over_time, plot_confusion
from cnn2snn_brian.train import accuracy

duration = 100 * ms  # how long a digit is shown
n_workers = 2
shard_size = 100  # digits that a worker gets at a time
seed = 0  # of the Poisson spikes
figure_file = "cluster.png"


def main():
    """Show all test digits on the cluster, and here."""
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(cnn, test.input_shape, calibration=training.images)

    with snn.compile(duration) as simulator:
        here = simulator.run(test.images, seed=seed)
        with (
            LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=":0"
            ) as cluster,
            Client(cluster) as client,
        ):
            there = simulator.run(
                test.images,
                seed=seed,
                executor=client.get_executor(),
                shard_size=shard_size,
            )

    same = all(
        np.array_equal(here.spike_counts[layer], there.spike_counts[layer])
        for layer in here.spike_counts
    )
    print(f"all spike counts are the same: {same}")
    print(f"accuracy {there.accuracy(test.labels):.1%} of {len(test)} test digits")

    fig, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    matrix = confusion_matrix(test.labels, there.predictions)
    plot_confusion(matrix, axes[0], classes=test.classes)
    plot_accuracy_over_time(
        there, test.labels, axes[1], label="SNN", reference=accuracy(cnn, test)
    )
    fig.savefig(figure_file, dpi=120)
    plt.show()


if __name__ == "__main__":
    main()
