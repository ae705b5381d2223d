"""The inspector, in a browser: what is shown are the numbers of the result."""

import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from brian2 import ms

from cnn2snn_brian import InputError, SimulationResult, convert, models
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.errors import MissingLibraryError
from cnn2snn_brian.stimuli import Sequence, SpikeTrains

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PICTURES = [2, 5, 0]
N_STEPS = 100


@pytest.fixture(scope="module")
def digits():
    """A result of six digits; pool1 is not recorded."""
    training, test = load_digits()
    cnn, _ = models.pretrained("digits")
    snn = convert(
        cnn, test.input_shape, calibration=training.images, classes=test.classes
    )
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(
            test.images[:6], seed=1, record=["input", "conv1", "conv2"]
        )
    return result, test[:6], snn


@pytest.fixture(scope="module")
def path(digits, tmp_path_factory):
    result, test, snn = digits
    return result.inspect(
        tmp_path_factory.mktemp("inspector") / "run.html",
        images=test.images,
        labels=test.labels,
        cnn=snn,
        classes=[f"<b>{name}</b>" for name in test.classes],
        pictures=PICTURES,
        title="Digits & </script>",
    )


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Open a file; at the end, nothing was loaded and nothing complained about."""
    requests, complaints, contexts = [], [], []

    def listen(said):
        # Chromium's own hints on speed are neither.
        if said.type == "error" or (said.type == "warning" and "bokeh" in said.text):
            complaints.append(said.text)

    def open_file(path, **options):
        context = browser.new_context(
            viewport={"width": 1300, "height": 900}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", listen)
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert [url for url in requests if not re.match("file:|data:|blob:", url)] == []
    assert len(requests) == len(contexts)
    assert complaints == []


def shown(page):
    return {
        name: page.inner_text(f"#shown-{name}")
        for name in ("spikes", "rate", "correlation", "selected", "decision", "truth")
    }


def counts_until(result, layer, image, step):
    """Counts in torch's order, by numpy alone."""
    neuron, when = result.recorded[layer, image]
    counts = np.bincount(
        neuron[when < step], minlength=int(np.prod(result.shapes[layer]))
    )
    channels, height, width = result.shapes[layer]
    return counts.reshape(height, width, channels).transpose(2, 0, 1)


def expected(digits, layer, image, step):
    result, test, snn = digits
    counts = counts_until(result, layer, image, step)
    pixels = test.images[[image]] / 255
    activations = {"input": pixels, **snn.layers.activations(pixels)}[layer][0]
    r = np.corrcoef(counts.ravel(), activations.ravel())[0, 1]
    total = result.spike_counts[layer][image].sum()
    return {
        "spikes": f"{counts.sum():,} of {total:,}",
        "rate": f"{counts.sum() / counts.size / (1e-3 * step):.2f} Hz",
        "correlation": f"{r:.3f}",
    }


def assert_shown(page, digits, layer, image, step):
    found = shown(page)
    for name, text in expected(digits, layer, image, step).items():
        if name == "correlation":
            assert float(found[name]) == pytest.approx(float(text), abs=0.0015)
        else:
            assert found[name] == text
    result, test, _ = digits
    assert found["truth"] == f"<b>{test.classes[test.labels[image]]}</b>"
    counts = result.output_counts(step * ms)[image]
    if step == N_STEPS:
        decision = f"<b>{test.classes[result.predictions[image]]}</b>"
        assert found["decision"].removesuffix(" (by potential)") == decision
    else:
        best = [name for name, n in zip(test.classes, counts, strict=True) if n]
        best = np.flatnonzero(counts == counts.max()) if best else []
        names = [f"<b>{test.classes[index]}</b>" for index in best]
        said = ", ".join(names) or "none yet"
        assert found["decision"] == (f"tie: {said}" if len(names) > 1 else said)
    race = page.locator("#race .count").all_inner_texts()
    np.testing.assert_array_equal([int(text) for text in race], counts)


@pytest.mark.slow
@needs_browser
def test_layer_picture_and_time_are_chosen(opened, path, digits):
    page = opened(path)
    assert page.inner_text("h1") == "Digits & </script>"
    assert page.locator("#picture option").count() == 3
    # It begins at the end, with the first layer.
    assert_shown(page, digits, "conv1", 2, N_STEPS)
    page.get_by_label("Layer", exact=True).select_option(index=3)
    assert_shown(page, digits, "conv2", 2, N_STEPS)
    assert "(32 × 4 × 4)" in page.inner_text("#raster-title")
    page.get_by_label("Picture", exact=True).select_option(index=1)
    assert_shown(page, digits, "conv2", 5, N_STEPS)
    page.get_by_label("Time cursor").fill("17")
    assert_shown(page, digits, "conv2", 5, 17)
    page.get_by_label("Layer", exact=True).select_option(index=0)
    assert_shown(page, digits, "input", 5, 17)


