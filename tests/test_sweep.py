"""Sweeps: rows equal single runs, one compile a structure, going on after an end."""

import copy
import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from brian2 import ms, second
from reference import two_layers

from cnn2snn_brian import (
    IF,
    LIF,
    InputError,
    Lesion,
    NeuronModel,
    SpikingNetwork,
    convert,
    kernel_noise,
    summary,
    sweep,
)
from cnn2snn_brian.plots import plot_sweep
from cnn2snn_brian.simulator.simulator import Simulator
from cnn2snn_brian.sweeps import written

SHAPE = (2, 7, 6)
IMAGES = np.random.default_rng(0).random((6, *SHAPE))
LABELS = np.array([0, 1, 2, 3, 0, 1])
DURATION = 12 * ms
LESIONS = {0.0: None, 0.5: Lesion("conv1", fraction=0.5)}


def network(**options):
    thresholds = {"conv1": 1.0, "ip1": 2.0}
    return convert(two_layers(), SHAPE, thresholds=thresholds, **options)


def quick_sweep(snn, grid, **options):
    options = {"duration": DURATION, "executor": 1, "progress": False, **options}
    return sweep(snn, IMAGES, LABELS, grid, **options)


@pytest.fixture
def compiled(monkeypatch):
    """Networks that were compiled, or found in the cache."""
    seen = []
    compile_ = SpikingNetwork.compile

    def counted(self, *arguments, **options):
        seen.append(self)
        return compile_(self, *arguments, **options)

    monkeypatch.setattr(SpikingNetwork, "compile", counted)
    return seen


@pytest.mark.standalone
def test_rows_equal_single_runs_and_one_program_is_enough(compiled):
    grid = {
        "lesion": LESIONS,
        "thresholds": [1.0, 3.0],
        "input_jitter": [0 * ms, 2 * ms],
    }
    frame = quick_sweep(network(), grid, seeds=(0, 7))
    assert len(compiled) == 1
    assert list(frame.columns[:4]) == ["lesion", "thresholds", "input_jitter", "seed"]
    assert len(frame) == 2 * 2 * 2 * 2
    assert frame["lesion"].tolist() == [0.0] * 8 + [0.5] * 8
    assert set(frame["input_jitter"]) == {0.0, 0.002}
    with network().compile(DURATION) as simulator:
        for row in (frame.iloc[5], frame.iloc[15]):
            result = simulator.run(
                IMAGES,
                thresholds=row["thresholds"],
                lesion=LESIONS[row["lesion"]],
                input_jitter=row["input_jitter"] * 1000 * ms,
                seed=int(row["seed"]),
                executor=1,
            )
            counts = result.spike_counts
            assert row["accuracy"] == result.accuracy(LABELS)
            assert row["n_spikes"] == counts["conv1"].sum() + counts["ip1"].sum()
            assert row["n_events"] == result.n_events


@pytest.mark.standalone
def test_values_of_models_share_a_program_and_kernel_noise_is_seeded(compiled):
    grid = {
        "neurons": {"IF": IF(), 5: LIF(5 * ms), 9: LIF(9 * ms)},
        "kernel_noise": [0.0, 0.3],
    }
    frame = quick_sweep(network(), grid, seeds=(2,))
    # Each noisy kernel has a program of its own, which comes from the cache.
    assert len(compiled) <= 2 * 3
    row = frame[(frame["neurons"] == 9) & (frame["kernel_noise"] == 0.3)].iloc[0]
    noisy = kernel_noise(network(neurons=LIF(9 * ms)), 0.3, seed=2)
    with noisy.compile(DURATION) as simulator:
        counts = simulator.run(IMAGES, seed=2, executor=1).spike_counts
    assert row["n_spikes"] == counts["conv1"].sum() + counts["ip1"].sum()


@pytest.mark.standalone
def test_a_factory_gets_its_own_settings(compiled):
    made = []

    def build(reset, rate):
        made.append((reset, rate))
        return network(reset=reset, rate_scale=rate)

    grid = {"rate": [0.5, 1.0], "reset": ["zero"], "v_init": [0.0, 0.5]}
    frame = quick_sweep(build, grid, seeds=(0,))
    assert len(compiled) == 1
    assert set(made) == {("zero", 0.5), ("zero", 1.0)}
    spikes = frame.set_index(["rate", "v_init"])["n_spikes"]
    assert spikes[0.5, 0.0] < spikes[1.0, 0.0] < spikes[1.0, 0.5]


