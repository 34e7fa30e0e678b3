"""Containers, backward hooks, recurrent layers, parametrised weights, special first values."""

import copy
import math
from collections import OrderedDict

import pytest

import dlgrad
from dlgrad import nn
from dlgrad.nn import functional as F
from dlgrad.nn import init
from dlgrad.nn.utils import parametrizations, parametrize
from dlgrad.nn.utils.rnn import pad_sequence, unpad_sequence


def numbers(value):
    return value.reshape(-1).tolist()


# Containers -------------------------------------------------------------------------------------


def test_a_sequence_can_be_changed():
    model = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), second=nn.ReLU()))
    model[1] = nn.Tanh()
    assert list(model._modules) == ["first", "second"] and isinstance(model.second, nn.Tanh)
    model.append(nn.Linear(3, 1)).insert(1, nn.Identity())
    assert [type(m).__name__ for m in model] == ["Linear", "Identity", "Tanh", "Linear"]
    assert isinstance(model[1:3], nn.Sequential) and len(model[1:3]) == 2
    assert isinstance(model.pop(1), nn.Identity) and len(model + model) == 6
    assert tuple(model(dlgrad.ones(4, 2)).shape) == (4, 1)
    del model[0]
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    with pytest.raises(ValueError, match="Sequential"):
        model + [nn.ReLU()]


def test_lists_and_dictionaries_of_parameters():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = nn.ParameterList([dlgrad.ones(2), nn.Parameter(dlgrad.zeros(3))])
            self.named = nn.ParameterDict({"a": dlgrad.ones(1)})

    model = Model()
    names = [name for name, _ in model.named_parameters()]
    assert names == ["rows.0", "rows.1", "named.a"]
    assert model.rows[0].requires_grad and isinstance(model.rows[-1], nn.Parameter)
    model.rows.append(dlgrad.ones(4))
    model.named["b"] = dlgrad.ones(2, 2)
    assert len(model.rows) == 3 and list(model.named) == ["a", "b"]
    assert "(1): Parameter containing: [dlgrad.float32 of size 3]" in repr(model.rows)
    assert "(b): Parameter containing: [dlgrad.float32 of size 2x2]" in repr(model.named)
    assert model.named.pop("a").tolist() == [1.0] and "a" not in model.named
    assert len(model.rows[1:]) == 2
    twin = copy.deepcopy(model)
    assert twin.rows[0] is not model.rows[0] and len(list(twin.parameters())) == 4
    with pytest.raises(IndexError):
        model.rows[5]
    with pytest.raises(KeyError):
        model.named["nothing"]


# Hooks ------------------------------------------------------------------------------------------


def test_backward_hooks_see_and_change_gradients():
    layer, seen = nn.Linear(2, 1, bias=False), []
    layer.load_state_dict({"weight": dlgrad.tensor([[2.0, 3.0]])})

    def before(module, grad_output):
        seen.append(("before", grad_output[0].tolist()))
        return (grad_output[0] * 10,)

    def after(module, grad_input, grad_output):
        seen.append(("after", grad_input[0].tolist(), grad_output[0].tolist()))
        return (grad_input[0] + 1,)

    first = layer.register_full_backward_pre_hook(before)
    second = layer.register_full_backward_hook(after)
    x = dlgrad.tensor([[1.0, 5.0]], requires_grad=True)
    layer(x).sum().backward()
    assert seen == [("before", [[1.0]]), ("after", [[20.0, 30.0]], [[10.0]])]
    assert x.grad.tolist() == [[21.0, 31.0]] and layer.weight.grad.tolist() == [[10.0, 50.0]]
    first.remove(), second.remove()
    x.grad = None
    layer(x).sum().backward()
    assert x.grad.tolist() == [[2.0, 3.0]] and len(seen) == 2


