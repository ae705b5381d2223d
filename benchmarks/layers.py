"""Where a program's time goes, by layer."""

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from brian2 import ms

from benchmarks.cost import events_added, fixed_and_added, show
from benchmarks.machine import compiled_for, compiler, compiler_flags
from benchmarks.measure import Summary, Table, pinned, ratios, rounds, seconds
from benchmarks.networks import NATIVE, PAPER, Options, Settings, paper_workload

__all__ = ["layers"]

#: What is profiled, by the name of its table.
SETTINGS = {
    "layers": PAPER,
    "layers_few_steps": Settings(8, preset="few-steps"),
    "layers_bursts": Settings(2, preset="bursts"),
}
#: perf's samples a second, and for how long.
FREQUENCY, SECONDS = 4999, 3.0
OBJECT = re.compile(r"_run_(\w+?)_(synapses|update|spike_thresholder)_codeobject")


def _adds_per_second() -> float:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        program = Path(name) / "bound"
        source = Path(__file__).with_name("bound.cpp")
        subprocess.run(
            [compiler(), *compiler_flags(), str(source), "-o", str(program)],
            check=True,
        )
        return float(subprocess.check_output([str(program)]))


def _profile(samples: Path, action: Callable[[], Any]) -> dict[str, float]:
    """Share of each part of the program in the time that it runs, by perf."""
    (program,) = (
        child.pid for child in psutil.Process().children() if child.name() == "program"
    )
    perf = subprocess.Popen(
        [
            *("perf", "record", "-q", "-g", "-F", str(FREQUENCY)),
            *("-o", str(samples), "-p", str(program)),
        ]
    )
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        action()
    perf.send_signal(signal.SIGINT)
    perf.wait()
    script = subprocess.run(
        ["perf", "script", "-i", str(samples), "-F", "ip,sym"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # A sample is the function at work and those that called it, one a line.
    parts = Counter(map(_part, filter(str.strip, script.split("\n\n"))))
    if not parts.total() - parts["rest"]:
        message = "perf saw no function of the program"
        raise RuntimeError(message)
    return {name: n / parts.total() for name, n in parts.items()}


def _part(stack: str) -> str:
    """Name the part that a sample is of: ``conv1 synapses``, ``input``, ``rest``."""
    found = OBJECT.search(stack)
    if found and found.group(1) == "input":
        return "input"
    if found:
        what = "synapses" if found.group(2) == "synapses" else "neurons"
        return f"{found.group(1)} {what}"
    if "ImageCurrent" in stack:
        return "image as current"
    return "counting spikes" if "after_step" in stack else "rest"


def layers(options: Options) -> list[Table]:
    """
    Split the time of a program run among layers.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        One for each of `SETTINGS`; they are empty if there is no perf.
    """
    return [_of(name, settings, options) for name, settings in SETTINGS.items()]


def _of(name: str, settings: Settings, options: Options) -> Table:
    what = f"{settings.preset}, " if settings.preset else ""
    table = Table(name, f"Where the time goes, {what}T = {settings.n_steps}")
    if shutil.which("perf") is None:
        table.notes.append(
            "Not measured: this needs Linux' perf on PATH (on Debian and Ubuntu the "
            "package linux-perf or linux-tools-generic)."
        )
        return table
    workload = paper_workload(options)
    images = workload.images
    n = len(images)
    if n < 2:
        table.notes.append("Not measured: this needs at least 2 images.")
        return table
    snn = workload.convert(settings)
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        # perf follows frame pointers to what called a function.
        compiled_for(NATIVE, "-fno-omit-frame-pointer"),
        pinned(1),
        snn.compile(settings.n_steps * ms) as simulator,
    ):
        samples = Path(folder) / "perf.data"
        result = show(simulator, images)()
        try:
            _profile(samples, show(simulator, images))
        except (RuntimeError, subprocess.CalledProcessError) as error:
            table.notes.append(
                f"Not measured: {error}. perf may need another value of the kernel's "
                "perf_event_paranoid."
            )
            return table
        found = rounds(
            {
                "bound": _adds_per_second,
                "one": lambda: seconds(show(simulator, images[:1])),
                "many": lambda: seconds(show(simulator, images)),
                "profile": lambda: _profile(samples, show(simulator, images)),
            },
            options.repeats,
        )
    bounds, profiles = found["bound"], found["profile"]
    # Seconds of a further image.
    _, added = fixed_and_added(found["one"], found["many"], n)
    plain = [each / 1e3 for each in added]
    names = {name for profile in profiles for name in profile}
    order = ["input", "image as current"]
    for layer in snn.layer_names:
        order += [f"{layer} synapses", f"{layer} neurons"]
    order += ["counting spikes", "rest"]
    for name in [part for part in order if part in names]:
        shares = [profile.get(name, 0.0) for profile in profiles]
        times = [share * took for share, took in zip(shares, plain, strict=True)]
        row = {
            "part": name,
            "ms per image": Summary.of([1e3 * took for took in times]),
            "% of the time": Summary.of([100 * share for share in shares]),
        }
        layer = name.removesuffix(" synapses")
        if layer in result.events and layer != name and min(times) > 0:
            events = float(result.events[layer][1:].mean())
            row["events per image"] = round(events)
            row["events/s"] = Summary.of([events / took for took in times])
            row["share of the bound"] = ratios(
                [events / took for took in times], bounds
            )
        table.rows.append(row)
    events = events_added(result)
    rates = [events / took for took in plain]
    table.rows.append(
        {
            "part": "whole program",
            "ms per image": Summary.of([1e3 * took for took in plain]),
            "% of the time": 100.0,
            "events per image": round(events),
            "events/s": Summary.of(rates),
            "share of the bound": ratios(rates, bounds),
        }
    )
    table.notes = [
        *workload.notes,
        f"{n} images. Shares are of perf's samples ({FREQUENCY} a second). Times are "
        "these shares of what a further image takes without perf, in the same round. A "
        "part without any sample is left out; small shares need many images.",
        "The bound is float32 additions from the first-level cache: "
        f"{median(bounds):.3g} a second, measured in the same rounds with the same "
        "compiler flags.",
        "'rest' is Brian2's loop over the steps, reading the network and writing the "
        "results.",
    ]
    return table
