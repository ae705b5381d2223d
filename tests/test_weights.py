import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cnn2snn_brian.cnn.weights import (
    ModelCard,
    load_state,
    load_weights,
    read_card,
    save_weights,
)
from cnn2snn_brian.data import load_digits
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.models import (
    ARCHITECTURES,
    cifar10_quick,
    create,
    digits,
    pretrained,
)
from cnn2snn_brian.train import accuracy

CARD = ModelCard(
    architecture="small",
    input_shape=(2, 7, 6),
    classes=("süß", "b"),
    data="digits",
    command="cnn2snn-brian train small --data digits",
    test_accuracy=0.1234567890123,
    n_test=500,
    date="2026-01-31",
    versions={"torch": "2.5"},
)


def small(seed=0, n_out=4):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(60, n_out),
    )


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "cnn.safetensors"
    save_weights(path, small(), CARD)
    return path


def test_round_trip(saved):
    module = small(seed=1)
    assert not same_weights(module, small())
    assert load_weights(module, saved) == CARD
    assert same_weights(module, small())
    names = sorted(path.name for path in saved.parent.iterdir())
    assert names == ["cnn.json", "cnn.safetensors"]


def test_channels_last_weights_are_kept(tmp_path):
    module = small().to(memory_format=torch.channels_last)
    save_weights(tmp_path / "cnn.safetensors", module, CARD)
    loaded = small(seed=1)
    load_weights(loaded, str(tmp_path / "cnn.safetensors"))
    assert same_weights(loaded, small())


def test_card_round_trip(saved):
    assert read_card(saved) == CARD
    values = json.loads(saved.with_suffix(".json").read_text())
    assert values["test_accuracy"] == CARD.test_accuracy
    assert values["input_shape"] == [2, 7, 6]


def test_a_card_may_leave_out_the_versions(saved):
    card = saved.with_suffix(".json")
    values = json.loads(card.read_text())
    del values["versions"]
    card.write_text(json.dumps(values))
    assert read_card(saved).versions == {}


def test_a_missing_card_is_refused(saved):
    saved.with_suffix(".json").unlink()
    module = small(seed=1)
    with pytest.raises(InputError, match="cnn.json: not a readable model card"):
        load_weights(module, saved)
    assert same_weights(module, small(seed=1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"{}",
        b"\xff\xfe\x00",
        b'{"architecture": "small", "input_shape": [1, 8, 8], "classes": ["a"]}',
        b'{"input_shape": 3, "classes": ["a"]}',
    ],
)
def test_a_damaged_card_is_refused(saved, content):
    saved.with_suffix(".json").write_bytes(content)
    with pytest.raises(InputError, match="cnn.json: not a readable model card"):
        read_card(saved)


def test_a_card_with_unknown_entries_is_refused(saved):
    card = saved.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"mood": "good"}))
    with pytest.raises(InputError, match="mood"):
        read_card(saved)


def test_a_missing_file_is_refused(saved):
    saved.unlink()
    with pytest.raises(InputError, match="cnn.safetensors: there is no such file"):
        load_weights(small(), saved)


def test_no_flipped_bit_gives_other_weights(saved):
    whole, rng = saved.read_bytes(), np.random.default_rng(6)
    before = small()
    refused = 0
    for position in rng.integers(0, len(whole), 100):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            load_weights(after := small(seed=1), saved)
        except InputError:
            refused += 1
        else:
            # A header ends in spaces.
            assert same_weights(after, before)
    assert refused > 90


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_a_damaged_file_is_refused(tmp_path, saved, suffix, share):
    path = tmp_path / f"damaged{suffix}"
    if suffix == ".pt":
        torch.save(small().state_dict(), path)
    else:
        path.write_bytes(saved.read_bytes())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    module = small(seed=1)
    with pytest.raises(InputError, match="damaged.* not a readable file of weights"):
        load_state(module, path)
    assert same_weights(module, small(seed=1))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("content", [b"not weights", b"\x80\x04K\x01.", b"\x00" * 100])
def test_another_file_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="other"):
        load_state(small(), path)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    path = tmp_path / "bomb.pt"
    torch.save({"0.weight": Bomb()}, path)
    with pytest.raises(InputError, match="bomb.pt: not a readable file of weights"):
        load_state(small(), path)
    assert not (tmp_path / "run").exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    path = tmp_path / "module.pt"
    torch.save(small(), path)
    with pytest.raises(InputError, match="module.pt: not a readable file of weights"):
        load_state(small(), path)


@pytest.mark.parametrize(
    "other",
    [small(n_out=5), nn.Sequential(nn.Flatten(), nn.Linear(84, 4)), nn.Linear(60, 4)],
)
def test_weights_of_another_cnn_are_refused(saved, other):
    with pytest.raises(InputError, match="cnn.safetensors: the weights don't fit"):
        load_weights(other, saved)


def test_state_dicts_of_torch_are_read(tmp_path):
    path = tmp_path / "cnn.pt"
    torch.save(small().state_dict(), path)
    module = small(seed=1)
    load_state(module, path)
    assert same_weights(module, small())


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), {"state_dict": {}}, {}, 3])
def test_other_contents_of_torch_are_refused(tmp_path, content):
    path = tmp_path / "cnn.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match="cnn.pt: the weights don't fit the CNN"):
        load_state(small(), path)


PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", "Lightning"])
def test_what_wrappers_put_in_front_of_names_is_left_out(tmp_path, prefix, suffix):
    state = {prefix + name: value for name, value in small().state_dict().items()}
    path = tmp_path / f"cnn{suffix if suffix != 'Lightning' else '.ckpt'}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(
            state if suffix == ".pt" else {"epoch": 3, "state_dict": state}, path
        )
    module = small(seed=1)
    load_state(module, path)
    assert same_weights(module, small())


def test_wrapped_modules_load_the_same(tmp_path):
    path, module = tmp_path / "cnn.pt", small(seed=1)
    torch.save(nn.DataParallel(small()).state_dict(), path)
    load_state(module, path)
    assert same_weights(module, small())
    inside = small()
    inside[0] = torch.compile(inside[0])
    torch.save(inside.state_dict(), path)
    module = small(seed=1)
    load_state(module, path)
    assert same_weights(module, small())
    torch.save(small(seed=2).state_dict(), path)
    load_state(inside, path)
    assert torch.equal(inside[4].weight, small(seed=2)[4].weight)
    assert torch.equal(inside[0].weight, small(seed=2)[0].weight)


NO_WEIGHTS = {
    "nothing": (b"", "it is empty$"),
    "limit": (b"Rate limit exceeded\n", "a text file, 'Rate limit exceeded'; was it"),
    "page": (b"<!DOCTYPE html>\n<html>", "a text file, '<!DOCTYPE html>'"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n",
        "a pointer of Git LFS; fetch",
    ),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_files_without_weights_are_named_in_one_line(tmp_path, suffix, kind):
    content, says = NO_WEIGHTS[kind]
    path = tmp_path / f"cnn{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as refused:
        load_state(small(), path)
    assert "\n" not in str(refused.value)


def test_bytes_of_nobody_are_not_said_to_be_code(tmp_path):
    path = tmp_path / "cnn.pt"
    path.write_bytes(np.random.default_rng(0).bytes(500))
    with pytest.raises(InputError, match="it is not a file that torch.save wrote"):
        load_state(small(), path)
    torch.save(small(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="other objects than tensors"):
        load_state(small(), path)


@pytest.mark.parametrize("kind", ["module", "script", "settings"])
def test_what_can_run_code_is_named_in_one_line(tmp_path, kind):
    path = tmp_path / "cnn.pt"
    says = "other objects than tensors, as a whole module"
    if kind == "script":
        torch.jit.save(torch.jit.script(small()), path)
        says = "it is TorchScript"
    elif kind == "module":
        torch.save(small(), path)
    else:
        torch.save({"state_dict": small().state_dict(), "card": CARD}, path)
    with pytest.raises(InputError, match=says) as refused:
        load_state(small(), path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            small(n_out=5),
            r"'4.weight' and 1 more of another shape \(\(4, 60\)",
        ),
        (
            nn.Sequential(nn.Linear(84, 4)),
            "6 more unknown to it; '0.weight' and 1",
        ),
        (
            nn.Linear(60, 4),
            "'weight' and 1 more missing; '.*' and 8 more unknown",
        ),
    ],
)
def test_a_misfit_is_named_in_one_line(saved, other, says):
    with pytest.raises(InputError, match=says) as refused:
        load_state(other, saved)
    assert "\n" not in str(refused.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        save_weights(tmp_path / "nowhere" / "cnn.safetensors", small(), CARD)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_architectures_compute_ten_classes(architecture):
    shape = (1, 8, 8) if architecture == "digits" else (3, 32, 32)
    with torch.no_grad():
        assert create(architecture).eval()(torch.zeros(2, *shape)).shape == (2, 10)


def test_the_papers_cnn():
    kinds = [type(layer).__name__ for layer in cifar10_quick()]
    assert [kinds.count(kind) for kind in ("LeakyReLU", "MaxPool2d", "ReLU")] == [
        4,
        2,
        0,
    ]
    adjusted = cifar10_quick(adjusted=True)
    kinds = [type(layer).__name__ for layer in adjusted]
    assert [kinds.count(kind) for kind in ("ReLU", "AvgPool2d", "MaxPool2d")] == [
        4,
        2,
        0,
    ]
    # conv 5x5: 3 -> 32 -> 32 -> 64 channels; then 4096 -> 64 -> 10.
    n = 25 * (3 * 32 + 32 * 32 + 32 * 64) + 4096 * 64 + 64 * 10
    assert sum(parameter.numel() for parameter in adjusted.parameters()) == n


def test_unknown_architectures_are_refused():
    with pytest.raises(
        InputError, match="unknown CNN 'lenet'; there are cifar10_quick"
    ):
        create("lenet")
    with pytest.raises(InputError, match="unknown CNN 'lenet'"):
        pretrained("lenet")


def test_pretrained_digits_are_as_accurate_as_their_card_says():
    module, card = pretrained("digits")
    _, test = load_digits()
    assert not module.training
    assert card.input_shape == test.input_shape
    assert card.classes == test.classes
    assert card.n_test == len(test)
    # An image or two may be on the edge, on another processor.
    assert accuracy(module, test) == pytest.approx(
        card.test_accuracy, abs=2 / len(test)
    )
    assert not same_weights(module, digits())
