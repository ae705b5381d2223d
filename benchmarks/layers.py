"""Where a program's time goes, by layer."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from brian2 import ms

from benchmarks.cost import show
from benchmarks.machine import compiler_flags
from benchmarks.measure import Summary, Table, pinned, ratios, rounds, seconds
from benchmarks.networks import PAPER, Options, paper_workload
from benchmarks.programs import command, prepared
from cnn2snn_brian import Simulator
from cnn2snn_brian.program.compiler import find_compiler

__all__ = ["layers"]

#: perf's samples a second.
FREQUENCY = 4999
SYMBOL = re.compile(r"^\s*([\d.]+)%\s+(?:\[.\]\s+)?(.+?)\s*$")
OBJECT = re.compile(r"^_run_(\w+?)_(synapses|update|spike_thresholder)_codeobject")


def _adds_per_second() -> float:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        program = Path(name) / "bound"
        source = Path(__file__).with_name("bound.cpp")
        subprocess.run(
            [find_compiler(), *compiler_flags(), str(source), "-o", str(program)],
            check=True,
        )
        return float(subprocess.check_output([str(program)]))


def _run(simulator: Simulator, directory: Path, before: tuple[str, ...] = ()) -> float:
    def action() -> None:
        with command(simulator, directory, before) as process:
            process.communicate()
        if process.returncode:
            message = f"the program or perf ended with {process.returncode}"
            raise RuntimeError(message)

    return seconds(action)


def _profile(simulator: Simulator, directory: Path) -> dict[str, float]:
    """Share of each function in the time of one run under perf."""
    samples = directory / "perf.data"
    _run(
        simulator,
        directory,
        ("perf", "record", "-q", "-F", str(FREQUENCY), "-o", str(samples), "--"),
    )
    report = subprocess.run(
        ["perf", "report", "--stdio", "-q", "-i", str(samples), "--sort", "symbol"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shares: dict[str, float] = {}
    for line in report.splitlines():
        found = SYMBOL.match(line)
        if found:
            name = found.group(2)
            shares[name] = shares.get(name, 0.0) + float(found.group(1)) / 100
    whole = sum(shares.values())
    return {name: share / whole for name, share in shares.items()}


def _by_part(functions: dict[str, float]) -> dict[str, float]:
    """Sum up functions to ``conv1 synapses``, ``input`` and ``rest``."""
    parts: dict[str, float] = {}
    for name, share in functions.items():
        symbol = re.sub(r"\(.*|\[.*", "", name).strip()
        found = OBJECT.match(symbol)
        if found and found.group(1) == "input":
            part = "input"
        elif found:
            what = "synapses" if found.group(2) == "synapses" else "neurons"
            part = f"{found.group(1)} {what}"
        elif "after_step" in symbol:
            part = "counting spikes"
        else:
            part = "rest"
        parts[part] = parts.get(part, 0.0) + share
    return parts


def layers(options: Options) -> list[Table]:
    """
    Split the time of a program run among layers.

    Parameters
    ----------
    options : Options
        Number of rounds and pictures.

    Returns
    -------
    list of Table
        One; it is empty if there is no perf.
    """
    table = Table("layers", "Where the time goes, T = 100")
    if shutil.which("perf") is None:
        table.notes.append(
            "Not measured: this needs Linux' perf on PATH (on Debian and Ubuntu the "
            "package linux-perf or linux-tools-generic)."
        )
        return [table]
    workload = paper_workload(options)
    n = len(workload.pictures)
    snn = workload.convert(PAPER)
    with (
        snn.compile(PAPER.n_steps * ms) as simulator,
        pinned(1),
        prepared(simulator, workload.pictures) as directory,
    ):
        result = show(simulator, workload.pictures)()
        try:
            _profile(simulator, directory)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            table.notes.append(
                f"Not measured: {error}. perf may need another value of the kernel's "
                "perf_event_paranoid."
            )
            return [table]
        found = rounds(
            {
                "bound": _adds_per_second,
                "plain": lambda: _run(simulator, directory),
                "profile": lambda: _by_part(_profile(simulator, directory)),
            },
            options.repeats,
        )
    bounds, profiles, plain = found["bound"], found["profile"], found["plain"]
    names = {name for profile in profiles for name in profile}
    order = ["input"]
    for layer in snn.layer_names:
        order += [f"{layer} synapses", f"{layer} neurons"]
    order += ["counting spikes", "rest"]
    for name in [part for part in order if part in names]:
        shares = [profile.get(name, 0.0) for profile in profiles]
        times = [share * took for share, took in zip(shares, plain, strict=True)]
        row = {
            "part": name,
            "ms a picture": Summary.of([1e3 * took / n for took in times]),
            "% of the time": Summary.of([100 * share for share in shares]),
        }
        layer = name.removesuffix(" synapses")
        if layer in result.events and layer != name and min(times) > 0:
            events = int(result.events[layer].sum())
            row["events a picture"] = round(events / n)
            row["events/s"] = Summary.of([events / took for took in times])
            row["share of the bound"] = ratios(
                [events / took for took in times], bounds
            )
        table.rows.append(row)
    rates = [result.n_events / took for took in plain]
    table.rows.append(
        {
            "part": "whole program",
            "ms a picture": Summary.of([1e3 * took / n for took in plain]),
            "% of the time": 100.0,
            "events a picture": round(result.n_events / n),
            "events/s": Summary.of(rates),
            "share of the bound": ratios(rates, bounds),
        }
    )
    table.notes = [
        *workload.notes,
        f"{n} pictures. Shares are of perf's samples ({FREQUENCY} a second). Times are "
        "these shares of a run without perf, in the same round. A part without any "
        "sample is left out; small shares need many pictures.",
        "The bound is float32 additions from the first-level cache: "
        f"{median(bounds):.3g} a second, measured in the same rounds with the same "
        "compiler flags.",
        "'rest' is Brian2's loop over the steps, reading the network and writing the "
        "results.",
    ]
    return [table]
