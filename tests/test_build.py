"""Building and keeping programs: what can go wrong before and while compiling."""

import io
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import brian2
import numpy as np
import pytest
from brian2 import ms
from torch import nn

from cnn2snn_brian import STDP, BuildError, convert
from cnn2snn_brian.errors import CompilerNotFoundError
from cnn2snn_brian.projections import LARGE
from cnn2snn_brian.simulator.compiler import (
    build_program,
    check_cache,
    clear,
    find_compiler,
    programs,
)
from cnn2snn_brian.simulator.device import ProgramDevice, write_sources

# Programs that other processes compile, or find.
pytestmark = [pytest.mark.standalone, pytest.mark.default_flags]

HELLO = '#include "said.h"\n#include <cstdio>\nint main() { std::puts(SAID); }\n'


@pytest.fixture
def project(tmp_path):
    directory = tmp_path / "project"
    (directory / "code").mkdir(parents=True)
    (directory / "code" / "main.cpp").write_text(HELLO.replace("said.h", "../said.h"))
    (directory / "program.cpp").write_text('#include "code/main.cpp"\n')
    (directory / "said.h").write_text('#define SAID "hello"\n')
    return directory


@pytest.fixture
def cache(tmp_path):
    return check_cache(tmp_path / "cache")


def said(program):
    return subprocess.run(
        [program], capture_output=True, text=True, check=True
    ).stdout.strip()


def small_network():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    return convert(module, (1, 2, 2), thresholds=1.0)


def test_a_program_is_compiled_once(project, cache):
    built = build_program(project, cache)
    assert built.compiled
    assert said(built.program) == "hello"
    again = build_program(project, cache)
    assert not again.compiled
    assert again.program == built.program


def test_other_sources_are_another_program(project, cache):
    first = build_program(project, cache)
    (project / "said.h").write_text('#define SAID "goodbye"\n')
    second = build_program(project, cache)
    assert second.compiled
    assert (said(first.program), said(second.program)) == ("hello", "goodbye")


@pytest.mark.parametrize("damage", ["truncated", "emptied", "no checksum"])
def test_a_damaged_program_is_compiled_again(project, cache, damage):
    program = build_program(project, cache).program
    if damage == "no checksum":
        program.with_suffix(".sha256").unlink()
    else:
        whole = program.read_bytes()
        program.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"")
    again = build_program(project, cache)
    assert again.compiled
    assert said(again.program) == "hello"


def test_a_source_that_does_not_compile(project, cache):
    (project / "said.h").write_text("#define SAID no_string\n")
    with pytest.raises(BuildError, match="no_string"):
        build_program(project, cache)
    assert not list(cache.rglob("*.unfinished"))


def test_no_compiler_on_path(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerNotFoundError, match="apt-get install g\\+\\+"):
        small_network().compile(10 * ms)


def test_the_compiler_that_CXX_names_is_missing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilerNotFoundError, match="no-such-compiler"):
        find_compiler()


@pytest.fixture(autouse=True)
def same_flags():
    cpp = brian2.prefs.codegen.cpp
    before = cpp.extra_compile_args_gcc
    yield
    cpp.extra_compile_args_gcc = before


def flags():
    return brian2.prefs.codegen.cpp.extra_compile_args_gcc


@pytest.fixture
def only(tmp_path, monkeypatch):
    """Put one compiler on PATH and nothing else; its name and path."""

    def take(name, folder="bin"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"needs {name}")
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / name
        # Not a link: Clang looks for its files where it lies.
        path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin exec {found} "$@"\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / folder))
        monkeypatch.delenv("CXX", raising=False)
        return path

    return take


@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_any_compiler_alone_gets_all_flags(only, project, cache, name, caplog):
    only(name)
    built = build_program(project, cache)
    assert said(built.program) == "hello"
    assert built.flags == shlex.join(flags())
    assert ("clang" in built.compiler) == (name == "clang++")
    assert not caplog.records


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("g++ -DSAID2", ["-DSAID2"]),
        ("'g++'  -DSAID2 -w", ["-DSAID2", "-w"]),
        ("ccache g++", ["g++"]),
        ("{path}", []),
        ("'{path}' -DSAID2", ["-DSAID2"]),
        (" ", []),
    ],
)
def test_cxx_may_have_arguments_and_spaces(
    only, project, cache, monkeypatch, command, arguments
):
    if "ccache" in command and not shutil.which("ccache"):
        pytest.skip("needs ccache")
    before = os.environ["PATH"]
    path = only("g++", "my tools")
    monkeypatch.setenv("PATH", f"{path.parent}:{before}")
    monkeypatch.setenv("CXX", command.format(path=path))
    monkeypatch.setenv("CCACHE_DIR", str(cache / "ccache"))
    executable, *found = find_compiler()
    assert found == arguments
    assert Path(executable).name == ("ccache" if "ccache" in command else "g++")
    if "DSAID2" in command:
        (project / "said.h").write_text('#ifdef SAID2\n#define SAID "two"\n#endif\n')
    built = build_program(project, cache)
    assert said(built.program) == ("two" if "DSAID2" in command else "hello")
    assert built.flags == shlex.join(flags())


