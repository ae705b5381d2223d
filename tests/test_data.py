import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits as load_sklearn_digits

from cnn2snn_brian.data import (
    LabelledImages,
    is_split,
    load_cifar10,
    load_data,
    load_digits,
    load_folder,
    load_test_images,
    load_training_images,
)
from cnn2snn_brian.errors import InputError

DIGITS = load_sklearn_digits()
GREY = np.rint(DIGITS.images * (255 / 16)).astype(np.uint8)


def write_pictures(directory, n=3, classes=("one", "two"), start=0, size=None):
    """Write `n` digits of each class as PNG, and return them as arrays."""
    written = []
    for label, name in enumerate(classes):
        folder = directory / name
        folder.mkdir(parents=True)
        chosen = GREY[DIGITS.target == label + 1][start : start + n]
        for index, array in enumerate(chosen):
            picture = Image.fromarray(array)
            if size is not None:
                picture = picture.resize(size)
            picture.save(folder / f"{index:02}.png")
            written.append(np.asarray(picture))
    return np.stack(written)


def labelled(n_per_class=(3, 4, 5)):
    labels = np.repeat(np.arange(len(n_per_class)), n_per_class)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(images, (len(labels), 1, 2, 3))
    return LabelledImages(images, labels, tuple("abcdef"[: len(n_per_class)]))


def test_digits_are_divided_without_overlap():
    training, test = load_digits()
    assert (len(training), len(test)) == (1297, 500)
    assert training.input_shape == test.input_shape == (1, 8, 8)
    assert training.classes == tuple("0123456789")
    both = np.concatenate([training.images[:, 0], test.images[:, 0]])
    assert both.dtype == np.uint8
    # Together they are scikit-learn's digits, each once, with their labels.
    labels = np.concatenate([training.labels, test.labels])
    found = sorted(
        (*picture.ravel(), y) for picture, y in zip(both, labels, strict=True)
    )
    expected = sorted(
        (*picture.ravel(), y) for picture, y in zip(GREY, DIGITS.target, strict=True)
    )
    np.testing.assert_array_equal(found, expected)
    assert both.max() == 255


def test_digits_are_the_same_every_time():
    first, second = load_digits(), load_data("digits")
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_every_class_is_in_both_parts():
    for part in load_digits():
        counts = np.bincount(part.labels, minlength=10)
        assert counts.min() > 0.05 * len(part)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, 4, 4)),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 1, 4, 4), np.int64),
    ],
)
def test_other_images_are_refused(images):
    with pytest.raises(InputError, match="images have to be uint8 of shape"):
        LabelledImages(images, np.zeros(2, np.int64), ("a",))


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 1)])
def test_labels_of_another_shape_are_refused(shape):
    images = np.zeros((2, 1, 4, 4), np.uint8)
    says = r"labels of images: found the shape \(.*\), expected \(2\)"
    with pytest.raises(InputError, match=says):
        LabelledImages(images, np.zeros(shape, np.int64), ("a",))


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_out_of_range_are_refused(label):
    images = np.zeros((2, 1, 4, 4), np.uint8)
    with pytest.raises(InputError, match="labels have to be from 0 to 1"):
        LabelledImages(images, np.array([0, label]), ("a", "b"))


def test_parts_of_a_set():
    data = labelled()
    assert len(data) == 12
    assert data.input_shape == (1, 2, 3)
    part = data[4:6]
    np.testing.assert_array_equal(part.images[:, 0, 0, 0], [4, 5])
    np.testing.assert_array_equal(part.labels, [1, 1])
    assert part.classes == data.classes
    np.testing.assert_array_equal(
        data[data.labels == 2].images[:, 0, 0, 0], range(7, 12)
    )
    np.testing.assert_array_equal(data[np.array([9, 0])].labels, [2, 0])


