"""
Files of version 0.2.0 are read, and work that it began is gone on with.

``python tests/test_files_0_2_0.py`` wrote them with that version. In them are networks
and runs of `test_equal_spikes_0_2_0`, which has a table of their numbers.
"""

import json
import shutil
import tempfile
from pathlib import Path

import networks_0_2_0 as networks
import nir
import numpy as np
import pytest
from by_hand import weight_of
from networks_0_2_0 import SHAPE
from test_equal_spikes_0_2_0 import (
    CASES,
    DURATION,
    INPUTS,
    SAVED,
    assert_close,
    check,
    in_lines,
    made,
    numbers,
    results,
    sizes,
    swept,
    tuned,
)
from typer.testing import CliRunner

from cnn2snn_brian import (
    InputError,
    SimulationResult,
    SpikingNetwork,
    __version__,
    adjust,
    convert,
    from_nir,
    models,
    stimuli,
)
from cnn2snn_brian.cli import app

FILES = Path(__file__).parent / "files_0_2_0"
SETTINGS = FILES / "settings.json"
DESCRIBED = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
#: What models did not have then.
NEWER = "size=None, most=1, signed=False, "

#: One of each kind of layers, choices, neurons, rules.
SAVED_NETWORKS = (
    "residual_current",
    "residual_delays",
    "residual_failing",
    "residual_mixed",
    "residual_neurons",
    "residual_leaky",
    "concatenated",
    "concatenated_few_steps",
    "concatenated_explicit",
    "parallel_current",
    "pools",
    "pools_in_synapses",
    "pools_normalized",
    "thirds",
    "kernels",
    "channelwise",
    "relu6",
    "quantized",
    "gate",
    "largest_count_of_the_image",
    "largest_count_residual",
    "of_another_program",
    "stdp",
    "reward",
    "counting",
)

#: Loaded networks of which all runs are run: their programs are compiled for others.
RUN = (
    "residual_current",
    "concatenated_few_steps",
    "gate",
    "of_another_program",
    "counting",
)

RESULTS = (
    ("residual", "images"),
    ("residual", "lesion"),
    ("residual", "sequence"),
    ("residual", "several"),
    ("residual_current", "by_channel"),
    ("residual_leaky", "faster"),
    ("counting", "kept"),
    ("stdp", "each"),
)
STIMULI = ("still", "sequence", "movie", "trains", "events", "grating")
GRAPHS = ("residual_current", "parallel_current")


def settings(snn):
    """All of a network but its layers, as JSON can hold it."""
    numbers = {
        what: {name: np.ravel(value).tolist() for name, value in by_layer.items()}
        if hasattr(by_layer, "items")
        else by_layer
        for what, by_layer in vars(snn.parameters).items()
        if what != "values"  # there were none then
    }
    kinds = snn.synapses if isinstance(snn.synapses, str) else dict(snn.synapses)
    return {
        "layers": list(snn.layer_names),
        "parameters": numbers,
        "synapses": kinds,
        "neurons": {
            k: repr(model).replace(NEWER, "")
            for k, model in snn.models(snn.neurons).items()
        },
        "delays_s": dict(snn.delays_s),
        "release_probability": dict(snn.release_probability),
        "rules": {name: repr(rule) for name, rule in snn.rules.items()},
        "classes": None if snn.classes is None else list(snn.classes),
        **{
            what: getattr(snn, what)
            for what in ("reset", "encoding", "propagation", "dt_s", "dtype")
        },
    }


@pytest.mark.parametrize("name", SAVED_NETWORKS)
def test_networks_are_what_they_were(name):
    snn = SpikingNetwork.load(FILES / f"{name}.snn")
    assert snn == made(name)
    # Notes on what was composed are of the conversion.
    notes = set(made(name).layers.notes)
    lines = [line for line in str(made(name)).splitlines() if line not in notes]
    assert str(snn).splitlines() == lines
    assert json.loads(json.dumps(settings(snn))) == DESCRIBED[name]
    saved = SAVED["networks"][name]
    assert sizes(snn) == saved["sizes"]
    found = snn.layers.activations(INPUTS["images"])
    for layer, (shape, total) in saved["activations"].items():
        assert list(found[layer].shape) == shape
        assert found[layer].sum() == pytest.approx(total, rel=1e-9)


def test_a_network_by_channel_is_what_it_was():
    snn = SpikingNetwork.load(FILES / "by_channel.snn")
    assert json.loads(json.dumps(settings(snn))) == DESCRIBED["by_channel"]
    assert len(snn.thresholds["add1"]) == 4
    assert snn == by_channel()