def test_arguments_of_cxx_are_another_program(project, cache, monkeypatch):
    compiled = []
    for arguments in ("-DONE", "-DTWO", "-DONE"):
        monkeypatch.setenv("CXX", f"g++ {arguments}")
        compiled.append(build_program(project, cache).compiled)
    assert compiled == [True, True, False]


@pytest.mark.parametrize("command", ["no-such-compiler -m64", "g++ 'open", "'' -m64"])
def test_commands_that_are_none(monkeypatch, command):
    monkeypatch.setenv("CXX", command)
    with pytest.raises(
        CompilerNotFoundError, match="no C\\+\\+ compiler found"
    ) as found:
        find_compiler()
    assert command in str(found.value)


def test_a_flag_that_the_compiler_does_not_know_is_left_out(project, cache, caplog):
    brian2.prefs.codegen.cpp.extra_compile_args_gcc = ["-O1", "-fno-such-thing"]
    built = build_program(project, cache)
    assert built.flags == "-O1"
    (record,) = caplog.records
    assert "-fno-such-thing" in record.getMessage()
    assert "-O1" not in record.getMessage()


def test_a_compiler_that_can_not_be_run(tmp_path, monkeypatch, project, cache):
    (tmp_path / "g++").write_bytes(b"\x7fELF")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "g++"))
    with pytest.raises(BuildError, match="can't be run: Exec format error"):
        build_program(project, cache)


def test_words_of_the_compiler_in_another_encoding(
    tmp_path, monkeypatch, project, cache
):
    script = tmp_path / "g++"
    script.write_bytes(
        b"#!/bin/sh\necho 'K\xe4se \xe2\x80\x98x\xe2\x80\x99' >&2; exit 1\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    with pytest.raises(BuildError, match="the C\\+\\+ compiler failed.*\n.*‘x’"):
        build_program(project, cache)


def test_a_cache_that_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="can't be kept here"):
        small_network().compile(10 * ms, cache_directory=tmp_path / "file" / "cache")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_a_cache_that_is_read_only():
    # Read-only for root too.
    with pytest.raises(BuildError, match="can't be kept here"):
        small_network().compile(10 * ms, cache_directory="/proc/cnn2snn-brian")


def test_a_full_cache(tmp_path):
    # A file system of 100 kB; only root can make one.
    small = tmp_path / "small"
    small.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k,mode=0700", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        with pytest.raises(BuildError, match="MB are free"):
            small_network().compile(10 * ms, cache_directory=small)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_disk_that_fills_up_while_the_program_is_kept(project, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(BuildError, match="No space left on device"):
        build_program(project, cache)
    assert not list(cache.rglob("*.unfinished"))


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_cache_that_others_can_write_to(tmp_path):
    cache = tmp_path / "open"
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(BuildError, match="other users can write"):
        check_cache(cache)
    assert not list(cache.iterdir())
    cache.chmod(0o755)
    assert check_cache(cache) == cache
    programs(cache).chmod(0o777)
    with pytest.raises(BuildError, match="programs: other users can write"):
        check_cache(cache)


@pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0, reason="only root can give files away"
)
def test_a_cache_of_another_user(tmp_path):
    cache = tmp_path / "theirs"
    cache.mkdir()
    os.chown(cache, 12345, -1)
    with pytest.raises(BuildError, match="belongs to another user"):
        check_cache(cache)


def test_a_new_cache_is_private(tmp_path):
    cache = check_cache(tmp_path / "new" / "cache")
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(programs(cache).stat().st_mode) == 0o700


