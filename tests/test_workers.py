"""Shards on this machine's cores and on a Dask cluster, and what can go wrong there."""

import gc
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from brian2 import ms
from torch import nn

from cnn2snn_brian import InputError, Recording, SimulationError, convert
from cnn2snn_brian.simulator import compiler as cache
from cnn2snn_brian.simulator import programs as process
from cnn2snn_brian.simulator.compiler import CACHE_VARIABLE

# Programs that other processes compile, or find.
pytestmark = [pytest.mark.standalone, pytest.mark.default_flags]

needs_linux = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="finds processes by /proc"
)
N_STEPS = 20
SHAPE = (2, 5, 4)


def network():
    generator = np.random.default_rng(3)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(60, 4, bias=False),
    ).eval()
    for layer in (module[0], module[3]):
        weight = generator.normal(0.1, 0.3, tuple(layer.weight.shape))
        layer.weight.data = nn.Parameter(layer.weight.new_tensor(weight))
    return convert(module, SHAPE, thresholds=1.0)


@pytest.fixture(scope="module")
def simulator():
    with network().compile(N_STEPS * ms) as compiled:
        yield compiled


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((23, *SHAPE))


@pytest.fixture(scope="module")
def many():
    """So many images that a run takes about a second."""
    return np.random.default_rng(0).random((20_000, *SHAPE)).astype(np.float32)


def assert_equal(found, expected):
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(found.spike_counts[name], counts)
    np.testing.assert_array_equal(found.output_potentials, expected.output_potentials)
    assert found.recorded.keys() == expected.recorded.keys()
    for key, (neuron, step) in expected.recorded.items():
        np.testing.assert_array_equal(found.recorded[key][0], neuron)
        np.testing.assert_array_equal(found.recorded[key][1], step)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("shard_size", [None, 1, 7, 100])
def test_workers_and_shards_change_nothing(simulator, images, workers, shard_size):
    expected = simulator.run(images, seed=4, record=["conv1"], executor=1)
    found = simulator.run(
        images, seed=4, record=["conv1"], executor=workers, shard_size=shard_size
    )
    assert expected.spike_counts["ip1"].any()
    assert_equal(found, expected)


def test_all_cores_are_the_default(simulator, images):
    assert_equal(simulator.run(images), simulator.run(images, executor=1))


@pytest.mark.parametrize("executor", [0, -2, "two", True, 1.5])
def test_other_executors_are_refused(simulator, images, executor):
    with pytest.raises(InputError, match="executor is"):
        simulator.run(images, executor=executor)


def test_whole_numbers_of_numpy_are_taken(simulator, images):
    found = simulator.run(images, executor=np.int64(2), shard_size=np.int64(7))
    assert_equal(found, simulator.run(images))


def test_a_shard_size_below_1_is_refused(simulator, images):
    with pytest.raises(InputError, match="shard_size is 0"):
        simulator.run(images, shard_size=0)


class FailsSometimes:
    """An executor whose tasks raise on their first try, or on every try."""

    def __init__(self, *, always):
        self.always = always
        self.seen = set()

    def submit(self, function, project, part):
        future = Future()
        first = part.seeds.tobytes() not in self.seen
        self.seen.add(part.seeds.tobytes())
        if self.always or first:
            future.set_exception(RuntimeError("the worker's own words"))
        else:
            future.set_result(function(project, part))
        return future


def test_a_failed_shard_is_tried_again(simulator, images):
    found = simulator.run(images, executor=FailsSometimes(always=False), shard_size=5)
    assert_equal(found, simulator.run(images))


def test_a_shard_that_fails_twice_is_an_error(simulator, images):
    with pytest.raises(SimulationError, match="failed 2 times: the worker's own words"):
        simulator.run(images, executor=FailsSometimes(always=True))


def programs(pid):
    """Processes that were started by a process, from whichever of its threads."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    message = "waited in vain"
    raise AssertionError(message)


def kill_programs(times):
    """Kill this process's programs as they appear, so many of them."""
    killed = set()

    def kill():
        while len(killed) < times:
            for program in wait_for(lambda: set(programs(os.getpid())) - killed):
                os.kill(program, signal.SIGKILL)
                killed.add(program)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


@needs_linux
def test_a_program_that_is_killed_once_is_run_again(simulator, many):
    expected = simulator.run(many, executor=2, progress=False)
    simulator._programs.close()  # those that wait
    killer = kill_programs(times=1)
    found = simulator.run(many, executor=1, shard_size=len(many), progress=False)
    killer.join()
    assert_equal(found, expected)


@needs_linux
def test_a_program_that_is_killed_twice_is_an_error(simulator, many):
    simulator._programs.close()
    killer = kill_programs(times=2)
    with pytest.raises(SimulationError, match="SIGKILL"):
        simulator.run(many, executor=1, shard_size=len(many), progress=False)
    killer.join()
    assert not programs(os.getpid())


