"""Stimuli in networks: the same spikes in Brian2 and compiled; rows are trials."""

import numpy as np
import pytest
import torch
from brian2 import (
    Hz,
    NeuronGroup,
    PoissonGroup,
    SpikeGeneratorGroup,
    SpikeMonitor,
    ms,
    prefs,
)
from brian2 import seed as brian_seed
from brian2.core.functions import timestep
from reference import chain, numpy_spikes, randomize
from torch import nn

from cnn2snn_brian import InputError, Recording, SimulationResult, convert
from cnn2snn_brian.projections import to_neurons
from cnn2snn_brian.simulator import recording as recording_size
from cnn2snn_brian.stimuli import Events, Movie, Sequence, SpikeTrains, Still

SHAPE = (2, 7, 6)
N_INPUTS = 84
N_STEPS = 30
THRESHOLDS = [1.5, 2.0]


@pytest.fixture(autouse=True)
def no_compilation():
    """Runtime mode with numpy: small networks need no compiler."""
    prefs.codegen.target = "numpy"


def small_cnn():
    return randomize(
        chain(
            nn.Conv2d(2, 3, (3, 2), stride=2),
            nn.Sequential(nn.Flatten(), nn.Linear(27, 4)),
        ),
        0,
    )


def converted(**options):
    names = ("conv1", "ip1")
    thresholds = dict(zip(names, THRESHOLDS, strict=True))
    return convert(small_cnn(), SHAPE, thresholds=thresholds, **options)


def given_spikes(seed, n_steps=N_STEPS, rate=0.2):
    """Spikes of the input, (n_steps, y, x, channel), and as a stimulus."""
    spikes = np.random.default_rng(seed).random((n_steps, 7, 6, 2)) < rate
    step, neuron = np.nonzero(spikes.reshape(n_steps, -1))
    order = np.random.default_rng(seed).permutation(len(step))
    return spikes, SpikeTrains(neuron[order], (step * ms)[order])


def movie(n_frames=6, seed=3, time=5 * ms):
    return Movie(np.random.default_rng(seed).random((n_frames, *SHAPE)), time)


@pytest.fixture(scope="module")
def simulator():
    with converted().compile(N_STEPS * ms) as compiled:
        yield compiled


@pytest.fixture(scope="module")
def current_simulator():
    with converted(encoding="current").compile(N_STEPS * ms) as compiled:
        yield compiled


def as_steps(result, layer, row):
    """Spikes of a row as the numpy loop has them, (n_steps, *shape)."""
    found = np.zeros((result.n_steps, *result.shapes[layer]), bool)
    spikes = result.spikes(layer, row)
    found[(np.rint(spikes.t / result.dt_s).astype(int), *spikes.position)] = True
    return found


def brian_spikes(network, layer, duration):
    monitor = SpikeMonitor(network[layer], name="watch")
    network.add(monitor)
    network.run(duration, namespace={})
    return np.rint(monitor.t / (1 * ms)).astype(int), np.array(monitor.i)


def assert_same_spikes(result, layer, row, network, duration=N_STEPS * ms):
    step, neuron = brian_spikes(network, layer, duration)
    t, own = result.spikes(layer, row)
    assert len(step) > 20
    np.testing.assert_array_equal(np.rint(t / 1e-3).astype(int), step)
    np.testing.assert_array_equal(own, neuron)


@pytest.mark.standalone
def test_given_spikes_are_those_of_the_numpy_loop(simulator):
    spikes, stimulus = given_spikes(1)
    result = simulator.run([stimulus, given_spikes(2)[1]], record=simulator.populations)
    x = spikes.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(as_steps(result, "input", 0), x)
    expected = numpy_spikes(small_cnn(), x, N_STEPS, thresholds=THRESHOLDS)
    for layer, own in zip(("conv1", "ip1"), expected, strict=True):
        np.testing.assert_array_equal(as_steps(result, layer, 0), own)
        np.testing.assert_array_equal(result.spike_counts[layer][0], own.sum(0))
    # A network of Brian2, from the stimulus and from a group of the user's.
    prepared = simulator.snn.network(stimulus)
    assert_same_spikes(result, "conv1", 0, prepared)
    step, y, x, channel = np.nonzero(spikes)
    group = SpikeGeneratorGroup(
        N_INPUTS, (y * 6 + x) * 2 + channel, step * ms, dt=1 * ms, name="mine"
    )
    network = simulator.snn.network(input=group)
    assert "mine" in network
    assert "input" not in network
    assert_same_spikes(result, "conv1", 0, network)


