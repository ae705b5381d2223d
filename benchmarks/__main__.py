"""Command line: ``python -m benchmarks``."""

import argparse
import json
import sys
import traceback
from functools import partial
from pathlib import Path

from benchmarks.architectures import architectures, imagenet_size
from benchmarks.build import build, compile_times
from benchmarks.deep_nets import deep_nets, imagenet_nets
from benchmarks.equal_accuracy import equal_accuracy
from benchmarks.exports import exports
from benchmarks.layers import layers
from benchmarks.machine import load, machine
from benchmarks.memory import memory
from benchmarks.networks import Options
from benchmarks.own_model import own_model
from benchmarks.scaling import scaling
from benchmarks.simulators import few_steps, simulators
from benchmarks.synapses import synapses
from benchmarks.timm_families import timm_families
from benchmarks.trained_networks import trained_networks
from benchmarks.trials import long_runs, same_as_brian, trials
from benchmarks.tuning import tuning
from benchmarks.workers import small_batches, workers

RESULTS = Path(__file__).with_name("results")

BENCHMARKS = {
    "synapses": synapses,
    "simulators": simulators,
    "few_steps": few_steps,
    "equal_accuracy": equal_accuracy,
    "equal_accuracy_resnet20": partial(equal_accuracy, net="resnet20"),
    "deep_nets": deep_nets,
    "imagenet_nets": imagenet_nets,
    "layers": layers,
    "scaling": scaling,
    "build": build,
    "compile_times": compile_times,
    "memory": memory,
    "workers": workers,
    "small_batches": small_batches,
    "tuning": tuning,
    "architectures": architectures,
    "imagenet_size": imagenet_size,
    "timm": timm_families,
    "trained": trained_networks,
    "trials": trials,
    "long_runs": long_runs,
    "same_as_brian": same_as_brian,
    "exports": exports,
    "own_model": own_model,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Benchmarks of cnn2snn_brian."
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(BENCHMARKS),
        metavar="NAME",
        help=f"one of {', '.join(BENCHMARKS)}; can be given several times",
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds (5)")
    parser.add_argument("--images", type=int, default=50, help="images (50)")
    parser.add_argument(
        "--test-images",
        type=int,
        default=5000,
        help="test images that accuracies are of, at most (5000)",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument(
        "--data", type=Path, help="folder of class folders; else random images"
    )
    arguments = parser.parse_args()
    if min(arguments.repeats, arguments.images, arguments.test_images) < 1:
        parser.error("--repeats, --images and --test-images have to be at least 1")
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"{arguments.data}: there is no such folder")
    return arguments


def main() -> None:
    """Run benchmarks, print their tables and write them to files."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    options = Options(
        arguments.repeats,
        arguments.images,
        arguments.data,
        arguments.test_images,
        arguments.out,
    )
    about = {**machine(), "repeats": options.repeats, "images": options.n_images}
    about["load_before"] = load()
    results: dict[str, object] = {"machine": about, "tables": []}
    print("# Benchmarks\n")
    for key, value in about.items():
        print(f"- {key}: {value}")
    print(f"\nMedians of {options.repeats} rounds (smallest to largest).\n", flush=True)
    failed: list[str] = []
    for name in arguments.only or BENCHMARKS:
        before = load()
        try:
            tables = BENCHMARKS[name](options)
        except Exception:
            # The other tables are worth having; the exit code tells.
            traceback.print_exc()
            failed.append(name)
            continue
        for table in tables:
            table.load = [before, load()]
            content = table.write(arguments.out)
            results["tables"].append(content)  # type: ignore[attr-defined]
            print(table.markdown(), flush=True)
        about["load_after"] = load()
        # After each, so that a run that is stopped leaves what it has.
        path = arguments.out / "results.json"
        path.write_text(json.dumps(results, indent=2) + "\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
