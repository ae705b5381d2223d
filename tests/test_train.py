import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.v2 import TrivialAugmentWide

from cnn2snn_brian.data import LabelledImages, load_digits
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.models import digits
from cnn2snn_brian.train import MeanOutputs, TrainingSettings, accuracy, classify, train

QUICK = TrainingSettings(
    epochs=3, batch_size=32, flip=True, shift=1, trivial_augment=True, seed=5
)


class Stop(Exception):
    """Ends a training from outside."""


@pytest.fixture(scope="module")
def pictures():
    return load_digits()


@pytest.fixture
def few(pictures):
    return pictures[0][:80]


def small(*extra):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        *extra,
        nn.Linear(4 * 3 * 3, 10),
    )


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert set(a) == set(b)
    return all(torch.equal(a[name], b[name]) for name in a)


def stop_after(module, n_batches):
    """Make a module raise in the batch after the first `n_batches`."""
    seen = []

    def count(*_):
        if len(seen) == n_batches:
            message = "stopped"
            raise Stop(message)
        seen.append(1)

    module.register_forward_pre_hook(count)
    return module


def batches_seen(data, settings, **options):
    """Train, and return the batches that the module saw."""
    module, seen = small(), []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].numpy()))
    train(module, data, settings, progress=False, **options)
    return seen


def numbered_pictures(n, shape=(2, 8, 8)):
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (n, *shape)).astype(np.uint8)
    return LabelledImages(images, np.arange(n) % 10, tuple("0123456789"))


@pytest.mark.slow
def test_training_learns_the_digits(pictures):
    training, test = pictures
    settings = TrainingSettings(epochs=4, learning_rate=0.1, batch_size=64)
    module = train(digits(), training, settings, progress=False)
    assert not module.training
    assert accuracy(module, test) > 0.85


def test_the_module_itself_is_trained(few):
    module = small()
    before = copy.deepcopy(module)
    assert train(module, few, QUICK, progress=False) is module
    assert not same_weights(module, before)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_same_seed_gives_the_same_weights(few, optimizer):
    settings = dataclasses.replace(QUICK, optimizer=optimizer)
    first = train(small(nn.Dropout(0.3)), few, settings, progress=False)
    torch.rand(3)  # what else draws random numbers must not matter
    second = train(small(nn.Dropout(0.3)), few, settings, progress=False)
    assert same_weights(first, second)
    other = dataclasses.replace(settings, seed=6)
    third = train(small(nn.Dropout(0.3)), few, other, progress=False)
    assert not same_weights(first, third)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "n_batches", [3, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 8))]
)
def test_a_resumed_training_gives_the_same_weights(tmp_path, few, optimizer, n_batches):
    # Three batches an epoch: stopped at the end of epochs and within them.
    settings = dataclasses.replace(QUICK, optimizer=optimizer)
    uninterrupted = train(small(), few, settings, progress=False)
    checkpoint = tmp_path / "cnn.checkpoint"
    options = {"checkpoint": checkpoint, "progress": False}
    with pytest.raises(Stop, match="stopped"):
        train(stop_after(small(), n_batches), few, settings, **options)
    assert torch.load(checkpoint, weights_only=True)["epochs"] == n_batches // 3
    resumed = train(small(), few, settings, resume=True, **options)
    assert same_weights(resumed, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [nn.BatchNorm1d(36), nn.Dropout(0.5)])
def test_layers_with_a_state_resume_too(tmp_path, few, layer):
    uninterrupted = train(small(copy.deepcopy(layer)), few, QUICK, progress=False)
    options = {"checkpoint": tmp_path / "cnn.checkpoint", "progress": False}
    with pytest.raises(Stop, match="stopped"):
        train(stop_after(small(copy.deepcopy(layer)), 5), few, QUICK, **options)
    resumed = train(small(copy.deepcopy(layer)), few, QUICK, resume=True, **options)
    assert same_weights(resumed, uninterrupted)


def test_a_finished_training_is_not_trained_on(tmp_path, few):
    options = {"checkpoint": tmp_path / "cnn.checkpoint", "progress": False}
    trained = train(small(), few, QUICK, **options)
    never = stop_after(small(), 0)
    assert same_weights(train(never, few, QUICK, resume=True, **options), trained)


def test_without_resume_a_checkpoint_is_replaced(tmp_path, few):
    checkpoint = tmp_path / "cnn.checkpoint"
    checkpoint.write_bytes(b"something else")
    train(small(), few, QUICK, checkpoint=checkpoint, progress=False)
    assert torch.load(checkpoint, weights_only=True)["epochs"] == 3
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_resume_without_a_checkpoint_starts_anew(tmp_path, few):
    options = {"checkpoint": tmp_path / "cnn.checkpoint", "progress": False}
    found = train(small(), few, QUICK, resume=True, **options)
    assert same_weights(found, train(small(), few, QUICK, progress=False))