@pytest.mark.standalone
def test_events_are_spikes_of_their_pixels(simulator):
    rng = np.random.default_rng(0)
    n = 300
    t = np.sort(rng.uniform(0, 0.03, n))
    x, y, polarity = (
        rng.integers(6, size=n),
        rng.integers(7, size=n),
        rng.integers(2, size=n),
    )
    events = Events(t, x, y, polarity)
    with pytest.warns(UserWarning, match="of 300 spikes are left out") as said:
        result = simulator.run(events, repeats=2, record=["input"])
    assert [warning.category for warning in said].count(UserWarning) == 1
    expected = np.zeros((N_STEPS, *SHAPE), bool)
    # By Brian2's rule for times that are a little before a step.
    expected[timestep(t, 1e-3), polarity, y, x] = True
    np.testing.assert_array_equal(as_steps(result, "input", 0), expected)
    assert_same_spikes(result, "input", 0, simulator.snn.network(events))


@pytest.mark.standalone
def test_a_still_image_as_a_stimulus_gives_the_spikes_of_the_image(simulator):
    images = np.random.default_rng(1).random((3, *SHAPE))
    plain = simulator.run(images, seed=4, record=["conv1"])
    shown = simulator.run([Still(image) for image in images], seed=4, record=["conv1"])
    assert plain.n_repeats == shown.n_repeats == 1
    assert plain.trials is None
    np.testing.assert_array_equal(plain.stimulus_of_row, [0, 1, 2])
    np.testing.assert_array_equal(plain.repeat_of_row, [0, 0, 0])
    for layer in ("input", "conv1", "ip1"):
        np.testing.assert_array_equal(
            plain.spike_counts[layer], shown.spike_counts[layer]
        )
    # With repeats, a row's seed is still that of its index.
    repeated = simulator.run(images[:1], seed=4, repeats=2)
    np.testing.assert_array_equal(
        plain.spike_counts["conv1"][0], repeated.spike_counts["conv1"][0]
    )