def by_channel():
    """Make a network with thresholds, leaks and starts by channel."""
    snn, case = made("residual_current"), CASES["residual_current"]
    _, numbers = case.runs["by_channel"]
    return convert(
        snn.layers,
        **{**case.options, "v_init": {**snn.parameters.v_init, **numbers["v_init"]}},
        thresholds={**snn.thresholds, **numbers["thresholds"]},
        leak={**snn.parameters.leak, **numbers["leak"]},
    )


@pytest.mark.standalone
@pytest.mark.parametrize("name", RUN)
def test_networks_of_files_spike_as_they_did(name):
    snn = SpikingNetwork.load(FILES / f"{name}.snn")
    with snn.compile(DURATION) as simulator:
        for run, (inputs, arguments) in CASES[name].runs.items():
            result = simulator.run(
                INPUTS[inputs], seed=3, progress=False, executor=1, **arguments
            )
            check(numbers(result), SAVED["programs"][name][run], CASES[name].rounded)


@pytest.mark.parametrize(("name", "run"), RESULTS)
def test_results_are_what_they_were(name, run):
    result = SimulationResult.load(FILES / f"{name}_{run}.h5")
    # Of a file, every number has to be the same, also if it was rounded.
    assert numbers(result) == SAVED["programs"][name][run]
    assert result.seed == 3
    assert str(result)
    assert result.versions["cnn2snn-brian"] == "0.2.0"
    assert set(result.receptive_fields) >= set(result.parameters.thresholds)
    if result.trials is not None:
        inputs = INPUTS[CASES[name].runs[run][0]]
        several = inputs if isinstance(inputs, list) else [inputs]
        assert result.trials.items == tuple(tuple(one.items) for one in several)


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("name", "run"),
    [("residual", "lesion"), ("residual_leaky", "faster"), ("counting", "kept")],
)
def test_results_of_files_are_repeated(name, run):
    result = SimulationResult.load(FILES / f"{name}_{run}.h5")
    inputs = INPUTS[CASES[name].runs[run][0]]
    with made(name).compile(DURATION) as simulator:
        again = simulator.run(inputs, progress=False, executor=1, **result.settings)
    rounded = CASES[name].rounded
    check(numbers(again), SAVED["programs"][name][run], rounded)