@pytest.mark.parametrize(
    "change",
    [{"epochs": 4}, {"learning_rate": 0.1}, {"seed": 0}, {"flip": False}, {"shift": 0}],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, few, change):
    options = {"checkpoint": tmp_path / "cnn.checkpoint", "progress": False}
    train(small(), few, QUICK, **options)
    other = dataclasses.replace(QUICK, **change)
    with pytest.raises(InputError, match="cnn.checkpoint: made with other settings"):
        train(small(), few, other, resume=True, **options)


def test_a_checkpoint_of_other_data_or_a_teacher_is_refused(tmp_path, few):
    options = {"checkpoint": tmp_path / "cnn.checkpoint", "progress": False}
    train(small(), few, QUICK, **options)
    with pytest.raises(InputError, match="made with other settings"):
        train(small(), few[:79], QUICK, resume=True, **options)
    with pytest.raises(InputError, match="made with other settings"):
        train(small(), few, QUICK, teacher=small(), resume=True, **options)


def test_a_checkpoint_of_another_cnn_is_refused(tmp_path, few):
    options = {"checkpoint": tmp_path / "cnn.checkpoint", "progress": False}
    train(small(), few, QUICK, **options)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(InputError, match=r"cnn\.checkpoint"):
        train(other, few, QUICK, resume=True, **options)


def test_a_damaged_checkpoint_is_refused(tmp_path, few):
    checkpoint = tmp_path / "cnn.checkpoint"
    options = {"checkpoint": checkpoint, "progress": False}
    train(small(), few, QUICK, **options)
    whole = checkpoint.read_bytes()
    for damaged in (b"", b"not a checkpoint", whole[: len(whole) // 2]):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match="cnn.checkpoint: not a readable checkpoi"):
            train(small(), few, QUICK, resume=True, **options)


def test_no_flipped_bit_goes_on_from_other_weights(tmp_path, few):
    checkpoint = tmp_path / "cnn.checkpoint"
    options = {"checkpoint": checkpoint, "progress": False}
    once = dataclasses.replace(QUICK, epochs=1)
    trained = train(small(), few, once, **options)
    whole, rng = checkpoint.read_bytes(), np.random.default_rng(7)
    refused = 0
    for position in rng.integers(0, len(whole), 100):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        checkpoint.write_bytes(damaged)
        try:
            found = train(small(), few, once, resume=True, **options)
        except InputError:
            refused += 1
        else:
            # Some bytes of a file are padding.
            assert same_weights(found, trained)
    assert refused > 50


@pytest.mark.parametrize("content", [[1, 2, 3], torch.zeros(3), {"module": {}}])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, few, content):
    checkpoint = tmp_path / "cnn.checkpoint"
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match=r"cnn\.checkpoint"):
        train(small(), few, QUICK, checkpoint=checkpoint, resume=True, progress=False)