@pytest.mark.standalone
def test_rows_are_trials_whoever_runs_them(simulator):
    stimuli = [movie(), given_spikes(5)[1], Still(movie().frames[0], 12 * ms)]
    found = [
        simulator.run(
            stimuli, repeats=4, seed=2, record=["conv1"], executor=n, shard_size=size
        )
        for n, size in ((1, None), (2, 5), (2, 1))
    ]
    first = found[0]
    np.testing.assert_array_equal(first.stimulus_of_row, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(first.repeat_of_row, [0, 1, 2, 3] * 3)
    np.testing.assert_array_equal(first.steps_of_row, np.repeat([30, 30, 12], 4))
    for other in found[1:]:
        for row in range(12):
            for one, two in zip(
                first.recorded["conv1", row], other.recorded["conv1", row], strict=True
            ):
                np.testing.assert_array_equal(one, two)
    counts = first.spike_counts["input"].reshape(3, 4, -1)
    # Trials have Poisson spikes of their own, given spikes are the same in each.
    assert (counts[0] != counts[0, 0]).any(1).tolist() == [False, True, True, True]
    assert (counts[1] == counts[1, 0]).all()
    assert (
        max(step.max() for (_, row), (_, step) in first.recorded.items() if row > 7)
        < 12
    )
    again = simulator.run(stimuli, record=["conv1"], **first.settings)
    np.testing.assert_array_equal(
        again.spike_counts["conv1"], first.spike_counts["conv1"]
    )


@pytest.mark.standalone
def test_potentials_start_anew_with_a_trial_and_only_then(simulator):
    # One spike in the first half of a sum and one in the second: no reset between.
    spikes, stimulus = given_spikes(7, rate=0.05)
    result = simulator.run([stimulus, stimulus], repeats=2)
    x = spikes.transpose(0, 3, 1, 2)
    expected = numpy_spikes(small_cnn(), x, N_STEPS, thresholds=THRESHOLDS)
    for row in range(4):
        np.testing.assert_array_equal(
            result.spike_counts["conv1"][row], expected[0].sum(0)
        )


@pytest.mark.standalone
def test_poisson_movie_has_the_rates_of_its_frames(simulator):
    shown = movie()
    n = 200
    result = simulator.run(shown, repeats=n, record=["input"], seed=1)
    rates = result.psth("input", 5 * ms)
    assert rates.shape == (1, 6, *SHAPE)
    counts = rates[0] * n * 0.005
    p = shown.frames.astype(float)
    sd = np.sqrt(5 * n * p * (1 - p))
    assert (np.abs(counts - 5 * n * p) <= 5 * sd + 1e-9).all()
    # In Brian2, with a TimedArray: the same rates.
    brian_seed(1)
    network = simulator.snn.network(shown)
    network.store()
    total = np.zeros((6, N_INPUTS))
    monitor = SpikeMonitor(network["input"], name="watch")
    network.add(monitor)
    network.store()
    for _ in range(3):
        network.restore()
        network.run(N_STEPS * ms, namespace={})
        frame = np.rint(monitor.t / (1 * ms)).astype(int) // 5
        np.add.at(total, (frame, np.array(monitor.i)), 1)
    p = p.transpose(0, 2, 3, 1).reshape(6, -1)
    assert (np.abs(total - 15 * p) <= 5 * np.sqrt(15 * p * (1 - p)) + 1e-9).all()


@pytest.mark.standalone
def test_movies_as_currents_equal_brian(current_simulator):
    # Multiples of 1/64, so that sums are exact in whichever order.
    rng = np.random.default_rng(5)
    images = rng.integers(65, size=(3, *SHAPE)) / 64
    sequence = Sequence(images, on=7 * ms, off=3 * ms, background=0.25)
    result = current_simulator.run(sequence, record=["conv1"])
    network = current_simulator.snn.network(sequence)
    assert_same_spikes(result, "conv1", 0, network)
    assert result.trials.items == (sequence.items,)
    # The numpy loop with a current that changes.
    shown = sequence.frames[sequence.frame_of_step(1e-3, 0)]
    conv = small_cnn()[0]
    with torch.no_grad():
        current = conv(torch.tensor(shown)).numpy()
    v = np.zeros(current.shape[1:], np.float32)
    for step, now in enumerate(current):
        v = v + now
        spike = v >= THRESHOLDS[0]
        np.testing.assert_array_equal(as_steps(result, "conv1", 0)[step], spike)
        v = np.where(spike, 0, np.maximum(v, 0))
    with pytest.raises(InputError, match="stimulus 0: .* there are none"):
        current_simulator.run(given_spikes(0)[1])
    with pytest.raises(InputError, match="there are none"):
        current_simulator.snn.network(given_spikes(0)[1])


@pytest.mark.standalone
def test_what_is_done_to_the_input_is_done_to_stimuli(simulator):
    stimulus = given_spikes(1)[1]
    lost = simulator.run(stimulus, repeats=50, input_deletion=0.25)
    whole = simulator.run(stimulus).spike_counts["input"].sum()
    kept = lost.spike_counts["input"].sum()
    assert abs(kept - 0.75 * 50 * whole) < 5 * np.sqrt(50 * whole * 0.75 * 0.25)
    moved = simulator.run(stimulus, input_jitter=2 * ms, record=["input"], repeats=20)
    shift = np.zeros((20, N_STEPS))
    for row in range(20):
        shift[row] = np.bincount(moved.recorded["input", row][1], minlength=N_STEPS)
    assert 0.8 * whole < shift.sum(1).mean() < whole
    # One spike in the middle moves by a normal number of steps.
    one = SpikeTrains([0], [15 * ms])
    steps = np.array(
        [
            step[0]
            for (layer, _), (_, step) in simulator.run(
                one, repeats=300, input_jitter=2 * ms, record=["input"]
            ).recorded.items()
            if layer == "input"
        ]
    )
    assert abs(steps.mean() - 15) < 5 * 2 / np.sqrt(300)
    assert abs(steps.std() - 2) < 0.5
    # A movie that is black and then white, displaced: spikes on both sides.
    frames = np.stack([np.zeros(SHAPE), np.ones(SHAPE)])
    counts = simulator.run(
        Movie(frames, 15 * ms), input_jitter=3 * ms, repeats=10, record=["input"]
    ).psth("input", 15 * ms)
    before, behind = counts[0].mean((1, 2, 3))
    assert 20 < before < 200 < behind


def test_brian_displaces_and_loses_given_spikes():
    snn = converted()
    one = SpikeTrains([0, 5], [15 * ms, 15 * ms])
    network = snn.network(one, input_jitter=2 * ms, lesion={"input": lesion_of(5)})
    step, neuron = brian_spikes(network, "input", N_STEPS * ms)
    assert neuron.tolist() == [0]
    assert 5 < step[0] < 25
    network = snn.network(one, input_deletion=1.0)
    assert len(brian_spikes(network, "input", N_STEPS * ms)[0]) == 0


def lesion_of(neuron):
    mask = np.zeros((7, 6, 2), bool)
    mask.ravel()[neuron] = True
    return mask.transpose(2, 0, 1)


@pytest.mark.standalone
def test_windows_cut_what_is_recorded(simulator):
    shown = movie()
    position = [(0, 1, 1), (2, 0, 0)]
    whole = simulator.run(
        shown, repeats=2, record=Recording(["conv1"], {"conv1": position})
    )
    windows = [(20 * ms, 25 * ms), (3 * ms, 10 * ms)]
    part = simulator.run(
        shown,
        repeats=2,
        record=Recording(["conv1"], {"conv1": position}, window=windows),
    )
    chosen = [*range(3, 10), *range(20, 25)]
    for row in range(2):
        neuron, step = whole.recorded["conv1", row]
        inside = np.isin(step, chosen)
        np.testing.assert_array_equal(part.recorded["conv1", row][0], neuron[inside])
        np.testing.assert_array_equal(part.recorded["conv1", row][1], step[inside])
        np.testing.assert_array_equal(
            part.recorded["ip1", row][1], whole.recorded["ip1", row][1]
        )
        traced = part.potentials("conv1", row)
        np.testing.assert_allclose(traced.t, (np.array(chosen) + 1) * 1e-3)
        np.testing.assert_array_equal(
            traced.v, whole.potentials("conv1", row).v[chosen]
        )
    np.testing.assert_array_equal(
        part.spike_counts["conv1"], whole.spike_counts["conv1"]
    )
    rates, known = part.psth("conv1", 5 * ms), whole.psth("conv1", 5 * ms)
    np.testing.assert_array_equal(np.isnan(rates[0, :, 0, 0, 0]), [1, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(rates[:, [1, 4]], known[:, [1, 4]])


@pytest.mark.standalone
def test_results_of_trials_come_back_from_files(simulator, tmp_path):
    named = Movie(movie().frames, 4 * ms, name="short", parameters={"speed": 2.0})
    three = Sequence(movie(3).frames, 6 * ms, 4 * ms, labels=["cat", "dog", "cat"])
    result = simulator.run(
        [three, named],
        repeats=2,
        record=Recording(["conv1"], {"ip1": [(1,)]}, window=(2 * ms, 28 * ms)),
    )
    result.save(tmp_path / "r.h5")
    again = SimulationResult.load(tmp_path / "r.h5")
    assert again.trials == result.trials
    assert again.trials.items == (three.items, ())
    assert three.items[1] == pytest.approx((0.01, 0.006, "dog"))
    assert again.windows == ((2, 28),)
    assert again.n_repeats == 2
    for row in range(4):
        np.testing.assert_array_equal(
            again.potentials("ip1", row).v, result.potentials("ip1", row).v
        )
        assert len(again.potentials("ip1", row).t) == (26 if row < 2 else 22)
    np.testing.assert_array_equal(
        again.first_spike("conv1"), result.first_spike("conv1")
    )
    assert "2 stimuli, 2 trials of each, at most 30 steps" in str(again)


@pytest.mark.standalone
def test_first_spike_and_psth_count_what_was_recorded(simulator):
    spikes, stimulus = given_spikes(3, rate=0.03)
    result = simulator.run(stimulus, record=["input"], repeats=2)
    first = result.first_spike("input")
    expected = np.where(spikes.any(0), 1e-3 * spikes.argmax(0), np.nan).transpose(
        2, 0, 1
    )
    np.testing.assert_allclose(first, np.stack([expected, expected]))
    rates = result.psth("input", 7 * ms)
    counts = spikes[:28].reshape(4, 7, 7, 6, 2).sum(1).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(rates[0, :4], counts / 0.007)
    # The last bin has the two steps that are left.
    last = spikes[28:].sum(0).transpose(2, 0, 1)
    np.testing.assert_allclose(rates[0, 4:], [last / 0.002])
    np.testing.assert_array_equal(result.binned("input", 7 * ms)[1, 4], last)
    assert result.binned("input", 7 * ms)[0].sum() == spikes.sum()
    for width in (0 * ms, 0.5 * ms, 31 * ms, 5.0):
        with pytest.raises(InputError, match="bin is"):
            result.psth("input", width)
    with pytest.raises(InputError, match="not recorded"):
        result.psth("conv1", 5 * ms)


@pytest.mark.standalone
@pytest.mark.parametrize(
    ("stimulus", "options", "says"),
    [
        (
            Movie(np.zeros((2, 2, 6, 6))),
            {},
            r"stimulus 0: Movie has frames of the shape \(2, 6, 6\), the .*7, 6",
        ),
        (movie(7), {}, "takes 35 ms, expected 1 ms to the 30 ms of the program"),
        (movie(time=1.5 * ms), {}, "is 1.5 ms, expected a multiple"),
        (movie(), {"rate_scale": 2.0}, "at most once in a step"),
        (movie(), {"repeats": 0}, "repeats is 0"),
        (SpikeTrains([84], [1 * ms]), {}, "neuron 84; the input has neurons 0 to 83"),
        (SpikeTrains([1], [30 * ms]), {}, "takes 31 ms, expected 1 ms to the 30"),
        (SpikeTrains([1, 1], [1.2 * ms, 1.4 * ms]), {}, "rates above 1/dt"),
        (SpikeTrains([1], [9 * ms], 5 * ms), {}, "after the end, 5 ms"),
        (Events([0.001], [6], [0], [1]), {}, "event 0 is at x 6, y 0, outside"),
        ([movie(), np.zeros(SHAPE)], {}, "stimulus 1 is a ndarray"),
        (
            movie(),
            {"record": Recording(["conv1"], window=(1 * ms, 31 * ms))},
            "not within the time",
        ),
        (
            movie(),
            {"record": Recording(window=[(1 * ms, 5 * ms), (4 * ms, 6 * ms)])},
            "overlap",
        ),
        (movie(), {"record": Recording(window=(1.5 * ms, 5 * ms))}, "a multiple of"),
    ],
)
def test_what_can_not_be_shown_is_refused(
    simulator, monkeypatch, stimulus, options, says
):
    monkeypatch.setattr(
        "cnn2snn_brian.simulator.simulator.run_shards",
        lambda *arguments: pytest.fail("the program was run"),
    )
    with pytest.raises(InputError, match=says):
        simulator.run(stimulus, **options)


@pytest.mark.standalone
def test_trials_that_do_not_fit_into_memory_are_refused(simulator, monkeypatch):
    monkeypatch.setattr(recording_size, "free_memory", lambda: 10**9)
    with pytest.raises(InputError, match="10,000,000 trials take 1.1 GB"):
        simulator.run(movie(), repeats=10**7)
    monkeypatch.setattr(recording_size, "SMALL", 0)
    monkeypatch.setattr(recording_size, "free_memory", lambda: 10**5)
    record = Recording(["conv1", "input"])
    with pytest.raises(InputError, match=r"of it input; .*window="):
        simulator.run(movie(), repeats=100, record=record)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (lambda: SpikeGeneratorGroup(84, [], [] * ms), "time step of 0.1 ms"),
        (lambda: PoissonGroup(83, 1 * Hz, dt=1 * ms), "input has 83 neurons"),
        (lambda: NeuronGroup(84, "v : 1", dt=1 * ms), "expected a Brian2 group that"),
        (lambda: movie(), "a stimulus is the first argument"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_groups_that_can_not_be_the_input_are_refused(group, says):
    with pytest.raises(InputError, match=says):
        converted().network(input=group())


def test_one_input_at_a_time():
    snn = converted()
    group = SpikeGeneratorGroup(84, [1], [1] * ms, dt=1 * ms)
    with pytest.raises(InputError, match="not both"):
        snn.network(movie(), input=group)
    with pytest.raises(InputError, match="can't be displaced"):
        snn.network(input=group, input_jitter=1 * ms)
    network = snn.network(input=group, input_deletion=1.0)
    assert len(brian_spikes(network, group.name, 5 * ms)[0]) == 0
    still = snn.network(Still(movie().frames[0]))
    snn.show(still, movie().frames[1])
    np.testing.assert_allclose(
        still["input"].rates * ms, to_neurons(movie().frames[1], SHAPE)
    )
    currents = converted(encoding="current")
    for own, other in (
        (snn, network),
        (snn, snn.network(movie())),
        (currents, currents.network(movie())),
    ):
        with pytest.raises(InputError, match="other input than an image"):
            own.show(other, np.zeros(SHAPE))


@pytest.mark.standalone
@pytest.mark.slow
def test_given_spikes_cross_all_layers_in_a_step():
    stimulus = given_spikes(6)[1]
    with converted(propagation="instant").compile(N_STEPS * ms) as simulator:
        result = simulator.run(stimulus, record=["conv1"])
        assert_same_spikes(result, "conv1", 0, simulator.snn.network(stimulus))
