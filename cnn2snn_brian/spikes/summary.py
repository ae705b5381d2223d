"""What ``print(result)`` shows: what was run, on what, and what is left open."""

from typing import Any

from cnn2snn_brian.description.choices import shown_kind
from cnn2snn_brian.description.settings import shown

__all__ = ["summary"]

#: Of more classes, only so many are named.
MAX_CLASSES = 10


def _of_the_network(result: Any) -> list[str]:
    """Say what was simulated."""
    kinds = shown_kind(result.network["synapses"])
    chosen = {**result.network, "synapses": kinds}
    choices = ("encoding", "reset", "synapses", "dtype")
    lines = [
        ", ".join(f"{what} {chosen[what]}" for what in choices),
        f"layers: {', '.join(result.parameters.thresholds)}, "
        f"hash of their weights {result.network['layers'][:8]}",
    ]
    delays = result.network["delays_s"]
    if delays:
        listed = ", ".join(f"{k} {1e3 * v:g} ms" for k, v in delays.items())
        lines.append(f"delays: {listed}")
    classes = result.network["classes"]
    if classes is not None:
        more = (
            f" and {len(classes) - MAX_CLASSES} more"
            if len(classes) > MAX_CLASSES
            else ""
        )
        lines.append(f"classes: {', '.join(classes[:MAX_CLASSES])}{more}")
    return lines


def summary(result: Any) -> str:
    """
    Describe a result to people.

    Parameters
    ----------
    result : SpikeData
        The result.

    Returns
    -------
    str
        Its size, its ties, the network, all settings of the run, and versions.
    """
    rows = f"{result.n_images} images, {result.n_steps} steps"
    if result.trials is not None:
        n, longest = result.trials.n_stimuli, result.n_steps
        same = len(set(result.trials.n_steps)) == 1
        rows = (
            f"{n} stimul{'i' if n > 1 else 'us'}, {result.n_repeats} trials of each, "
        )
        rows += f"{longest} steps" if same else f"at most {longest} steps"
    lines = [
        f"{rows} of {1e3 * result.dt_s:g} ms, seed {result.seed}",
        f"{result.n_events:,} synaptic events, {result.timings.get('run', 0):.2f} s",
        f"{int(result.ties.sum())} ties for the most output spikes, of these "
        f"{int(result.silent.sum())} without any output spike",
    ]
    if result.network:
        lines += _of_the_network(result)
    holders = (result.parameters, result.perturbations)
    lines += shown(*(holder for holder in holders if holder is not None))
    if result.perturbations is None:
        lines.append("saved by version 0.1.0, which kept no lesions and no noise")
    versions = ", ".join(f"{k} {v}" for k, v in result.versions.items())
    lines.append(f"versions: {versions}")
    if result.program:
        lines.append(
            f"compiled: {result.program['compiler']} {result.program['flags']}"
        )
    return "\n".join(lines)
