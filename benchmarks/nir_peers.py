"""
The same NIR graph and the same input spikes in other simulators.

Each peer has an environment of its own, since they pin different versions of nir. By
hand, with the interpreters of these environments::

    python -m benchmarks.nir_peers make FOLDER
    SINABS/bin/python benchmarks/nir_peers.py run sinabs FOLDER
    SNNTORCH/bin/python benchmarks/nir_peers.py run snntorch FOLDER
    NORSE/bin/python benchmarks/nir_peers.py run norse FOLDER
    python -m benchmarks.nir_peers table FOLDER

``make`` needs this package, ``run`` only nir, torch and the peer.
"""

import json
import shutil
import sys
from pathlib import Path

import nir
import numpy as np

N_STEPS = 40
GRAPHS = ("digits", "residual")

#: How our neurons have to be set to do what the nodes of a peer do.
VARIANTS = {
    "norse": {"reset": "zero"},
    "sinabs": {"reset": "subtract", "strict": False, "v_min": "-threshold"},
    "snntorch": {"reset": "subtract", "leaky": 0.9},
}


def residual():
    """Make a small CNN with a sum, a concatenation and average pooling."""
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
            self.conv3 = nn.Conv2d(8, 4, 3, padding=1, bias=False)
            self.line = nn.Linear(12 * 4 * 4, 10, bias=False)

        def forward(self, x):
            one = self.conv1(x).relu()
            two = (self.conv2(one) + one).relu()
            both = torch.cat([two, self.conv3(two).relu()], 1)
            return self.line(nn.functional.avg_pool2d(both, 2).flatten(1))

    torch.manual_seed(0)
    return Residual().eval()


def make(folder):
    """Write graphs and input spikes, and what this package makes of them."""
    import warnings

    import brian2
    from brian2 import SpikeMonitor, ms

    from cnn2snn_brian import LIF, convert, from_nir, models
    from cnn2snn_brian.data import load_digits

    brian2.prefs.codegen.target = "numpy"
    warnings.simplefilter("ignore")
    train, test = load_digits()
    cnns = {"digits": models.pretrained("digits")[0], "residual": residual()}
    for name, cnn in cnns.items():
        snn = convert(
            cnn,
            (1, 8, 8),
            calibration=train.images[:100],
            pooling="synapses",
            propagation="instant",
            v_min=-np.inf,
        )
        graph = snn.to_nir(metadata=False)
        for node in graph.nodes.values():
            if hasattr(node, "weight"):
                # Sums of these are exact, in any order.
                node.weight = np.round(node.weight * 2**10) / np.float32(2**10)
        nir.write(folder / f"{name}.nir", graph)
        without_resets(folder / f"{name}.nir", folder / f"{name}_sinabs.nir")
        for peer, settings in VARIANTS.items():
            options = {k: v for k, v in settings.items() if k in ("reset", "strict")}
            ours = from_nir(graph, **options)
            if settings.get("v_min") == "-threshold":
                floors = {k: -v for k, v in ours.thresholds.items()}
                ours = from_nir(graph, v_min=floors, **options)
            if "leaky" in settings:
                ours.neurons = LIF(tau=-1 * ms / np.log(settings["leaky"]))
            brian2.seed(7)
            network = ours.network(test.images[0])
            monitors = {k: SpikeMonitor(network[k]) for k in ours.population_shapes}
            network.add(*monitors.values())
            network.run(N_STEPS * ms, namespace={})
            counts = {k: int(monitor.num_spikes) for k, monitor in monitors.items()}
            spikes = np.zeros((N_STEPS, 64), np.float32)
            monitor = monitors["input"]
            spikes[np.rint(monitor.t / ms).astype(int), monitor.i] = 1
            spikes = spikes.reshape(N_STEPS, 1, 8, 8)
            path = folder / f"{name}_input.npy"
            if path.exists():
                # The same input for all.
                np.testing.assert_array_equal(np.load(path), spikes)
            np.save(path, spikes)
            write(folder, name, f"ours as {peer}", counts)