@pytest.mark.standalone
def test_a_sweep_goes_on_where_it_ended(tmp_path, monkeypatch):
    path = tmp_path / "sweep.jsonl"
    grid = {"lesion": LESIONS, "v_init": [0.0, 0.5]}
    whole = quick_sweep(network(), grid, seeds=(0, 1))
    runs, run = [], Simulator.run

    def counted(self, *arguments, **options):
        if len(runs) == 3:
            raise KeyboardInterrupt
        runs.append(options)
        return run(self, *arguments, **options)

    monkeypatch.setattr(Simulator, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        quick_sweep(network(), grid, seeds=(0, 1), checkpoint=path)
    assert len(path.read_text().splitlines()) == 1 + 3
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.jsonl"]
    monkeypatch.setattr(Simulator, "run", run)
    rest = []

    def noted(self, *arguments, **options):
        rest.append(options)
        return run(self, *arguments, **options)

    monkeypatch.setattr(Simulator, "run", noted)
    again = quick_sweep(network(), grid, seeds=(0, 1), checkpoint=path)
    assert len(rest) == 5
    pd.testing.assert_frame_equal(again, whole)
    # Nothing is simulated when all is there.
    quick_sweep(network(), grid, seeds=(1,), checkpoint=path)
    assert len(rest) == 5
    for differs, other in (
        ("grid", {"grid": {**grid, "v_init": [0.0, 0.25]}}),
        ("network", {"network": network(reset="subtract")}),
        ("network", {"network": kernel_noise(network(), 0.1)}),
        ("duration_s", {"duration": 13 * ms}),
    ):
        snn, changed = other.pop("network", network()), other.pop("grid", grid)
        with pytest.raises(InputError, match=f"it differs in {differs}. Take"):
            quick_sweep(snn, changed, checkpoint=path, **other)
    assert len(rest) == 5
    # The machine stopped while it wrote the last row, which is simulated once more.
    path.write_text(path.read_text()[:-20])
    again = quick_sweep(network(), grid, seeds=(0, 1), checkpoint=path)
    assert len(rest) == 6
    pd.testing.assert_frame_equal(again, whole)


@pytest.mark.standalone
def test_a_function_is_called_once_for_a_setting():
    made = []

    def build(rate):
        made.append(rate)
        return network(rate_scale=rate)

    grid = {"v_init": [0.0, 0.5], "rate": [0.5, 1.0]}
    frame = quick_sweep(build, grid, seeds=range(3))
    assert made == [0.5, 1.0]
    assert frame["rate"].tolist() == [*[0.5] * 3, *[1.0] * 3] * 2


def with_neurons(**code):
    model = {"equations": "v : 1", "threshold": "v >= v_th", "reset": "v = 0", **code}
    return network(neurons=NeuronModel(**model))


def other_weights(module):
    module.get_parameter("0.weight").data += 1e-3
    return module


@pytest.mark.parametrize(
    ("values", "others"),
    [
        (with_neurons(), with_neurons(on_pre="v_post += 0.5*w")),
        (network(), with_neurons()),
        (two_layers(), other_weights(two_layers())),
        (two_layers, convert),
        (np.arange(2000.0), np.where(np.arange(2000) == 1000, 0, np.arange(2000.0))),
        (np.arange(3) * ms, np.arange(3) * second),
        ((LIF(5 * ms), 1), (LIF(5.0000001 * ms), 1)),
        (Lesion("conv1", fraction=0.5), Lesion("conv1", fraction=0.5, seed=1)),
    ],
)
def test_values_of_a_grid_are_told_apart(values, others):
    assert written(values) == written(copy.deepcopy(values))
    assert written(values) != written(others)


@pytest.mark.parametrize(
    "changed", [{"on_pre": "v_post += 0.5*w"}, {"reset": "v -= 1"}]
)
def test_a_checkpoint_of_a_network_with_other_neurons(tmp_path, monkeypatch, changed):
    path = tmp_path / "sweep.jsonl"
    monkeypatch.setattr(SpikingNetwork, "compile", None)
    for snn in (with_neurons(), with_neurons()):
        # It gets as far as the compiler.
        with pytest.raises(TypeError):
            quick_sweep(snn, {"v_init": [0.0]}, checkpoint=path)
    with pytest.raises(InputError, match="it differs in network. Take"):
        quick_sweep(with_neurons(**changed), {"v_init": [0.0]}, checkpoint=path)


def test_a_checkpoint_of_version_0_1_0_is_refused(tmp_path):
    path = tmp_path / "sweep.jsonl"
    path.write_text(json.dumps({"sweep": "6017f7c7d931c232", "rows": {}}))
    with pytest.raises(InputError, match="written by version 0.1.0"):
        quick_sweep(network(), {"v_init": [0.0]}, checkpoint=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": {"threshold": [1]}}, "unknown setting of the grid: threshold; there"),
        ({"grid": {"v_init": 0.5}}, "expected a list"),
        ({"grid": {"v_init": []}}, "at least one value"),
        ({"grid": {"v_init": [0.1, 0.1]}}, "each once"),
        ({"grid": {"accuracy": [1]}}, "column of the table"),
        ({"grid": {}, "seeds": []}, "at least one"),
        ({"grid": {}, "seeds": [-1]}, "seeds: one is -1"),
        ({"grid": {}, "checkpoint": "/nowhere/at/all.json"}, "/at does not exist"),
    ],
)
def test_what_a_sweep_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        quick_sweep(network(), **arguments)