@needs_browser
def test_the_keyboard_does_it_all(opened, path, digits):
    page = opened(path)
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["theme", "picture", "layer", "cursor", "play"]
    page.keyboard.press("Home")
    assert page.inner_text("#shown-decision") == "none yet"
    assert page.inner_text("#cursor-time") == f"0 ms of {N_STEPS} ms"
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert_shown(page, digits, "conv1", 2, 29)
    page.get_by_label("Time cursor").focus()
    page.keyboard.press("ArrowRight")
    assert_shown(page, digits, "conv1", 2, 30)
    assert page.get_by_label("Time cursor").get_attribute("aria-valuetext") == "30 ms"
    page.keyboard.press("p")
    page.keyboard.press("l")
    page.keyboard.press("l")
    assert_shown(page, digits, "conv2", 5, 30)
    page.get_by_label("Picture", exact=True).focus()
    page.keyboard.press("ArrowDown")
    assert_shown(page, digits, "conv2", 0, 30)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert_shown(page, digits, "conv1", 0, 30)


FRAME = """() => {
  const raster = Bokeh.documents[0].get_model_by_name("raster");
  const box = document.querySelector("#raster").getBoundingClientRect();
  const frame = Bokeh.index[Object.keys(Bokeh.index)[0]].children()
    .next().value.frame.bbox;
  return {x: box.x + frame.left, y: box.y + frame.top,
    width: raster.inner_width, height: raster.inner_height};
}"""


@needs_browser
def test_hover_and_box_select(opened, path, digits):
    result, _, _ = digits
    page = opened(path)
    neuron, step = result.recorded["conv1", 2]
    y, x, channel = np.unravel_index(neuron, (8, 8, 16))
    row = channel + (y * 8 + x + 0.5) / 64 - 0.5
    frame = page.evaluate(FRAME)

    def place(t, row):
        across = frame["x"] + (t + 0.5) / N_STEPS * frame["width"]
        return across, frame["y"] + (1 - (row + 0.5) / 16) * frame["height"]

    spike = len(step) // 2
    page.mouse.move(*place(step[spike], row[spike]))
    tip = page.locator("#tip")
    tip.wait_for(state="visible")
    found = re.match(
        r"channel (\d+), y (\d+), x (\d+)\ntime (\d+) ms", tip.inner_text()
    )
    # A neuron is half a pixel high, so its neighbours are below the pointer too.
    c0, y0, x0, t0 = map(int, found.groups())
    assert (channel[spike], step[spike]) == (c0, t0)
    assert abs(y0 * 8 + x0 - (y[spike] * 8 + x[spike])) <= 2
    assert ((channel == c0) & (y == y0) & (x == x0) & (step == t0)).any()

    page.evaluate(
        """() => {
          const raster = Bokeh.documents[0].get_model_by_name("raster");
          raster.toolbar.gestures.pan.active.active = false;
          Bokeh.documents[0].get_model_by_name("raster_select").active = true;
        }"""
    )
    page.mouse.move(*place(9.5, 2.5))
    page.mouse.down()
    page.mouse.move(*place(20, 5), steps=3)
    page.mouse.move(*place(30.5, 7.5), steps=3)
    page.mouse.up()
    page.wait_for_function(
        "document.querySelector('#shown-selected').textContent !== 'none'"
    )
    inside = (step >= 10) & (step <= 30) & (channel >= 3) & (channel <= 7)
    selected, neurons = re.match(
        r"([\d,]+) of ([\d,]+)", shown(page)["selected"]
    ).groups()
    # The corners are whole pixels.
    assert int(selected.replace(",", "")) == pytest.approx(inside.sum(), rel=0.02)
    assert int(neurons.replace(",", "")) == pytest.approx(
        len(np.unique(neuron[inside])), rel=0.02
    )
    page.keyboard.press("Escape")
    assert shown(page)["selected"] == "none"


