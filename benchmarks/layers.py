"""Where a program's time goes, by layer."""

import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from brian2 import ms

from benchmarks.child import CHECKOUT
from benchmarks.cost import events_added, fixed_and_added, show
from benchmarks.machine import compiler, compiler_flags
from benchmarks.measure import Summary, Table, pinned, ratios, rounds, seconds
from benchmarks.networks import PAPER, Options, Workload, paper_workload

__all__ = ["layers"]

#: perf's samples a second.
FREQUENCY = 4999
#: A line of perf's report: share, name of the process, function.
LINE = re.compile(r"^\s*([\d.]+)%\s+(\S.*?)\s{2,}(?:\[.\]\s+)?(\S.*?)\s*$")
OBJECT = re.compile(r"^_run_(\w+?)_(synapses|update|spike_thresholder)_codeobject")


def _adds_per_second() -> float:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        program = Path(name) / "bound"
        source = Path(__file__).with_name("bound.cpp")
        subprocess.run(
            [compiler(), *compiler_flags(), str(source), "-o", str(program)],
            check=True,
        )
        return float(subprocess.check_output([str(program)]))


def _profile(task: Path, samples: Path) -> dict[str, float]:
    """
    Share of each function in the time of the program's run under perf.

    perf follows a Python process of its own and the program that this starts. The
    program is the process that has the functions of Brian2's code objects.
    """
    subprocess.run(
        [
            *("perf", "record", "-q", "-F", str(FREQUENCY), "-o", str(samples), "--"),
            *(sys.executable, "-m", "benchmarks.layers", str(task)),
        ],
        check=True,
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        # The program is left there, for perf to look its functions up.
        env={**os.environ, "TMPDIR": str(task.parent)},
    )
    report = subprocess.run(
        ["perf", "report", "--stdio", "-q", "-i", str(samples), "--sort", "comm,sym"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = [match.groups() for match in map(LINE.match, report.splitlines()) if match]
    programs = {process for _, process, name in found if OBJECT.match(name)}
    shares: dict[str, float] = {}
    for share, process, name in found:
        if process in programs:
            shares[name] = shares.get(name, 0.0) + float(share)
    whole = sum(shares.values())
    if not whole:
        message = "perf saw no function of the program"
        raise RuntimeError(message)
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
        Number of rounds and images.

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
    images = workload.images
    n = len(images)
    if n < 2:
        table.notes.append("Not measured: this needs at least 2 images.")
        return [table]
    snn = workload.convert(PAPER)
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as name,
        snn.compile(PAPER.n_steps * ms) as simulator,
        pinned(1),
    ):
        task, samples = Path(name) / "task", Path(name) / "perf.data"
        task.write_bytes(pickle.dumps(workload))
        result = show(simulator, images)()
        try:
            _profile(task, samples)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            table.notes.append(
                f"Not measured: {error}. perf may need another value of the kernel's "
                "perf_event_paranoid."
            )
            return [table]
        found = rounds(
            {
                "bound": _adds_per_second,
                "one": lambda: seconds(show(simulator, images[:1])),
                "many": lambda: seconds(show(simulator, images)),
                "profile": lambda: _by_part(_profile(task, samples)),
            },
            options.repeats,
        )
    bounds, profiles = found["bound"], found["profile"]
    # Seconds of a further image.
    _, added = fixed_and_added(found["one"], found["many"], n)
    plain = [each / 1e3 for each in added]
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
    return [table]


if __name__ == "__main__":
    # Libraries may print.
    os.dup2(2, 1)
    workload: Workload = pickle.loads(Path(sys.argv[1]).read_bytes())
    simulator = workload.convert(PAPER).compile(PAPER.n_steps * ms)
    show(simulator, workload.images)()
    # Without closing the simulator, which would remove the program.
    os._exit(0)