def test_a_programs_own_words_are_in_the_error(simulator, images, monkeypatch):
    monkeypatch.setattr("cnn2snn_brian.simulator.protocol.MAGIC", b"PICTURE0")
    with pytest.raises(SimulationError, match="the inputs file is of another version"):
        simulator.run(images)


@pytest.fixture
def full(tmp_path, monkeypatch):
    """Let some of the files that a run writes be on a full disk."""

    @contextmanager
    def on_full_disk(names):
        @contextmanager
        def folder(prefix):
            for name in names:
                (tmp_path / name).unlink(missing_ok=True)
                (tmp_path / name).symlink_to("/dev/full")
            yield str(tmp_path)

        with monkeypatch.context() as patched:
            patched.setattr(process.tempfile, "TemporaryDirectory", folder)
            yield

    return on_full_disk


@needs_linux
@pytest.mark.parametrize("result", ["counts", "potentials", "spikes", "traces"])
def test_results_on_a_full_disk(simulator, images, full, result):
    # The program's last words were lost on that disk, too.
    with (
        full([result, "stderr"]),
        pytest.raises(SimulationError, match="not write its results") as error,
    ):
        simulator.run(images[:1], record=Recording(["conv1"], {"conv1": [(0, 0, 0)]}))
    assert "can't write results to" in str(error.value)
    assert "said nothing" not in str(error.value)


@needs_linux
def test_inputs_on_a_full_disk(simulator, images, full):
    said = "inputs: it can't be written: No space left on device"
    with full(["inputs"]), pytest.raises(SimulationError, match=said):
        simulator.run(images[:1])


class NoInputs:
    def write(self, path):
        """Write nothing: these programs read nothing."""


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ("echo no number v_th >&2; exit 3", "could not use its inputs: no number v_th"),
        ("exit 4", "could not write its results .TMPDIR.*: it said nothing"),
        ("echo interrupted >&2; exit 130", "was interrupted: interrupted"),
        ("printf '\\377' >&2; exit 7", "ended with exit code 7: \ufffd"),
        ("kill -9 $$", "was ended by signal SIGKILL: it said nothing"),
        # More than a pipe holds, of which the end is shown.
        ("yes 12345 | head -c 99999 >&2; exit 1", "exit code 1: [1-5\n]{990,1000}"),
    ],
)
def test_every_way_to_end_has_a_sentence(tmp_path, ends, expected):
    script = tmp_path / "program"
    script.write_text(f"#!/bin/sh\n{ends}\n")
    script.chmod(0o700)
    with pytest.raises(SimulationError, match=f"^the compiled program .*{expected}$"):
        process.Call(process.Programs(tmp_path)).run(NoInputs())


def test_a_program_that_can_not_be_started(tmp_path):
    with pytest.raises(SimulationError, match="could not be run: .*program"):
        process.Call(process.Programs(tmp_path)).run(NoInputs())


@needs_linux
def test_a_program_stays_alive_between_calls(simulator, images):
    simulator._programs.close()
    expected = simulator.run(images, seed=4, executor=1)
    (program,) = programs(os.getpid())
    for changed in ({"leak": 0.1}, {"thresholds": 2.0}, {"input_deletion": 0.5}):
        other = simulator.run(images, seed=4, executor=1, **changed)
        assert not np.array_equal(
            other.spike_counts["ip1"], expected.spike_counts["ip1"]
        )
        assert_equal(simulator.run(images, seed=4, executor=1), expected)
    assert programs(os.getpid()) == [program]
    # Killed while it waits: the next call starts another.
    os.kill(program, signal.SIGKILL)
    assert_equal(simulator.run(images, seed=4, executor=1), expected)
    assert programs(os.getpid()) != [program]


@needs_linux
def test_a_forked_process_has_programs_of_its_own(simulator, images):
    expected = simulator.run(images, executor=1)
    before = programs(os.getpid())
    child = os.fork()
    if not child:  # pytest must not go on in here
        status = 1
        try:
            assert_equal(simulator.run(images, executor=1), expected)
            assert not set(programs(os.getpid())) & set(before)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert programs(os.getpid()) == before
    assert_equal(simulator.run(images, executor=1), expected)


@needs_linux
def test_a_simulator_that_is_dropped_leaves_no_program(simulator, images):
    simulator._programs.close()
    own = network().compile(N_STEPS * ms)
    own.run(images, executor=2, shard_size=5)
    assert programs(os.getpid())
    own._directory.cleanup()  # of which Python would warn
    del own
    gc.collect()
    assert not programs(os.getpid())


LEFT = """
import os, time
import numpy as np
from brian2 import ms
from test_workers import N_STEPS, SHAPE, network, programs
simulator = network().compile(N_STEPS * ms)
simulator.run(np.zeros((2, *SHAPE)), executor=1)
(program,) = programs(os.getpid())
print(program, flush=True)
if os.fork():
    os.kill(os.getpid(), 9)
time.sleep(60)
"""