def test_training_leaves_torchs_random_numbers_alone(few):
    torch.manual_seed(11)
    module = small(nn.Dropout(0.5))
    before = torch.get_rng_state()
    train(module, few, QUICK, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_a_teacher_alone_can_teach(pictures):
    training, test = pictures
    settings = TrainingSettings(epochs=6, learning_rate=0.1, batch_size=64)
    teacher = train(small(), training, settings, progress=False)
    weights = copy.deepcopy(teacher)
    # The labels say nothing, so all that is learned comes from the teacher.
    labels = np.random.default_rng(0).permutation(training.labels)
    nonsense = LabelledImages(training.images, labels, training.classes)
    by_teacher = dataclasses.replace(settings, distillation=1.0)
    student = train(small(), nonsense, by_teacher, teacher=teacher, progress=False)
    agreement = (
        classify(student, test.images) == classify(teacher, test.images)
    ).mean()
    assert agreement > 0.6
    assert same_weights(teacher, weights)
    by_label = dataclasses.replace(settings, distillation=0.0)
    student = train(small(), nonsense, by_label, teacher=teacher, progress=False)
    assert accuracy(student, test) < 0.4


def test_every_picture_is_seen_once_an_epoch():
    data = numbered_pictures(20, (1, 8, 8))
    seen = batches_seen(data, TrainingSettings(epochs=2, batch_size=8))
    assert [len(batch) for batch in seen] == [8, 8, 4, 8, 8, 4]
    expected = sorted((data.images / np.float32(255)).reshape(20, -1).tolist())
    orders = []
    for epoch in (seen[:3], seen[3:]):
        found = np.concatenate(epoch).reshape(20, -1)
        np.testing.assert_allclose(sorted(found.tolist()), expected, rtol=1e-6)
        orders.append(found[:, 0].tolist())
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("flip", "shift"), [(True, 0), (False, 2), (True, 1)])
def test_pictures_are_mirrored_and_shifted(flip, shift):
    data = numbered_pictures(30, (1, 8, 8))
    settings = TrainingSettings(epochs=2, batch_size=30, flip=flip, shift=shift)
    pixels = np.concatenate(batches_seen(data, settings))
    # All that may come of each image; black comes in at the border.
    allowed = {}
    for n, image in enumerate(data.images):
        for mirrored in (False, True) if flip else (False,):
            picture = image[:, :, ::-1] if mirrored else image
            padded = np.pad(picture, ((0, 0), (shift, shift), (shift, shift)))
            for top in range(2 * shift + 1):
                for left in range(2 * shift + 1):
                    part = padded[:, top : top + 8, left : left + 8]
                    allowed[part.tobytes()] = n, mirrored, top, left
    seen = np.rint(pixels * 255).astype(np.uint8)
    drawn = [allowed.get(picture.tobytes()) for picture in seen]
    assert None not in drawn
    assert sorted(n for n, *_ in drawn) == sorted([*range(30), *range(30)])
    kinds = {tuple(kind) for _, *kind in drawn}
    assert {kind[0] for kind in kinds} == ({False, True} if flip else {False})
    assert {kind[1] for kind in kinds} == set(range(2 * shift + 1))
    assert {kind[2] for kind in kinds} == set(range(2 * shift + 1))


def test_each_image_is_changed_by_an_operation_of_its_own():
    data = numbered_pictures(12, (1, 8, 8))
    settings = TrainingSettings(epochs=1, batch_size=12, trivial_augment=True, seed=3)
    (seen,) = batches_seen(data, settings, fresh=False)
    order = np.random.default_rng([3, 0]).permutation(12)
    torch.manual_seed(3)
    changed = map(TrivialAugmentWide(), torch.tensor(data.images[order]))
    expected = torch.stack(list(changed)).numpy()
    np.testing.assert_array_equal(np.rint(seen * 255), expected)
    assert 0 < (expected == data.images[order]).all((1, 2, 3)).sum() < 6


def test_several_teachers_say_the_mean_of_their_outputs():
    pixels = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    teachers = [small(), small(), small()]
    with torch.no_grad():
        found = MeanOutputs(teachers)(pixels)
        expected = sum(teacher(pixels) for teacher in teachers) / 3
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_training_in_bfloat16_learns(pictures):
    training, test = pictures
    settings = TrainingSettings(
        epochs=6, learning_rate=0.1, batch_size=64, bfloat16=True, label_smoothing=0.1
    )
    module = train(small(), training, settings, progress=False)
    assert accuracy(module, test) > 0.6
    assert all(value.dtype == torch.float32 for value in module.state_dict().values())


def test_classify_gives_the_largest_output(few):
    torch.manual_seed(0)
    module = small(nn.Dropout(0.5))
    with torch.no_grad():
        pixels = torch.tensor(few.images).float() / 255
        outputs = F.linear(
            F.avg_pool2d(
                F.conv2d(pixels, module[0].weight, module[0].bias).relu(), 2
            ).flatten(1),
            module[5].weight,
            module[5].bias,
        )
    expected = outputs.argmax(1).numpy()
    for batch_size in (500, 7):
        found = classify(module, few.images, batch_size)
        np.testing.assert_array_equal(found, expected)
    assert accuracy(module, few) == np.mean(expected == few.labels)
    assert not module.training


def test_a_diverging_training_is_reported(few):
    settings = dataclasses.replace(QUICK, learning_rate=1e12, epochs=5)
    with pytest.raises(InputError, match="the loss is .* rate below 1000000000000"):
        train(small(), few, settings, progress=False)


def test_training_without_pictures_is_refused(few):
    with pytest.raises(InputError, match="no images to train with"):
        train(small(), few[:0], QUICK, progress=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "adam"),
        ("epochs", 0),
        ("batch_size", 0),
        ("shift", -1),
        ("learning_rate", 0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("temperature", 0),
        ("label_smoothing", -0.1),
        ("label_smoothing", 1.1),
        ("distillation", 1.5),
        ("distillation", float("nan")),
        ("weight_decay", -1e-4),
        ("weight_decay", float("nan")),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        TrainingSettings(**{name: value})