@needs_browser
def test_maps_and_rates_hold_the_numbers(opened, path, digits):
    result, test, snn = digits
    page = opened(path)
    page.get_by_label("Time cursor").fill("23")
    values = page.evaluate(
        """() => {
          const model = (name) => Bokeh.documents.map((doc) =>
            doc.get_model_by_name(name)).find((found) => found);
          const image = (name) => Array.from(model(name).data.image[0],
            (value) => Number.isNaN(value) ? -1 : value);
          return {snn: image("map_snn_source"), cnn: image("map_cnn_source"),
            shape: model("map_snn_source").data.image[0].shape,
            rate: Array.from(model("rate_source").data.rate)};
        }"""
    )
    height, width = values["shape"]
    snn_map = np.reshape(values["snn"], (height, width))
    cnn_map = np.reshape(values["cnn"], (height, width))
    counts = counts_until(result, "conv1", 2, 23)
    activations = snn.layers.activations(test.images[[2]] / 255)["conv1"][0]
    columns = (width + 1) // 9
    for channel in range(16):
        top, left = 9 * (channel // columns), 9 * (channel % columns)
        tile = np.s_[top : top + 8, left : left + 8]
        np.testing.assert_array_equal(snn_map[tile], counts[channel])
        np.testing.assert_allclose(
            cnn_map[tile], activations[channel], atol=activations.max() / 60_000
        )
    assert (snn_map == -1).sum() == height * width - 16 * 64
    _, step = result.recorded["conv1", 2]
    rate = np.bincount(step, minlength=N_STEPS) / (16 * 64) * 1000
    np.testing.assert_allclose(values["rate"][:N_STEPS], rate)


@needs_browser
def test_a_layer_that_was_not_recorded(opened, path, digits):
    result, _, _ = digits
    page = opened(path)
    page.get_by_label("Layer", exact=True).select_option(index=2)
    assert 'record=["pool1"]' in page.inner_text("#raster-note")
    assert not page.locator("#raster").is_visible()
    page.get_by_label("Time cursor").fill("5")
    total = f"{result.spike_counts['pool1'][2].sum():,}"
    assert shown(page)["spikes"] == f"{total} of {total}"


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_is_that_of_the_system_until_it_is_changed(opened, path, scheme):
    page = opened(path, color_scheme=scheme)
    background = "getComputedStyle(document.body).backgroundColor"
    label = "Bokeh.documents[0].get_model_by_name('rate').left[0].axis_label_text_color"

    def brightness():
        color = page.evaluate(background)
        text = page.evaluate(label)
        text = text["value"] if isinstance(text, dict) else text
        return (
            np.mean([int(n) for n in re.findall(r"\d+", color)[:3]]),
            np.mean([int(text[i : i + 2], 16) for i in (1, 3, 5)]),
        )

    page_light, text_light = brightness()
    assert (page_light > 128) == (scheme == "light")
    assert abs(page_light - text_light) > 120
    page.locator("#theme").click()
    page_light, text_light = brightness()
    assert (page_light > 128) == (scheme == "dark")
    assert abs(page_light - text_light) > 120


@needs_browser
def test_nothing_but_a_result_is_needed(opened, tmp_path, random_result):
    page = opened(random_result.inspect(tmp_path / "run.html"))
    assert page.locator("#picture option").count() == 2
    assert shown(page)["correlation"] == "–"
    assert shown(page)["truth"] == "–"
    assert not page.locator("#input-picture").is_visible()
    total = random_result.spike_counts["conv1"][0].sum()
    assert shown(page)["spikes"] == f"{total} of {total}"


def test_classes_are_those_that_the_network_names(random_result, tmp_path):
    def named(result, classes=None):
        text = result.inspect(tmp_path / "run.html", classes=classes).read_text()
        return re.findall(r'"classes":(\[[^]]*\])', text)

    unnamed = replace(random_result, network={**random_result.network, "classes": None})
    assert named(random_result) == ['["cat","dog","owl"]']
    assert named(random_result, ["a", "b", "c"]) == ['["a","b","c"]']
    assert named(unnamed) == named(replace(unnamed, network={})) == ['["0","1","2"]']


def test_errors_come_before_the_file(digits, tmp_path, monkeypatch):
    result, test, snn = digits
    path = tmp_path / "run.html"
    for options, message in (
        ({"pictures": [6]}, "picture is 6, expected 0 to 5"),
        ({"pictures": []}, "none is chosen"),
        ({"layers": ["conv7"]}, "conv7"),
        ({"labels": [1, 2]}, "labels: found the shape"),
        ({"labels": [10] * 6}, "0 to 9"),
        ({"classes": ["a"]}, "10 output neurons, but 1 class names"),
        ({"images": test.images[:2]}, "6 pictures were simulated, images has 2"),
        ({"images": test.images[::-1]}, "is not the one that was simulated"),
        ({"cnn": snn}, "give images="),
        ({"cnn": {"conv1": np.zeros((6, 2, 2))}}, "found the shape"),
        ({"cnn": {"conv1": np.zeros((5, 16, 8, 8))}}, "of 5 pictures"),
        ({"cnn": {"conv1": np.full((6, 16, 8, 8), np.nan)}}, "finite"),
    ):
        with pytest.raises(InputError, match=message):
            result.inspect(path, **options)
    monkeypatch.setattr("cnn2snn_brian.inspector.inspector.MAX_BYTES", 1000)
    with pytest.raises(InputError, match="Give fewer pictures"):
        result.inspect(path)
    monkeypatch.setitem(sys.modules, "bokeh.resources", None)
    with pytest.raises(MissingLibraryError, match=r"cnn2snn-brian\[inspector\]"):
        result.inspect(path)
    assert not path.exists()


def test_a_saved_result_gives_the_same_file(digits, path, tmp_path):
    result, test, snn = digits
    result.save(tmp_path / "run.h5")
    loaded = SimulationResult.load(tmp_path / "run.h5")
    activations = snn.layers.activations(test.images / 255)
    again = loaded.inspect(
        tmp_path / "run.html", images=test.images / 255, cnn=activations
    )

    def data(file):
        found = re.search(r'id="result-data">(.*?)</script>', file.read_text("utf-8"))
        return found[1]

    # All six pictures here, three there; their spikes are the same.
    spikes = re.findall(r'"perStep":{[^}]*}', data(path))
    assert len(spikes) == 3 * 4
    assert set(spikes) <= set(re.findall(r'"perStep":{[^}]*}', data(again)))


@pytest.mark.slow
def test_network_layers_and_module_give_the_same_feature_maps(digits, tmp_path):
    result, test, snn = digits
    module, _ = models.pretrained("digits")
    maps = []
    for cnn in (snn, snn.layers, module):
        file = result.inspect(
            tmp_path / "run.html", images=test.images, cnn=cnn, pictures=[0]
        )
        maps.append(re.findall(r'"cnn":{[^}]*}', file.read_text("utf-8")))
    assert len(maps[0]) == 5  # of the input and of four layers
    assert maps[0] == maps[1] == maps[2]


@pytest.fixture(scope="module")
def trials(digits, tmp_path_factory):
    """Two trials each of a sequence and of spikes, the latter shorter."""
    _, test, snn = digits
    stimuli = [
        Sequence(test.images[:2], on=30 * ms, off=20 * ms),
        SpikeTrains([3, 60], [2, 70] * ms, 80 * ms, name="two spikes"),
    ]
    with snn.compile(N_STEPS * ms) as simulator:
        result = simulator.run(stimuli, repeats=2, record=["conv1", "input"])
    return result, stimuli


@needs_browser
def test_frames_and_trials_of_stimuli(opened, trials, tmp_path):
    result, stimuli = trials
    page = opened(result.inspect(tmp_path / "trials.html", stimuli=stimuli))
    options = page.locator("#picture option").all_inner_texts()
    assert [option.partition(":")[0] for option in options] == [
        "Sequence, trial 0",
        "Sequence, trial 1",
        "two spikes, trial 0",
        "two spikes, trial 1",
    ]
    assert page.inner_text("#summary").startswith("4 trials, 100 ms")
    assert "mean of 2 trials" in page.inner_text("#raster-note")
    cursor = page.get_by_label("Time cursor")
    for step, frame in ((0, 0), (30, 0), (31, 2), (50, 2), (51, 1), (100, 2)):
        cursor.fill(str(step))
        assert page.inner_text("#picture-caption") == f"frame {frame}"
        pixels = page.evaluate(
            "Array.from(document.getElementById('input-picture').getContext('2d')"
            ".getImageData(0, 0, 8, 8).data).filter((_, i) => i % 4 === 0)"
        )
        expected = np.rint(255 * stimuli[0].frames[frame]).astype(int)
        assert pixels == expected.ravel().tolist()
    # The mean of both trials, in Hz.
    mean = page.evaluate(
        "Array.from(Bokeh.documents.map((d) => d.get_model_by_name('rate_source'))"
        ".find((s) => s).data.trials)"
    )
    counts = sum(
        np.bincount(result.recorded["conv1", row][1], minlength=N_STEPS)
        for row in (0, 1)
    )
    n = np.prod(result.shapes["conv1"])
    np.testing.assert_allclose(mean[:N_STEPS], counts / 2 / n / 1e-3, rtol=1e-6)
    page.get_by_label("Picture", exact=True).select_option(index=2)
    assert page.locator("#input-picture").is_hidden()


def test_stimuli_that_are_not_those_of_the_result(digits, trials, tmp_path):
    path = tmp_path / "trials.html"
    result, stimuli = trials
    with pytest.raises(InputError, match="1 are given, the result is of 2"):
        result.inspect(path, stimuli=stimuli[:1])
    with pytest.raises(InputError, match="stimulus 1 has 100 steps, its trials 80"):
        result.inspect(path, stimuli=[stimuli[0], stimuli[0]])
    with pytest.raises(InputError, match="1 are given, the result is of 0"):
        digits[0].inspect(path, stimuli=stimuli[0])