@needs_linux
def test_a_program_that_waits_ends_with_its_parent(simulator):
    here = Path(__file__).parent
    path = f"{here}{os.pathsep}{here.parent}"
    with subprocess.Popen(
        [sys.executable, "-c", LEFT],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        program = int(process.stdout.readline())
        wait_for(lambda: not Path(f"/proc/{program}/exe").exists(), 30)
        os.killpg(process.pid, signal.SIGKILL)  # the forked one, which lives


LONG = """
import numpy as np
from brian2 import ms
from test_workers import N_STEPS, SHAPE, network
with network().compile(N_STEPS * ms) as simulator:
    print("ready", flush=True)
    images = np.random.default_rng(0).random((100_000, *SHAPE)).astype(np.float32)
    simulator.run(images, progress=False, executor=2)
"""


@needs_linux
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_a_run_is_interrupted(simulator, tmp_path, how):
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": f"{here}{os.pathsep}{here.parent}",
        "TMPDIR": str(tmp_path),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", LONG],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout.readline() == b"ready\n"
    wait_for(lambda: len(programs(process.pid)) == 2)
    started = programs(process.pid)
    process.send_signal(how)
    process.wait(timeout=30)
    process.stdout.close()
    for program in started:
        wait_for(lambda program=program: not Path(f"/proc/{program}/exe").exists())
    if how == signal.SIGINT:
        assert not list(tmp_path.glob("cnn2snn-brian-*"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two Dask workers, each a process with a program cache of the cluster's own."""
    distributed = pytest.importorskip("distributed")
    kept = tmp_path_factory.mktemp("worker-cache")
    kept.chmod(0o700)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env={CACHE_VARIABLE: str(kept)},
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


class Counting:
    """An executor that counts how often a project's files are sent."""

    def __init__(self, executor):
        self.executor, self.sent = executor, 0

    def submit(self, function, project, part):
        self.sent += project.files is not None
        return self.executor.submit(function, project, part)


def test_dask_workers_give_the_same(simulator, images, cluster):
    options = {"seed": 4, "record": ["conv1"], "progress": False}
    expected = simulator.run(images, executor=1, **options)
    executor = Counting(cluster.get_executor())
    found = simulator.run(images, executor=executor, shard_size=1, **options)
    assert_equal(found, expected)
    # Both workers are of one machine and share a cache.
    assert executor.sent <= 2
    again = Counting(cluster.get_executor())
    found = simulator.run(images, executor=again, shard_size=1, **options)
    assert_equal(found, expected)
    assert again.sent == 0


def test_processes_give_the_same(simulator, images, monkeypatch, tmp_path):
    tmp_path.chmod(0o700)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    expected = simulator.run(images, seed=4, executor=1)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        executor = Counting(processes)
        found = simulator.run(images, seed=4, executor=executor, shard_size=2)
    assert_equal(found, expected)
    assert executor.sent == 1


class Places:
    """Two workers in turn, each a thread with a cache of its own."""

    def __init__(self, folder, monkeypatch):
        self.threads = ThreadPoolExecutor(1)
        self.folders = itertools.cycle([folder / "a", folder / "b"])
        self.monkeypatch = monkeypatch

    def submit(self, function, project, part):
        return self.threads.submit(self.run, function, project, part)

    def run(self, function, project, part):
        self.monkeypatch.setenv(CACHE_VARIABLE, str(next(self.folders)))
        return function(project, part)


def test_each_place_gets_the_files(simulator, images, tmp_path, monkeypatch):
    expected = simulator.run(images)
    executor = Counting(Places(tmp_path, monkeypatch))
    assert_equal(simulator.run(images, executor=executor, shard_size=1), expected)
    assert 2 <= executor.sent <= 4
    assert len(list(tmp_path.rglob("*.project"))) == 2


def test_a_cache_that_is_emptied_while_workers_run(
    simulator, images, tmp_path, monkeypatch
):
    tmp_path.chmod(0o700)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    expected = simulator.run(images)

    run = process.Call.run

    def run_late(*arguments):
        cache.clear(tmp_path)
        assert not cache.entries(tmp_path)
        return run(*arguments)

    monkeypatch.setattr(process.Call, "run", run_late)
    with ThreadPoolExecutor(2) as threads:
        found = simulator.run(images, executor=threads, shard_size=12)
    assert_equal(found, expected)
    assert not list(cache.programs(tmp_path).glob("*running*"))


@needs_linux
def test_a_dask_worker_that_is_killed_costs_nothing(simulator, many, cluster):
    expected = simulator.run(many, executor=1, progress=False)
    victim = next(iter(cluster.run(os.getpid).values()))

    def kill():
        wait_for(lambda: programs(victim))  # in the middle of a shard
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = simulator.run(
        many, executor=cluster.get_executor(), shard_size=4_000, progress=False
    )
    killer.join()
    assert_equal(found, expected)
    assert not Path(f"/proc/{victim}/exe").exists()