def test_per_class_draws_equally_many():
    data = labelled((5, 9, 30))
    drawn = data.per_class(4, seed=1)
    np.testing.assert_array_equal(np.bincount(drawn.labels), [4, 4, 4])
    numbers = drawn.images[:, 0, 0, 0].astype(int)
    assert (np.diff(numbers) > 0).all()
    np.testing.assert_array_equal(data.labels[numbers], drawn.labels)
    again = data.per_class(4, seed=1).images[:, 0, 0, 0]
    np.testing.assert_array_equal(again, numbers)
    others = data.per_class(4, seed=2).images[:, 0, 0, 0]
    assert not np.array_equal(others, numbers)


def test_per_class_needs_enough_pictures():
    assert len(labelled().per_class(3, seed=0)) == 9
    with pytest.raises(InputError, match="class 'a' has 3 images, 4 were asked"):
        labelled().per_class(4, seed=0)


def test_folder_of_grey_pictures(tmp_path):
    written = write_pictures(tmp_path, n=3)
    data = load_folder(tmp_path, (1, 8, 8))
    assert data.input_shape == (1, 8, 8)
    assert data.classes == ("one", "two")
    np.testing.assert_array_equal(data.labels, [0, 0, 0, 1, 1, 1])
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.images[:, 0], written)


def test_folder_is_read_as_rgb(tmp_path):
    written = write_pictures(tmp_path, n=2)
    for data in (load_folder(tmp_path), load_folder(str(tmp_path), (3, 8, 8))):
        assert data.input_shape == (3, 8, 8)
        for channel in range(3):
            np.testing.assert_array_equal(data.images[:, channel], written)


def test_colours_and_axes_of_a_picture(tmp_path):
    (tmp_path / "only").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "only" / "a.png")
    data = load_folder(tmp_path)
    assert data.input_shape == (3, 5, 4)
    for c, y, x in [(0, 0, 0), (1, 4, 0), (2, 2, 3)]:
        assert data.images[0, c, y, x] == colours[y, x, c]
    grey = load_folder(tmp_path, (1, 5, 4)).images[0, 0]
    expected = colours @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey, expected, atol=1)


GREYS = np.random.default_rng(0).integers(0, 2**16, (5, 4)).astype(np.uint16)
GREYS[0] = 0, 255, 256, 65535