def test_backward_hooks_of_inputs_without_a_gradient():
    layer, seen = nn.Bilinear(2, 2, 1), []
    layer.register_full_backward_hook(lambda module, given, got: seen.append((given, got)))
    layer(dlgrad.ones(1, 2), dlgrad.ones(1, 2)).sum().backward()
    given, got = seen[0]
    assert given == (None, None) and got[0].tolist() == [[1.0]]
    layer(dlgrad.ones(1, 2), dlgrad.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen[1][0][0] is None and tuple(seen[1][0][1].shape) == (1, 2)


def test_a_backward_hook_must_keep_the_number_of_gradients():
    layer = nn.Identity()
    layer.register_full_backward_hook(lambda module, given, got: (given[0], given[0]))
    with pytest.raises(RuntimeError, match="returned 2 gradients"):
        layer(dlgrad.ones(2, requires_grad=True)).sum().backward()


# States -----------------------------------------------------------------------------------------


def test_an_older_state_may_lack_the_count_of_batches():
    norm = nn.Sequential(nn.BatchNorm1d(2))
    state = norm.state_dict()
    del state["0.num_batches_tracked"]
    assert norm.load_state_dict(state).missing_keys == []


# Recurrent layers -------------------------------------------------------------------------------


def test_a_layer_is_its_cell_step_by_step():
    for layer_class, cell_class in ((nn.RNN, nn.RNNCell), (nn.GRU, nn.GRUCell)):
        layer, cell = layer_class(3, 2), cell_class(3, 2)
        cell.load_state_dict({
            name.removesuffix("_l0"): value for name, value in layer.state_dict().items()
        })  # fmt: skip
        x, h = dlgrad.randn(4, 5, 3), dlgrad.zeros(5, 2)
        out, last = layer(x)
        for i in range(4):
            h = cell(x[i], h)
            assert numbers(out[i]) == pytest.approx(numbers(h), abs=1e-6)
        assert numbers(last) == pytest.approx(numbers(h), abs=1e-6)


def test_an_lstm_with_known_weights():
    cell = nn.LSTMCell(1, 1)
    for parameter in cell.parameters():
        init.constant_(parameter, 0.5)

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    h, c = cell(dlgrad.tensor([2.0]))
    gate = 0.5 * 2 + 0.5 + 0.5
    expected = sigmoid(gate) * math.tanh(gate)
    assert c.item() == pytest.approx(expected, rel=1e-5)
    assert h.item() == pytest.approx(sigmoid(gate) * math.tanh(expected), rel=1e-5)


def test_recurrent_layers_are_trained_and_check_their_input():
    lstm = nn.LSTM(2, 3, num_layers=2, bidirectional=True, batch_first=True)
    out, (h, c) = lstm(dlgrad.randn(4, 5, 2))
    assert tuple(out.shape) == (4, 5, 6) and tuple(h.shape) == tuple(c.shape) == (4, 4, 3)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in lstm.parameters())
    assert len(lstm.all_weights) == 4 and len(lstm.all_weights[0]) == 4
    with pytest.raises(RuntimeError, match="Expected 2, got 3"):
        lstm(dlgrad.zeros(4, 5, 3))
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        lstm(dlgrad.zeros(4, 5, 2), (dlgrad.zeros(1, 4, 3), dlgrad.zeros(4, 4, 3)))
    with pytest.raises(ValueError, match="nonlinearity"):
        nn.RNN(2, 3, nonlinearity="sin")
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        nn.GRU(2, 3, dropout=0.5)


def test_sequences_of_different_lengths():
    rows = [dlgrad.ones(2), dlgrad.ones(3) * 2]
    padded = pad_sequence(rows, batch_first=True, padding_value=-1.0)
    assert padded.tolist() == [[1.0, 1.0, -1.0], [2.0, 2.0, 2.0]]
    assert pad_sequence(rows, padding_side="left").tolist() == [[0, 2], [1, 2], [1, 2]]
    back = unpad_sequence(padded, dlgrad.tensor([2, 3]), batch_first=True)
    assert [row.tolist() for row in back] == [[1.0, 1.0], [2.0, 2.0, 2.0]]


# Parametrised weights ---------------------------------------------------------------------------


def test_weight_norm():
    layer = nn.Linear(3, 2)
    before = numbers(layer.weight)
    parametrizations.weight_norm(layer)
    assert type(layer).__name__ == "ParametrizedLinear" and parametrize.is_parametrized(layer)
    assert sorted(layer.state_dict()) == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1"
    ]  # fmt: skip
    assert numbers(layer.weight) == pytest.approx(before, rel=1e-5)
    with dlgrad.no_grad():
        layer.parametrizations.weight.original0.fill_(2.0)
    lengths = (layer.weight**2).sum(1).sqrt()
    assert numbers(lengths) == pytest.approx([2.0, 2.0], rel=1e-5)
    layer(dlgrad.ones(1, 3)).sum().backward()
    assert layer.parametrizations.weight.original1.grad is not None
    twin = copy.deepcopy(layer)
    assert numbers(twin.weight) == pytest.approx(numbers(layer.weight))
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter)
    assert numbers(layer.weight) == pytest.approx(numbers(twin.weight))


