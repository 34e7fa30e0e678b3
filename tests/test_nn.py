"""Modules: registration, walking, state, hooks, containers, printing."""

import copy
import pickle

import pytest

import dlgrad
from dlgrad import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2, bias=False))
        self.scale = nn.Parameter(dlgrad.ones(2))
        self.register_buffer("mask", dlgrad.tensor([1.0, 0.0]))
        self.register_buffer("scratch", dlgrad.zeros(1), persistent=False)

    def forward(self, x):
        return self.rest(self.first(x)) * self.scale * self.mask


# Registration and walking ----------------------------------------------------------------------


def test_names_of_parameters_buffers_and_modules():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "scale", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.2.weight",
    ]  # fmt: skip
    assert [name for name, _ in net.named_buffers()] == [
        "mask", "scratch", "rest.0.running_mean", "rest.0.running_var",
        "rest.0.num_batches_tracked",
    ]  # fmt: skip
    assert [name for name, _ in net.named_modules()] == [
        "", "first", "rest", "rest.0", "rest.1", "rest.2",
    ]  # fmt: skip
    assert [name for name, _ in net.named_children()] == ["first", "rest"]
    assert [name for name, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    assert list(net.state_dict()) == [
        "scale", "mask", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias",
        "rest.0.running_mean", "rest.0.running_var", "rest.0.num_batches_tracked",
        "rest.2.weight",
    ]  # fmt: skip


def test_shared_members_are_found_once():
    net = nn.Module()
    net.a = net.b = nn.Linear(2, 2)
    net.c = net.a.weight
    assert [name for name, _ in net.named_parameters()] == ["c", "a.bias"]
    everything = [name for name, _ in net.named_parameters(remove_duplicate=False)]
    assert everything == ["c", "a.weight", "a.bias", "b.weight", "b.bias"]
    assert len(list(net.modules())) == 2 and len(list(net.children())) == 1
    assert "b.weight" in net.state_dict()


def test_attributes_are_registered_replaced_and_deleted():
    net = Net()
    net.first = nn.Linear(3, 5)
    assert net.first.out_features == 5 and net._modules["first"] is net.first
    net.mask = dlgrad.zeros(2)
    assert net.mask.tolist() == [0.0, 0.0] and "mask" in net._buffers
    net.scale = None
    assert "scale" not in dict(net.named_parameters()) and net.scale is None
    del net.rest
    assert not hasattr(net, "rest") and len(list(net.modules())) == 2
    net.plain = nn.ReLU()
    net.plain = nn.Parameter(dlgrad.zeros(1))
    assert "plain" in net._parameters and "plain" not in net._modules
    net.number = 3
    net.number = nn.Linear(1, 1)
    assert isinstance(net.number, nn.Linear)
    assert "first" in dir(net)


def test_mistakes_in_registration_are_refused():
    net = Net()
    with pytest.raises(TypeError, match="scale"):
        net.scale = dlgrad.ones(2)
    with pytest.raises(TypeError, match="first"):
        net.first = 3
    with pytest.raises(KeyError, match="first"):
        net.register_buffer("first", dlgrad.zeros(1))
    with pytest.raises(KeyError, match="a.b"):
        net.add_module("a.b", nn.ReLU())
    with pytest.raises(KeyError):
        net.register_parameter("", None)
    with pytest.raises(TypeError):
        net.register_parameter("p", dlgrad.zeros(1))
    with pytest.raises(TypeError, match="made of a Tensor, got list"):
        nn.Parameter([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        net.register_buffer("b", 1.0)
    with pytest.raises(TypeError):
        net.add_module("m", 1)
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        net.nothing  # noqa: B018

    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match="super"):
        Early()
    with pytest.raises(NotImplementedError, match="forward"):
        nn.Module()(1)


def test_get_by_path():
    net = Net()
    assert net.get_submodule("rest.2") is net.rest[2]
    assert net.get_submodule("") is net
    assert net.get_parameter("first.bias") is net.first.bias
    assert net.get_buffer("rest.0.running_var") is net.rest[0].running_var
    for get, path in (
        (net.get_submodule, "rest.9"),
        (net.get_parameter, "mask"),
        (net.get_buffer, "scale"),
    ):
        with pytest.raises(AttributeError, match=path):
            get(path)


def test_modes_gradients_and_apply():
    net = Net()
    assert net.eval() is net and not net.rest[0].training
    assert net.train().rest[0].training
    with pytest.raises(ValueError):
        net.train("yes")
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(dlgrad.ones(4, 3)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all(p.grad.abs().sum().item() == 0 for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    seen = []
    net.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Linear", "BatchNorm1d", "ReLU", "Linear", "Sequential", "Net"]


def test_conversion_keeps_the_parameters():
    net = Net()
    weight, values = net.first.weight, net.first.weight.tolist()
    assert net.double() is net
    assert net.first.weight is weight and weight.dtype is dlgrad.float64
    assert weight.is_leaf and weight.requires_grad and weight.tolist() == values
    assert net.mask.dtype is dlgrad.float64
    assert net.rest[0].num_batches_tracked.dtype is dlgrad.int64
    assert net(dlgrad.ones(2, 3, dtype=dlgrad.float64)).dtype is dlgrad.float64
    assert net.half().mask.dtype is dlgrad.float16
    assert net.to(dlgrad.tensor(1.0)).mask.dtype is dlgrad.float32
    assert net.to("cpu", dtype=dlgrad.bfloat16).mask.dtype is dlgrad.bfloat16
    assert net.to(device="cpu").float().cpu().mask.dtype is dlgrad.float32
    with pytest.raises(TypeError, match="int64"):
        net.to(dlgrad.int64)


def test_conversion_converts_gradients_and_shared_parameters_once():
    net = nn.Module()
    net.a = nn.Linear(2, 2)
    net.b = net.a
    net.a(dlgrad.ones(1, 2)).sum().backward()
    net.double()
    assert net.a.weight is net.b.weight
    assert net.a.weight.grad.dtype is dlgrad.float64


# State -----------------------------------------------------------------------------------------


def test_state_goes_from_one_model_to_another(tmp_path):
    a, b = Net(), Net()
    a.rest[0].running_mean.fill_(0.5)
    x = dlgrad.randn(5, 3)
    dlgrad.save(a.state_dict(), tmp_path / "net.safetensors")
    result = b.load_state_dict(dlgrad.load(tmp_path / "net.safetensors"))
    assert repr(result) == str(result) == "<All keys matched successfully>"
    assert a.eval()(x).tolist() == b.eval()(x).tolist()
    a.first.weight.data.add_(1)
    assert a.eval()(x).tolist() != b(x).tolist(), "loading copies"


def test_state_dict_shares_memory_and_has_no_history():
    net = nn.Linear(2, 1)
    state = net.state_dict()
    with dlgrad.no_grad():
        net.weight.fill_(7.0)
    assert state["weight"].tolist() == [[7.0, 7.0]]
    assert not state["weight"].requires_grad
    assert net.state_dict(keep_vars=True)["weight"] is net.weight


def test_everything_wrong_with_a_state_is_one_error():
    net = Net()
    before = net.first.bias.tolist()
    state = net.state_dict()
    del state["scale"], state["first.bias"]
    state["more"] = dlgrad.zeros(1)
    state["first.weight"] = dlgrad.zeros(4, 9)
    state["mask"] = dlgrad.zeros(3)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    for part in (
        "Error(s) in loading state_dict for Net:",
        '\n\tMissing key(s) in state_dict: "scale", "first.bias". ',
        '\n\tUnexpected key(s) in state_dict: "more". ',
        "size mismatch for first.weight: copying a param with shape dlgrad.Size([4, 9]) from "
        "checkpoint, the shape in current model is dlgrad.Size([4, 3]).",
        "size mismatch for mask",
    ):  # fmt: skip
        assert part in message
    assert net.first.bias.tolist() == before


def test_a_state_that_is_not_strict():
    net = nn.Linear(2, 1)
    result = net.load_state_dict({"weight": dlgrad.ones(1, 2), "x": dlgrad.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"] and result.unexpected_keys == ["x"]
    assert "missing_keys=['bias']" in repr(result)
    assert net.weight.tolist() == [[1.0, 1.0]]
    with pytest.raises(RuntimeError, match="size mismatch"):
        net.load_state_dict({"weight": dlgrad.ones(1, 3)}, strict=False)
    with pytest.raises(RuntimeError, match='"weight", expected dlgrad.Tensor'):
        net.load_state_dict({"weight": [1.0]}, strict=False)
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([1])


def test_loading_converts_or_assigns():
    net = nn.BatchNorm1d(2)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    state["weight"] = dlgrad.tensor([3.0, 4.0], dtype=dlgrad.float64)
    net.load_state_dict(state)
    assert net.weight.dtype is dlgrad.float32 and net.weight.tolist() == [3.0, 4.0]
    net.load_state_dict(state, assign=True)
    assert net.weight.dtype is dlgrad.float64 and isinstance(net.weight, nn.Parameter)
    assert net.running_mean is state["running_mean"]


def test_modules_can_be_copied_and_pickled():
    net = Net()
    x = dlgrad.randn(4, 3)
    expected = net.eval()(x).tolist()
    for made in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert made(x).tolist() == expected
        assert isinstance(made.scale, nn.Parameter) and made.scale is not net.scale
        with dlgrad.no_grad():
            made.scale.fill_(9.0)
        assert net.scale.tolist() == [1.0, 1.0]


# Hooks -----------------------------------------------------------------------------------------


def test_hooks_see_and_change():
    layer = nn.Identity()
    seen = []
    first = layer.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    layer.register_forward_pre_hook(lambda m, args: seen.append(args), prepend=True)
    second = layer.register_forward_hook(lambda m, args, out: out * 10)
    third = layer.register_forward_hook(
        lambda m, args, kwargs, out: seen.append((kwargs, out)), with_kwargs=True
    )
    assert layer(1) == 20
    assert seen == [(1,), ({}, 20)]
    first.remove()
    first.remove()
    with second:
        assert layer(1) == 10
    third.remove()
    assert layer(1) == 1


def test_pre_hooks_with_keywords():
    class Plus(nn.Module):
        def forward(self, a, b=0):
            return a + b

    layer = Plus()
    with layer.register_forward_pre_hook(lambda m, a, k: (a, {"b": 5}), with_kwargs=True):
        assert layer(1, b=2) == 6
    with layer.register_forward_pre_hook(lambda m, args: 7):
        assert layer(1) == 7
    layer.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(TypeError, match="pre-hook"):
        layer(1)


# Containers ------------------------------------------------------------------------------------


def test_sequential():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3 and isinstance(model[1], nn.ReLU) and model[-1] is model[2]
    front = model[:2]
    assert isinstance(front, nn.Sequential) and front[0] is model[0] and len(front) == 2
    model[1] = nn.Tanh()
    assert isinstance(model[1], nn.Tanh)
    model.append(nn.Sigmoid()).insert(0, nn.Identity())
    assert [type(m).__name__ for m in model] == ["Identity", "Linear", "Tanh", "Linear", "Sigmoid"]
    del model[0]
    assert list(model.state_dict())[0] == "0.weight"
    named = nn.Sequential({"a": nn.Identity(), "b": nn.Linear(1, 1)})
    assert named.b is named[1] and list(named.state_dict()) == ["b.weight", "b.bias"]
    with pytest.raises(IndexError):
        model[9]


def test_module_list_and_dict():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    assert len(list(layers.parameters())) == 6 and isinstance(layers[1:], nn.ModuleList)
    layers += [nn.ReLU()]
    assert isinstance(layers, nn.ModuleList) and isinstance(layers[3], nn.ReLU)
    named = nn.ModuleDict({"up": nn.Linear(1, 2)})
    named["down"] = nn.Linear(2, 1)
    assert list(named) == ["up", "down"] and "up" in named and len(named) == 2
    assert [name for name, _ in named.named_parameters()][0] == "up.weight"
    assert named.pop("up").out_features == 2 and list(named.keys()) == ["down"]
    for container in (layers, named):
        with pytest.raises(NotImplementedError):
            container(1)


def test_repr_is_pytorchs():
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU())
            self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Dropout(0.1)])

    assert repr(Tiny()) == (
        "Tiny(\n"
        "  (body): Sequential(\n"
        "    (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)\n"
        "    (1): ReLU()\n"
        "  )\n"
        "  (blocks): ModuleList(\n"
        "    (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n"
        "    (2): Dropout(p=0.1, inplace=False)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.MaxPool2d(2)) == (
        "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"
    )
    assert repr(nn.Parameter(dlgrad.ones(1))).startswith("Parameter containing:\ntensor([1.]")