def in_folder(directory, name):
    (directory / "only").mkdir()
    return directory / "only" / name


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, name):
    Image.fromarray(GREYS).save(in_folder(tmp_path, name))
    grey = load_folder(tmp_path, (1, 5, 4)).images
    np.testing.assert_array_equal(grey[0, 0], GREYS // 256)
    colours = load_folder(tmp_path).images[0]
    np.testing.assert_array_equal(colours, np.stack([GREYS // 256] * 3))


def test_a_tiff_says_how_many_bits_it_has(tmp_path):
    path = in_folder(tmp_path, "a.tif")
    big = Image.frombytes("I;16B", (4, 5), GREYS.astype(">u2").tobytes())
    big.save(path)
    found = load_folder(tmp_path, (1, 5, 4)).images[0, 0]
    np.testing.assert_array_equal(found, GREYS // 256)
    Image.fromarray(GREYS).save(path)
    entry = [struct.pack("<HHI2H", 258, 3, 1, bits, 0) for bits in (16, 12)]
    written = path.read_bytes()
    assert written.count(entry[0]) == 1
    path.write_bytes(written.replace(*entry))
    # Two pixels of 12 bits lie in three bytes.
    packed = np.frombuffer(GREYS.tobytes(), np.uint8)[:30].reshape(10, 3).T
    found = load_folder(tmp_path, (1, 5, 4)).images[0, 0].ravel()
    np.testing.assert_array_equal(found[::2], packed[0])
    np.testing.assert_array_equal(found[1::2], packed[1] % 16 * 16 + packed[2] // 16)


UNBOUNDED = {
    "whole.tif": (GREYS.astype(np.int32), "32-bit whole numbers"),
    "signed.tif": (GREYS.astype(np.int16), "32-bit whole numbers"),
    "shares.tif": ((GREYS / 65535).astype(np.float32), "floating-point numbers"),
    "float.tif": (GREYS.astype(np.float32), "floating-point numbers"),
}


@pytest.mark.parametrize("name", UNBOUNDED)
def test_numbers_without_a_white_are_refused(tmp_path, name):
    pixels, message = UNBOUNDED[name]
    path = in_folder(tmp_path, name)
    if pixels.dtype == np.int16:  # which Pillow reads and does not write
        Image.fromarray(pixels.view(np.uint16)).save(path, tiffinfo={339: 2})
    else:
        Image.fromarray(pixels).save(path)
    with pytest.raises(InputError, match=f"{name}: not a readable image: .*{message}"):
        load_folder(tmp_path, (1, 5, 4))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK"])
def test_images_of_8_bits_are_read_in_every_mode(tmp_path, mode):
    black_and_white = Image.fromarray(((GREYS > 30000) * 255).astype(np.uint8))
    black_and_white.convert(mode).save(in_folder(tmp_path, "a.tif"))
    grey = load_folder(tmp_path, (1, 5, 4)).images[0, 0]
    np.testing.assert_array_equal(grey, np.asarray(black_and_white))


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    write_pictures(tmp_path, n=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(InputError, match=r"00\.png: not a readable image: .*exceeds"):
        load_folder(tmp_path)


def test_pictures_are_scaled_on_request(tmp_path):
    write_pictures(tmp_path, n=2)
    data = load_folder(tmp_path, (1, 6, 4))
    assert data.input_shape == (1, 6, 4)
    original = load_folder(tmp_path, (1, 8, 8))
    means = data.images.mean((1, 2, 3)) - original.images.mean((1, 2, 3))
    assert np.abs(means).max() < 20


def test_pictures_of_different_sizes(tmp_path):
    write_pictures(tmp_path, n=2, classes=("one",))
    write_pictures(tmp_path / "later", n=1, classes=("two",), size=(5, 7))
    (tmp_path / "later" / "two").rename(tmp_path / "two")
    (tmp_path / "later").rmdir()
    with pytest.raises(InputError, match="the images have 2 different sizes"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, (3, 8, 8)).images.shape == (3, 3, 8, 8)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused(tmp_path, channels):
    write_pictures(tmp_path, n=1)
    with pytest.raises(InputError, match=f"1 or 3 channels, {channels} were asked"):
        load_folder(tmp_path, (channels, 8, 8))


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(InputError, match="not a folder of class.*No such file"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a folder of class folders"):
        load_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a folder of class folders"):
        load_folder(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 60])
def test_a_damaged_picture_is_named(tmp_path, keep):
    write_pictures(tmp_path, n=2)
    path = tmp_path / "two" / "01.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"01\.png"):
        load_folder(tmp_path)


def test_data_in_train_and_test_folders(tmp_path):
    training_pictures = write_pictures(tmp_path / "train", n=4)
    test_pictures = write_pictures(tmp_path / "test", n=2, start=4)
    training, test = load_data(tmp_path, (1, 8, 8))
    np.testing.assert_array_equal(training.images[:, 0], training_pictures)
    np.testing.assert_array_equal(test.images[:, 0], test_pictures)
    assert training.classes == test.classes == ("one", "two")


def test_train_and_test_need_the_same_classes(tmp_path):
    write_pictures(tmp_path / "train", n=1)
    write_pictures(tmp_path / "test", n=1, classes=("one", "three"))
    with pytest.raises(InputError, match="different class folders"):
        load_data(tmp_path)


def as_set(images):
    return {image.tobytes() for image in images}


def write_random(directory, classes, n, seed=0):
    """Write `n` images of each class that differ, under names that say nothing."""
    rng = np.random.default_rng(seed)
    for name in classes:
        folder = directory / name
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(n):
            pixels = rng.integers(0, 256, (8, 8)).astype(np.uint8)
            name = f"{rng.integers(1 << 62):x}.png"
            Image.fromarray(pixels).save(folder / name)


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory):
    directory = tmp_path_factory.mktemp("images")
    write_random(directory, ("one", "two"), 200)
    return directory


def test_a_tenth_of_each_class_is_kept_for_testing(class_folders):
    training, test = load_data(str(class_folders), (1, 8, 8))
    everything = load_folder(class_folders, (1, 8, 8))
    assert len(training) + len(test) == len(everything)
    assert as_set(training.images) | as_set(test.images) == as_set(everything.images)
    assert not as_set(training.images) & as_set(test.images)
    assert training.classes == test.classes == everything.classes
    # 200 draws with probability 0.1, 5 sigma.
    for count in np.bincount(test.labels, minlength=2):
        assert abs(count - 20) < 5 * np.sqrt(200 * 0.1 * 0.9)
    of_image = dict(zip(map(bytes, everything.images), everything.labels, strict=True))
    for part in (training, test):
        assert [of_image[bytes(image)] for image in part.images] == part.labels.tolist()


@pytest.mark.filterwarnings("ignore:load_data. seed:DeprecationWarning")
def test_no_seed_makes_training_images_of_test_images(class_folders):
    kept = as_set(load_data(class_folders, (1, 8, 8))[1].images)
    for seed in (0, 1):
        training, test = load_data(class_folders, (1, 8, 8), seed=seed)
        assert as_set(test.images) == kept
        assert not as_set(training.images) & kept


def test_a_seed_is_said_to_be_without_effect():
    with pytest.warns(DeprecationWarning, match="seed has no effect"):
        first = load_data("digits", seed=7)
    np.testing.assert_array_equal(first[1].images, load_data("digits")[1].images)


def test_names_and_other_images_do_not_change_an_images_part(class_folders, tmp_path):
    kept = as_set(load_data(class_folders, (1, 8, 8))[1].images)
    for index, path in enumerate(sorted(class_folders.rglob("*.png"), reverse=True)):
        folder = tmp_path / path.parent.name
        folder.mkdir(exist_ok=True)
        (folder / f"{index:04}.png").write_bytes(path.read_bytes())
    assert as_set(load_data(tmp_path, (1, 8, 8))[1].images) == kept
    write_random(tmp_path, ("one", "three"), 30, seed=1)
    training, test = load_data(tmp_path, (1, 8, 8))
    assert kept < as_set(test.images)
    assert not kept & as_set(training.images)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_small_class_is_in_both_parts(tmp_path, n):
    for seed in range(8):
        directory = tmp_path / str(seed)
        write_random(directory, ("a", "b", "c"), n, seed)
        training, test = load_data(directory)
        for part in (training, test):
            assert np.bincount(part.labels, minlength=3).min() >= 1


def test_copies_are_in_the_same_part(tmp_path):
    write_random(tmp_path, ("a", "b"), 15)
    for path in sorted(tmp_path.rglob("*.png")):
        (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    training, test = load_data(tmp_path)
    assert len(training) + len(test) == 60
    assert not as_set(training.images) & as_set(test.images)


def test_one_image_a_class_is_for_training(tmp_path):
    write_random(tmp_path, ("a", "b"), 1)
    assert len(load_training_images(tmp_path)) == 2
    for load in (load_data, lambda path: load_test_images(path, (1, 8, 8))):
        with pytest.raises(InputError, match="no class has two different images"):
            load(tmp_path)
    write_random(tmp_path, ("b",), 1, seed=1)
    assert load_data(tmp_path)[1].labels.tolist() == [1]


def test_networks_are_shown_what_is_kept_for_testing(class_folders):
    training, test = load_data(class_folders, (1, 8, 8))
    shown = load_test_images(class_folders, (1, 8, 8))
    np.testing.assert_array_equal(shown.images, test.images)
    used = load_training_images(class_folders, (1, 8, 8))
    np.testing.assert_array_equal(used.images, training.images)
    whole = load_test_images(class_folders, (1, 8, 8), whole=True)
    assert len(whole) == 400
    assert is_split(class_folders)


def test_a_folder_with_only_a_test_part(tmp_path):
    expected = write_pictures(tmp_path / "test", n=2)
    shown = load_test_images(tmp_path, (1, 8, 8))
    np.testing.assert_array_equal(shown.images[:, 0], expected)
    for load in (load_data, load_training_images):
        with pytest.raises(InputError, match="a folder 'test', but no folder 'train'"):
            load(tmp_path)
    with pytest.raises(InputError, match="it comes with test images"):
        load_test_images(tmp_path, (1, 8, 8), whole=True)


def test_a_folder_with_only_a_training_part(tmp_path):
    expected = write_pictures(tmp_path / "train", n=2)
    used = load_training_images(tmp_path, (1, 8, 8))
    np.testing.assert_array_equal(used.images[:, 0], expected)
    with pytest.raises(InputError, match="a folder 'train', but no folder 'test'"):
        load_test_images(tmp_path, (1, 8, 8))


@pytest.mark.parametrize("part", ["train", "test"])
def test_only_the_part_that_is_asked_for_is_read(tmp_path, part):
    other = "test" if part == "train" else "train"
    expected = write_pictures(tmp_path / part, n=2)
    write_pictures(tmp_path / other, n=2)
    for path in (tmp_path / other).rglob("*.png"):
        path.write_bytes(b"not an image")
    load = load_training_images if part == "train" else load_test_images
    np.testing.assert_array_equal(load(tmp_path, (1, 8, 8)).images[:, 0], expected)


def test_a_name_is_the_data_set_also_beside_a_folder(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    expected = write_pictures(tmp_path / "digits" / "test", n=2)
    assert len(load_test_images("digits", (1, 8, 8))) == 500
    assert "digits is the data set of that name; write ./digits" in caplog.text
    caplog.clear()
    for folder in ("./digits", Path("digits"), str(tmp_path / "digits")):
        shown = load_test_images(folder, (1, 8, 8))
        np.testing.assert_array_equal(shown.images[:, 0], expected)
        assert not is_split(folder)
    assert not caplog.text
    (tmp_path / "digits").rename(tmp_path / "other")
    load_test_images("digits", (1, 8, 8))
    assert not caplog.text


def test_unknown_data_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected 'digits', 'cifar10', or an exi"):
        load_data(tmp_path / "nowhere")
    with pytest.raises(InputError, match="data 'digit'"):
        load_data("digit")


def test_missing_cifar10_is_reported(tmp_path):
    with pytest.raises(InputError, match="CIFAR-10 is not in"):
        load_cifar10(tmp_path, download=False)


def test_test_pictures_are_drawn_and_numbered_like_the_outputs(tmp_path):
    _, test = load_digits()
    drawn = load_test_images("digits", (1, 8, 8), n=7, seed=2)
    chosen = np.sort(np.random.default_rng(2).choice(500, 7, replace=False))
    np.testing.assert_array_equal(drawn.images, test.images[chosen])
    write_pictures(tmp_path / "test")
    named = load_test_images(tmp_path, (1, 8, 8), classes=("two", "three", "one"))
    np.testing.assert_array_equal(named.labels, [2, 2, 2, 0, 0, 0])
    for options, message in (
        ({"n": 0}, "n is 0, expected a whole number"),
        ({"n": 7}, "n is 7; there are 6 images"),
        ({"seed": -1}, "seed is -1"),
        ({"classes": ("two",)}, "unknown class of the network 'one'"),
    ):
        with pytest.raises(InputError, match=message):
            load_test_images(tmp_path, (1, 8, 8), **options)