def test_spectral_norm():
    dlgrad.manual_seed(0)
    layer = nn.Linear(2, 2)
    with dlgrad.no_grad():
        layer.weight.copy_(dlgrad.tensor([[3.0, 0.0], [0.0, 1.0]]))
    parametrizations.spectral_norm(layer)
    assert sorted(layer.state_dict()) == [
        "bias", "parametrizations.weight.0._u", "parametrizations.weight.0._v",
        "parametrizations.weight.original",
    ]  # fmt: skip
    assert numbers(layer.weight) == pytest.approx([1.0, 0.0, 0.0, 1 / 3], abs=1e-4)
    layer.eval()
    assert numbers(layer.weight) == numbers(layer.weight)


def test_a_parametrization_of_ones_own():
    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).t()

    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert numbers(layer.weight) == numbers(layer.weight.t())
    layer.weight = dlgrad.eye(3)
    assert numbers(layer.parametrizations.weight.original) == numbers(dlgrad.eye(3))
    with pytest.raises(ValueError, match="shape or dtype"):
        parametrize.register_parametrization(layer, "bias", nn.Unflatten(0, (3, 1)))
    with pytest.raises(ValueError, match="nothing"):
        parametrize.register_parametrization(layer, "nothing", Symmetric())


def test_parameters_as_a_vector():
    model = nn.Linear(2, 2)
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert numbers(vector) == numbers(model.weight) + numbers(model.bias)
    nn.utils.vector_to_parameters(dlgrad.arange(6.0), model.parameters())
    assert model.weight.tolist() == [[0.0, 1.0], [2.0, 3.0]] and model.bias.tolist() == [4.0, 5.0]
    with pytest.raises(RuntimeError, match="6 elements"):
        nn.utils.vector_to_parameters(dlgrad.ones(5), model.parameters())


def test_the_norm_of_everything():
    tensors = [dlgrad.tensor([3.0]), dlgrad.tensor([[4.0, 0.0]])]
    assert nn.utils.get_total_norm(tensors).item() == pytest.approx(5.0)
    assert nn.utils.get_total_norm(tensors, math.inf).item() == 4.0
    assert nn.utils.get_total_norm([]).item() == 0.0


# First values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (8, 2, 3)])
def test_orthogonal_rows_or_columns(shape):
    dlgrad.manual_seed(4)
    weight = init.orthogonal_(dlgrad.zeros(shape), gain=2.0).reshape(shape[0], -1)
    rows, columns = weight.shape
    product = weight @ weight.t() if rows <= columns else weight.t() @ weight
    assert numbers(product) == pytest.approx(numbers(4 * dlgrad.eye(min(rows, columns))), abs=1e-5)


def test_special_matrices():
    assert init.eye_(dlgrad.ones(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    weight = init.dirac_(dlgrad.ones(4, 2, 3), groups=2)
    x = dlgrad.arange(8.0).reshape(1, 4, 2)
    assert F.conv1d(x, weight, padding=1, groups=2).tolist() == x.tolist()
    sparse = init.sparse_(dlgrad.ones(10, 4), 0.3)
    assert (sparse == 0).sum(0).tolist() == [3, 3, 3, 3]
    for fill in (init.eye_, init.dirac_, init.orthogonal_):
        with pytest.raises(ValueError, match="dimensions"):
            fill(dlgrad.ones(2))
    assert init.calculate_gain("conv_transpose2d") == 1.0


def test_first_values_of_tables_and_attention():
    dlgrad.manual_seed(5)
    table = nn.Embedding(200, 50, padding_idx=3)
    assert table.weight.std().item() == pytest.approx(1.0, abs=0.03)
    assert table.weight[3].abs().sum().item() == 0.0
    attention = nn.MultiheadAttention(32, 4)
    bound = math.sqrt(6 / (32 + 96))
    assert 0.95 * bound < attention.in_proj_weight.max().item() <= bound
    assert attention.in_proj_bias.abs().sum().item() == 0.0
    fixed = nn.Embedding.from_pretrained(dlgrad.ones(2, 3))
    assert not fixed.weight.requires_grad
    with pytest.raises(NotImplementedError, match="sparse"):
        nn.Embedding(2, 3, sparse=True)


# Transformers -----------------------------------------------------------------------------------


def test_a_causal_transformer_does_not_look_ahead():
    dlgrad.manual_seed(6)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    x = dlgrad.randn(1, 4, 8)
    changed = x.clone()
    changed[0, 3] += 1.0
    first, second = encoder(x, mask), encoder(changed, mask)
    assert numbers(first[0, :3]) == pytest.approx(numbers(second[0, :3]), abs=1e-6)
    assert numbers(first[0, 3]) != pytest.approx(numbers(second[0, 3]), abs=1e-3)
    assert encoder.layers[0] is not encoder.layers[1]
    with pytest.raises(RuntimeError, match="relu/gelu"):
        nn.TransformerEncoderLayer(8, 2, activation="sin")