def test_a_sweep_is_of_a_network_or_a_function():
    with pytest.raises(InputError, match="expected a SpikingNetwork or a function"):
        quick_sweep(3, {})


def table(accuracies, **settings):
    n = len(accuracies)
    columns = {**settings, "seed": range(n), "accuracy": accuracies, "n_images": 10}
    return pd.DataFrame({"lesion": 0.0, **columns})


def test_summary_has_the_textbook_intervals():
    found = summary(table([0.1, 0.2, 0.3])).iloc[0]
    # Student's t for 2 degrees of freedom is 4.3027.
    assert found["mean"] == pytest.approx(0.2)
    assert found["high"] - 0.2 == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-6)
    assert found["n"] == 3
    # 8 of 10 (Wilson 1927): 0.4902 to 0.9433.
    found = summary(table([0.8, 0.8]), interval="wilson").iloc[0]
    assert found[["low", "high"]].tolist() == pytest.approx(
        [0.49016, 0.94331], abs=1e-5
    )
    alone = summary(table([0.5])).iloc[0]
    assert np.isnan(alone["low"])
    two = summary(pd.concat([table([0.5, 0.7]), table([0.1], lesion=0.5)]))
    assert two["lesion"].tolist() == [0.0, 0.5]
    assert two["mean"].tolist() == pytest.approx([0.6, 0.1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": "rate"}, "y='rate'"),
        ({"interval": "normal"}, "interval='normal'"),
        ({"y": "n_images", "interval": "wilson"}, "'wilson' of 'accuracy'"),
        ({"level": 95}, "level is 95"),
    ],
)
def test_what_a_summary_refuses(options, message):
    with pytest.raises(InputError, match=message):
        summary(table([0.5]), **options)


def test_plot_sweep_draws_means_and_intervals():
    mpl.use("agg")
    import matplotlib.pyplot as plt

    frame = pd.concat(
        [
            table([0.4, 0.6], lesion=0.5, reset="zero"),
            table([0.8, 0.8], lesion=0.0, reset="zero"),
            table([0.7], lesion=0.0, reset="subtract"),
        ]
    )
    ax = plot_sweep(frame, "lesion", hue="reset", ax=plt.figure().add_subplot())
    zero, subtract = (container[0] for container in ax.containers)
    assert zero.get_xdata().tolist() == [0.0, 0.5]
    assert zero.get_ydata().tolist() == pytest.approx([0.8, 0.5])
    assert subtract.get_ydata().tolist() == [0.7]
    assert ax.get_xlabel() == "lesion"
    ax = plot_sweep(frame, "reset", ax=plt.figure().add_subplot())
    assert [text.get_text() for text in ax.get_xticklabels()] == ["zero", "subtract"]
    with pytest.raises(InputError, match="'noise'"):
        plot_sweep(frame, "noise")
    plt.close("all")