@pytest.mark.parametrize("name", STIMULI)
def test_stimuli_are_what_they_were(name):
    found, expected = stimuli.load(FILES / f"{name}.npz"), INPUTS[name]
    assert type(found) is type(expected)
    assert found.duration_s == expected.duration_s
    assert found.items == expected.items
    assert found.parameters == expected.parameters
    if hasattr(expected, "frames"):
        for steps in (5, 16):
            np.testing.assert_array_equal(
                found.frame_of_step(1e-3, steps), expected.frame_of_step(1e-3, steps)
            )
        # A cosine may be rounded otherwise.
        np.testing.assert_allclose(found.frames, expected.frames, atol=1e-6)
    else:
        for ours, theirs in zip(
            found.spikes(1e-3, SHAPE), expected.spikes(1e-3, SHAPE), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_are_read_as_they_were(name):
    assert from_nir(FILES / f"{name}.nir") == made(name)


@pytest.mark.filterwarnings("ignore:.*assumed here")
def test_a_graph_of_another_program_is_read_as_it_was():
    path = FILES / "of_another_program.nir"
    snn = from_nir(nir.read(path, type_check=False), rate_scale=0.5)
    saved = SAVED["networks"]["of_another_program"]
    assert sizes(snn) == saved["sizes"]
    found = snn.layers.activations(INPUTS["images"])
    for layer, (shape, total) in saved["activations"].items():
        assert list(found[layer].shape) == shape
        assert found[layer].sum() == pytest.approx(total, rel=1e-9)


WEIGHTS = {
    "cnn_quantized": ["--preset", "few-steps"],
    "cnn_digits": ["--calibration", "digits", "--n-calibration", "50"],
}


def of_weights(name, folder):
    """Convert a CNN with the weights of a file on the command line."""
    path = folder / f"{name}.snn"
    arguments = ["--weights", f"{FILES / name}.safetensors", *WEIGHTS[name]]
    done = CliRunner().invoke(app, ["convert", str(path), *arguments])
    assert done.exit_code == 0, done.output
    return SpikingNetwork.load(path)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_a_cnn_are_read(name, tmp_path):
    snn = of_weights(name, tmp_path)
    assert_close(json.loads(json.dumps(settings(snn))), DESCRIBED[name])
    weights = np.abs(weight_of(snn.layers, "ip1").astype(float)).sum()
    assert weights == pytest.approx(DESCRIBED["sums"][name], rel=1e-6)


#: Work of several steps by the name of its file: what does it.
CHECKPOINTS = {
    "feedback": lambda path: tuned("feedback", checkpoint=path),
    "bisection": lambda path: tuned("bisection", checkpoint=path),
    "sweep": lambda path: swept(checkpoint=path),
}


def read_lines(path):
    return path.read_bytes().splitlines(keepends=True)


def untimed(line):
    found = json.loads(line)
    return found["key"], {k: v for k, v in found["row"].items() if k != "seconds"}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_unfinished_work_of_0_2_0_is_refused(name, tmp_path):
    path = tmp_path / "work.jsonl"
    shutil.copy(FILES / f"{name}.jsonl", path)
    with pytest.raises(InputError, match=r"in version 2, expected \w+ in version 3"):
        CHECKPOINTS[name](path)
    assert path.read_bytes() == (FILES / f"{name}.jsonl").read_bytes()


@pytest.mark.standalone
@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_work_is_gone_on_with(name, share, tmp_path):
    # The rows are those of 0.2.0; the head names the network as it is described now.
    anew, path = tmp_path / "anew.jsonl", tmp_path / "work.jsonl"
    CHECKPOINTS[name](anew)
    (head, *found), (_, *rows) = read_lines(anew), read_lines(FILES / f"{name}.jsonl")
    assert [untimed(row) for row in found] == [untimed(row) for row in rows]
    kept = rows[: int(share * len(rows))]
    path.write_bytes(b"".join([head, *kept]))
    before = path.read_bytes()
    assert_close(CHECKPOINTS[name](path), SAVED["work"][name])
    # What was there is not done again.
    assert path.read_bytes().startswith(before)
    assert len(read_lines(path)) == 1 + len(rows)
    assert len(kept) > 0


@pytest.mark.standalone
def test_seeds_are_added_to_a_sweep(tmp_path):
    path = tmp_path / "sweep.jsonl"
    swept(checkpoint=path)
    found = swept(seeds=(1, 2, 0), checkpoint=path)
    known = {tuple(row) for row in SAVED["work"]["sweep"]["data"]}
    assert known < {tuple(row) for row in found["data"]}
    assert len(read_lines(path)) == 1 + 12


def write():
    """Write all files."""
    from cnn2snn_brian.cnn.weights import ModelCard, save_weights

    FILES.mkdir(exist_ok=True)
    described = {name: settings(made(name)) for name in SAVED_NETWORKS}
    for name in SAVED_NETWORKS:
        made(name).save(FILES / f"{name}.snn")
    by_channel().save(FILES / "by_channel.snn")
    described["by_channel"] = settings(by_channel())
    for name in dict.fromkeys(name for name, _ in RESULTS):
        for run, result in results(name):
            if (name, run) in RESULTS:
                result.save(FILES / f"{name}_{run}.h5")
    for name in STIMULI:
        INPUTS[name].save(FILES / f"{name}.npz")
    for name in GRAPHS:
        nir.write(FILES / f"{name}.nir", made(name).to_nir())
    nir.write(FILES / "of_another_program.nir", networks.of_another_program())
    for name, work in CHECKPOINTS.items():
        path = FILES / f"{name}.jsonl"
        path.unlink(missing_ok=True)
        work(path)
    cnn, card = models.pretrained("digits")
    quantized = adjust(cnn, activation="quantized", steps=8).module
    save_weights(FILES / "cnn_digits.safetensors", cnn, card)
    card = ModelCard(**{**vars(card), "quantized_steps": 8})
    save_weights(FILES / "cnn_quantized.safetensors", quantized, card)
    described["sums"] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in WEIGHTS:
            snn = of_weights(name, Path(folder))
            described[name] = settings(snn)
            weights = np.abs(snn.layers["ip1"].weight.astype(float))
            described["sums"][name] = float(weights.sum())
    SETTINGS.write_text(in_lines(described, 1) + "\n")


if __name__ == "__main__":
    if __version__ != "0.2.0":
        message = f"the files are of version 0.2.0, this is {__version__}"
        raise SystemExit(message)
    write()
