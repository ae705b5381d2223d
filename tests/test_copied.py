"""Copies of CNNs to read: hooks, computed tensors, wrappers, parametrizations."""

import functools
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from cnn2snn_brian import InputError, UnsupportedModuleError, adjust
from cnn2snn_brian.cnn.from_torch import from_torch

SHAPE = (2, 7, 6)
PIXELS = np.random.default_rng(1).random((3, *SHAPE))


def plain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4)
    ).eval()


def computed(module):
    with torch.no_grad():
        return module(torch.tensor(PIXELS, dtype=torch.float32)).numpy()


def read_as(module, expected):
    layers = from_torch(module, SHAPE)
    found = layers.activations(PIXELS)[layers.names[-1]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def twice(module, inputs, result):
    return 2 * result


def in_place(module, inputs, result):
    result.mul_(2)


def the_input(module, inputs, result):
    return inputs[0]


@pytest.mark.parametrize("hook", [twice, in_place, functools.partial(twice)])
@pytest.mark.parametrize("place", ["0", "1", "3"])
def test_hooks_that_change_a_result_are_refused(hook, place):
    module = plain()
    module.get_submodule(place).register_forward_hook(hook)
    with pytest.raises(UnsupportedModuleError, match=f"^{place}: .*[Hh]ook"):
        from_torch(module, SHAPE)


@pytest.mark.parametrize("hook", [twice, in_place])
def test_hooks_of_the_whole_cnn_that_change_its_result_are_refused(hook):
    module = plain()
    module.register_forward_hook(hook)
    with pytest.raises(UnsupportedModuleError, match="^Sequential: .*[Hh]ook"):
        from_torch(module, SHAPE)


@pytest.mark.parametrize(
    "hook",
    [
        lambda module, inputs: (inputs[0] + 1,),
        lambda module, inputs: inputs[0] + 1,
        lambda module, inputs: torch.add(inputs[0], 1, out=inputs[0]),
    ],
)
def test_hooks_that_change_an_input_are_refused(hook):
    module = plain()
    module[1].register_forward_pre_hook(hook)
    with pytest.raises(UnsupportedModuleError, match="^[123]: .*[Hh]ook"):
        from_torch(module, SHAPE)


def test_a_hook_that_skips_a_module_is_refused():
    module = plain()
    module[1].register_forward_hook(the_input)
    with pytest.raises(UnsupportedModuleError, match="^1: .*[Hh]ook"):
        from_torch(module, SHAPE)


def test_a_hook_with_keywords_that_changes_a_result_is_refused():
    module = plain()
    module[0].register_forward_hook(
        lambda module, inputs, options, result: 2 * result, with_kwargs=True
    )
    with pytest.raises(UnsupportedModuleError, match="^0: its hook <lambda> changes"):
        from_torch(module, SHAPE)


def test_hooks_that_only_act_sometimes_are_refused_too():
    # The noise of the check does not reach 50.
    module = plain()
    module[0].register_forward_hook(lambda module, inputs, result: result.clamp(max=50))
    with pytest.raises(UnsupportedModuleError, match="^0: its hook <lambda> changes"):
        from_torch(module, SHAPE)


def test_hooks_of_all_modules_that_change_values_are_refused():
    def more(module, inputs, result):
        return 1.1 * result if isinstance(module, nn.Conv2d) else None

    hook = nn.modules.module.register_module_forward_hook(more)
    try:
        with pytest.raises(UnsupportedModuleError, match="^0: .*[Hh]ook"):
            from_torch(plain(), SHAPE)
    finally:
        hook.remove()


SEEN: list = []


class Capture:
    """A hook with a state."""

    def __init__(self):
        self.seen = []

    def __call__(self, module, inputs, result):
        self.seen.append(result)

    def look(self, module, inputs, result):
        self.seen.append(result)


def test_hooks_that_look_see_none_of_our_images():
    module, expected = plain(), computed(plain())
    seen, by_name, n = [], {"calls": []}, 0
    capture = Capture()

    def count(module, inputs, result):
        nonlocal n
        n += 1

    def defaults(module, inputs, result, seen=seen):
        seen.append(result)

    def into_global(module, inputs, result):
        SEEN.append(result)

    hooks = [
        lambda module, inputs, result: seen.append(result),
        lambda module, inputs, result: by_name["calls"].append(result),
        lambda module, inputs, result: by_name.update({module: result}),
        functools.partial(lambda seen, *_: seen.append(1), seen),
        count,
        defaults,
        into_global,
        capture,
        capture.look,
    ]
    for place in (0, 1, 3):
        for hook in hooks:
            module[place].register_forward_hook(hook)
        module[place].register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    module.register_forward_hook(lambda *_: seen.append(1))
    read_as(module, expected)
    assert seen == SEEN == capture.seen == []
    assert by_name == {"calls": []}
    assert n == 0
    # They are there as before.
    computed(module)
    assert len(capture.seen) == 6
    assert n == len(SEEN) == 3
    SEEN.clear()


def test_hooks_may_return_what_they_got():
    module = plain()
    module[1].register_forward_pre_hook(lambda module, inputs: inputs)
    module[1].register_forward_pre_hook(lambda module, inputs: (inputs[0],))
    module[1].register_forward_pre_hook(lambda module, inputs: inputs[0])
    module[1].register_forward_hook(lambda module, inputs, result: result)
    read_as(module, computed(plain()))


def pruned(layer):
    prune.l1_unstructured(layer, "weight", 0.5)


REWRITTEN = [
    weight_norm,
    spectral_norm,
    pruned,
    parametrizations.weight_norm,
    parametrizations.spectral_norm,
    parametrizations.orthogonal,
]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("ran", [None, "with gradient", "without"])
@pytest.mark.parametrize("rewrite", REWRITTEN)
@pytest.mark.parametrize("place", [0, 3])
def test_weights_that_are_computed_of_others(rewrite, ran, place):
    module = plain().train()
    rewrite(module[place])
    module.eval()
    if ran is not None:
        with torch.set_grad_enabled(ran == "with gradient"):
            module(torch.ones(1, *SHAPE))
    read_as(module, computed(module))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("rewrite", REWRITTEN)
def test_adjust_takes_weights_that_are_computed_of_others(rewrite):
    module = plain().train()
    rewrite(module[0])
    module.eval()
    module(torch.ones(1, *SHAPE))
    adjusted = adjust(module).module.eval()
    with torch.no_grad():
        module[0].bias.zero_()
        module[3].bias.zero_()
    np.testing.assert_allclose(computed(adjusted), computed(module), atol=1e-6)
    # It can be trained on: weights are still computed of others.
    computed_before = adjusted[0].weight.detach().clone()
    adjusted(torch.ones(1, *SHAPE)).square().sum().backward()
    with torch.no_grad():
        for parameter in adjusted.parameters():
            parameter.sub_(0.5 * parameter.grad)
    adjusted(torch.ones(1, *SHAPE))
    assert not torch.equal(adjusted[0].weight, computed_before)


class Keeps(nn.Module):
    """A CNN that keeps what it computed."""

    def __init__(self, put):
        super().__init__()
        self.features, self.rest = plain()[:2], plain()[2:]
        self.put = put

    def forward(self, x):
        x = self.features(x)
        self.put(self, x)
        return self.rest(x)


@pytest.mark.parametrize(
    "put",
    [
        lambda self, x: setattr(self, "kept", x),
        lambda self, x: setattr(self, "kept", [x, x]),
        lambda self, x: setattr(self, "kept", {"maps": (x, x.mean())}),
    ],
)
def test_a_cnn_that_keeps_its_results_can_be_read(put):
    module = Keeps(put).eval()
    expected = computed(module)
    module(torch.tensor(PIXELS, dtype=torch.float32))  # with a gradient
    read_as(module, expected)
    assert adjust(module).module.features[0].bias is None
    kept = module.kept
    while not isinstance(kept, torch.Tensor):
        kept = next(iter(kept.values())) if isinstance(kept, dict) else kept[0]
    assert kept.shape == (3, 3, 5, 4)
    assert kept.grad_fn is not None


@pytest.mark.parametrize("function", [lambda m: from_torch(m, SHAPE), adjust])
def test_what_can_not_be_copied_is_refused_in_a_sentence(function):
    module = plain()
    module.lock = threading.Lock()
    with pytest.raises(InputError, match=r"^the CNN \(Sequential\) can't be copied"):
        function(module)


def test_wrappers_are_taken_off():
    module, expected = plain(), computed(plain())
    read_as(torch.compile(module), expected)
    read_as(nn.DataParallel(module), expected)
    read_as(nn.DataParallel(torch.compile(module)), expected)
    nested = nn.Sequential(torch.compile(module[:2]), nn.DataParallel(module[2:]))
    read_as(nested, expected)
    assert isinstance(nested[1], nn.DataParallel)
    wrapped = nn.Sequential(nn.DataParallel(module))
    wrapped[0].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedModuleError, match="^0: a DataParallel with hooks"):
        from_torch(wrapped, SHAPE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", ["RecursiveScriptModule", "1"])
def test_script_modules_are_refused_with_what_to_do(path):
    module = torch.jit.script(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()))
    if path == "1":
        module = nn.Sequential(nn.Identity(), module)
    with pytest.raises(UnsupportedModuleError, match=f"^{path}: found a ScriptModule"):
        from_torch(module, SHAPE)


@pytest.mark.parametrize("call", ["retain_grad", "register_hook"])
def test_a_hook_that_fails_is_named(call):
    def look_back(module, shown, result):
        getattr(result, call)(*((print,) if call == "register_hook" else ()))

    cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    cnn[0].register_forward_hook(look_back)
    with pytest.raises(UnsupportedModuleError, match="^0: its hook look_back fails: "):
        from_torch(cnn, (1, 6, 8))


class Looker:
    """A hook that can't be copied."""

    def __init__(self):
        self.lock = threading.Lock()

    def look(self, module, shown, result):
        with self.lock:
            pass

    __call__ = look


@pytest.mark.parametrize("hook", [Looker(), Looker().look])
def test_a_hook_that_can_not_be_copied_is_called_itself(hook):
    cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    cnn[0].register_forward_hook(hook)
    assert from_torch(cnn, (1, 6, 8)).names == ("conv1",)
    assert adjust(cnn).module[0]._forward_hooks