def without_resets(path, old):
    """Write a file as before version 1.0.5 of nir, which sinabs pins: no v_reset."""
    import h5py

    shutil.copy(path, old)
    with h5py.File(old, "r+") as file:
        for node in file["node/nodes"].values():
            if "v_reset" in node:
                del node["v_reset"]


def write(folder, name, who, counts):
    """Keep the counts of one run."""
    (folder / f"{name} {who}.json").write_text(json.dumps(counts))


def hooked(modules, counts):
    """Count what each module with neurons gives."""
    for name, module in modules:
        if name in counts:

            def count(module, given, made, name=name):
                spikes = made[0] if isinstance(made, tuple) else made
                counts[name] += float(spikes.sum())

            module.register_forward_hook(count)


def run_sinabs(graph, spikes, names):
    """
    Run in sinabs, all steps at once: as it reads IF, and with one spike a step.

    Batch and time share an axis.
    """
    import sinabs.layers as layers
    import torch
    from sinabs.activation import SingleSpike
    from sinabs.nir import from_nir

    found = {}
    for who, spike in (("sinabs", None), ("sinabs, one spike a step", SingleSpike)):
        network = from_nir(graph, batch_size=1)
        counts = dict.fromkeys(names, 0.0)
        hooked(network.named_modules(), counts)
        for module in network.modules():
            if isinstance(module, layers.IAFSqueeze):
                for what in ("spike_threshold", "min_v_mem"):
                    value = torch.as_tensor(getattr(module, what))
                    setattr(module, what, value)
                if spike is not None:
                    module.spike_fn = spike
        with torch.no_grad():
            network(torch.tensor(spikes))
        found[who] = counts
    return found


def run_snntorch(graph, spikes, names):
    """
    Run in snnTorch, step by step.

    Neurons that it makes of IF nodes give a tuple, which no layer can take; with
    ``init_hidden`` they give their spikes.
    """
    import torch
    from snntorch import Leaky
    from snntorch.import_nir import import_from_nir

    network = import_from_nir(graph)
    for module in network.modules():
        if isinstance(module, Leaky):
            module.init_hidden = True
    counts = dict.fromkeys(names, 0.0)
    hooked(network.named_modules(), counts)
    state = None
    with torch.no_grad():
        for x in spikes:
            _, state = network(torch.tensor(x[None]), state)
    return {"snntorch": counts}


def run_norse(graph, spikes, names):
    """Run in norse, step by step."""
    import torch
    from norse.torch import from_nir

    network = from_nir(graph)
    counts = dict.fromkeys(names, 0.0)
    hooked(network.named_modules(), counts)
    state = None
    with torch.no_grad():
        for x in spikes:
            _, state = network(torch.tensor(x[None]), state)
    return {"norse": counts}


def run(peer, folder):
    """Run all graphs in the simulator of this environment."""
    runner = {
        "sinabs": run_sinabs,
        "snntorch": run_snntorch,
        "norse": run_norse,
    }[peer]
    for name in GRAPHS:
        path = folder / f"{name}.nir"
        graph = nir.read(folder / f"{name}_sinabs.nir" if peer == "sinabs" else path)
        spikes = np.load(folder / f"{name}_input.npy")
        names = [k for k, node in graph.nodes.items() if isinstance(node, nir.IF)]
        for who, counts in runner(graph, spikes, names).items():
            write(folder, name, who, counts)


def table(folder):
    """Print all counts side by side, as Markdown."""
    for name in GRAPHS:
        found = {
            path.stem.partition(" ")[2]: json.loads(path.read_text())
            for path in sorted(folder.glob(f"{name} *.json"))
        }
        layers = list(next(iter(found.values())))
        print(f"\n{name}: spikes in {N_STEPS} steps\n")
        print(f"| | {' | '.join(layers)} |")
        print(f"| --- |{' --- |' * len(layers)}")
        for who, counts in found.items():
            cells = (f"{counts[k]:.0f}" if k in counts else "" for k in layers)
            print(f"| {who} | {' | '.join(cells)} |")


if __name__ == "__main__":
    task, *rest = sys.argv[1:]
    where = Path(rest[-1])
    where.mkdir(parents=True, exist_ok=True)
    if task == "run":
        run(rest[0], where)
    else:
        {"make": make, "table": table}[task](where)