def test_nothing_is_compiled_for_bad_input(tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(ValueError, match="expected a multiple of the time step"):
        small_network().compile(0.3 * ms, cache_directory=cache)
    assert not cache.exists()


def test_compilers_flags_count(project, cache):
    assert build_program(project, cache).compiled
    brian2.prefs.codegen.cpp.extra_compile_args_gcc = [*flags(), "-DANOTHER"]
    assert build_program(project, cache).compiled


FAKE_COMPILER = """#!/bin/sh
# Clang's ways: it knows no --help=target, and native means this machine's processor.
case "$*" in
    *--help=target*) echo "clang: error: unsupported option" >&2; exit 1 ;;
    *--version*) echo "clang version 17.0.0" ;;
    *-dM*) echo "#define $PROCESSOR 1" ;;
    *) for last; do :; done; echo "$PROCESSOR" > "$last" ;;
esac
"""


def test_programs_of_different_processors_are_kept_apart(
    project, cache, tmp_path, monkeypatch
):
    compiler = tmp_path / "clang++"
    compiler.write_text(FAKE_COMPILER)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    found = {}
    for processor in ("__AVX2__", "__AVX512F__", "__AVX2__"):
        monkeypatch.setenv("PROCESSOR", processor)
        built = build_program(project, cache)
        assert built.program.read_text() == f"{processor}\n"
        assert built.compiled == (processor not in found)
        found[processor] = built.program
    assert len(set(found.values())) == 2


def test_a_compiler_that_does_not_say_its_processor_is_refused(
    project, cache, tmp_path, monkeypatch
):
    compiler = tmp_path / "cl"
    compiler.write_text("#!/bin/sh\ncase $1 in --version) echo 1;; *) exit 1;; esac\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(BuildError, match="does not list its macros"):
        build_program(project, cache)


@pytest.mark.parametrize("there_before", [False, True])
def test_the_project_has_a_program_of_its_own(project, cache, there_before):
    # The cache may be cleared as soon as the program is built.
    if there_before:
        build_program(project, cache)
        (project / "program").unlink()
    build_program(project, cache)
    clear(cache)
    assert said(project / "program") == "hello"


def test_temporary_files_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with small_network().compile(10 * ms) as simulator:
        simulator.run(np.ones((2, 1, 2, 2)))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_states_of_learning_have_the_same_order_in_each_process(tmp_path):
    # Brian2 has their names as a set. Another order would be another program.
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    snn = convert(module, (1, 2, 2), thresholds=1.0, synapses={"ip1": "explicit"})
    write_sources(snn.plasticity("ip1", STDP()), tmp_path)
    states = re.findall(r"add_state\(brian::(\w+)", (tmp_path / "main.cpp").read_text())
    assert len(states) == 3
    assert states[:2] == sorted(states[:2])


# The environment


RUN = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")
import numpy as np
from brian2 import ms
from cnn2snn_brian import SpikingNetwork
with SpikingNetwork.load(sys.argv[1]).compile(10 * ms) as simulator:
    counts = simulator.run(np.full((1, 1, 2, 2), 0.5)).spike_counts["ip1"]
    print(simulator.compiled, counts.ravel().tolist())
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FOLDERS = ("HOME", "TMPDIR", "CNN2SNN_BRIAN_CACHE")


@pytest.mark.slow
@pytest.mark.parametrize("language", ["ascii", "german"])
def test_odd_environments_work_or_end_in_one_sentence(tmp_path, language):
    snn = small_network()
    with snn.compile(10 * ms) as simulator:
        result = simulator.run(np.full((1, 1, 2, 2), 0.5))
    env = dict(os.environ)
    # Spaces and other letters in all folders, the program is in the cache before.
    for name in FOLDERS:
        (tmp_path / "größe x" / name).mkdir(mode=0o700, parents=True)
        env[name] = str(tmp_path / "größe x" / name)
    shutil.copytree(
        programs(Path(os.environ["CNN2SNN_BRIAN_CACHE"])),
        programs(Path(env["CNN2SNN_BRIAN_CACHE"])),
    )
    snn.save(tmp_path / "größe x" / "a.snn")
    if language == "ascii":
        env |= ASCII
    else:
        command = ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"]
        made = shutil.which("localedef") and subprocess.run(
            command, capture_output=True, check=False
        )
        is_made = made and made.returncode == 0
        if is_made:
            env |= {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, tmp_path / "größe x" / "a.snn"],
        cwd=Path(__file__).parent.parent,
        env=env,
        capture_output=True,
        check=False,
    )
    stderr = found.stderr.decode(errors="replace").strip()
    if language == "ascii" and found.returncode:
        # From 2.11 on, sources of Brian2 are not ASCII.
        assert stderr.splitlines()[-1].startswith(
            "cnn2snn_brian.errors.BuildError: Brian2 can't read its sources as"
        ), stderr
    else:
        assert found.returncode == 0, stderr
        counts = result.spike_counts["ip1"].ravel().tolist()
        assert found.stdout.decode().split("\n")[-2] == f"False {counts}"


def test_sources_that_the_encoding_can_not_read_are_named(monkeypatch):
    def read(*_):
        b"\xe2".decode("ascii")

    monkeypatch.setattr(ProgramDevice, "copy_source_files", read)
    before = brian2.get_device()
    with pytest.raises(BuildError, match="PYTHONUTF8=1") as found:
        small_network().compile(10 * ms)
    assert "\n" not in str(found.value)
    assert brian2.get_device() is before


@pytest.mark.parametrize("folder", ["with space", "größe", "it's"])
def test_folders_may_have_any_name(tmp_path, project, folder):
    (tmp_path / folder).mkdir()
    moved = project.rename(tmp_path / folder / "project")
    built = build_program(moved, check_cache(tmp_path / folder / "cache"))
    assert said(built.program) == "hello"


def test_large_weights_are_written_in_parts():
    shape = 3, 700, 701
    weights = np.random.default_rng(0).normal(size=shape).transpose(2, 0, 1)[::-1]
    device = ProgramDevice()
    device.file = io.BytesIO()
    device.load("w", weights, np.float32)
    n, values = device.file.getvalue()[:8], device.file.getvalue()[8:]
    assert int.from_bytes(n, "little") == weights.size > LARGE
    found = np.frombuffer(values, np.float32)
    np.testing.assert_array_equal(found, weights.astype(np.float32).ravel())
