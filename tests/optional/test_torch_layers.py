"""Every layer beside PyTorch's: text, state, results, and gradients of inputs and parameters."""

import copy
import warnings

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

import dlgrad  # noqa: E402
from dlgrad import nn  # noqa: E402

# Name, arguments of the constructor, settings, shapes of the inputs.  "int:5" in place of a
# size list stands for class numbers below 5 in the shape that follows.
ACTIVATIONS = [
    ("ReLU", (), {}, [(3, 4)]), ("LeakyReLU", (0.2,), {}, [(3, 4)]), ("PReLU", (), {}, [(3, 4)]),
    ("PReLU", (4,), {}, [(3, 4, 2)]), ("Hardtanh", (-0.5, 0.7), {}, [(3, 4)]),
    ("ReLU6", (), {}, [(3, 4)]), ("Hardsigmoid", (), {}, [(3, 4)]),
    ("Hardswish", (), {}, [(3, 4)]), ("Threshold", (0.1, 20), {}, [(3, 4)]),
    ("Hardshrink", (0.3,), {}, [(3, 4)]), ("Softshrink", (0.3,), {}, [(3, 4)]),
    ("Sigmoid", (), {}, [(3, 4)]), ("LogSigmoid", (), {}, [(3, 4)]), ("Tanh", (), {}, [(3, 4)]),
    ("Tanhshrink", (), {}, [(3, 4)]), ("Softsign", (), {}, [(3, 4)]), ("SiLU", (), {}, [(3, 4)]),
    ("Mish", (), {}, [(3, 4)]), ("SELU", (), {}, [(3, 4)]), ("ELU", (0.5,), {}, [(3, 4)]),
    ("CELU", (0.5,), {}, [(3, 4)]), ("GELU", (), {}, [(3, 4)]), ("GELU", ("tanh",), {}, [(3, 4)]),
    ("Softplus", (2, 1), {}, [(3, 4)]), ("Softmax", (1,), {}, [(3, 4)]),
    ("Softmin", (1,), {}, [(3, 4)]), ("LogSoftmax", (1,), {}, [(3, 4)]),
    ("Softmax2d", (), {}, [(2, 3, 2, 2)]), ("GLU", (), {}, [(3, 4)]),
    ("Identity", (3,), {}, [(3, 4)]),
]  # fmt: skip
LINEAR = [
    ("Linear", (4, 3), {}, [(2, 4)]), ("Linear", (4, 3), {"bias": False}, [(2, 5, 4)]),
    ("Bilinear", (3, 4, 2), {}, [(5, 3), (5, 4)]),
    ("Embedding", (5, 3), {"padding_idx": 1}, ["int:5", (2, 4)]),
    ("Embedding", (5, 3), {"max_norm": 1.0}, ["int:5", (4,)]),
    ("Embedding", (5, 3), {"scale_grad_by_freq": True}, ["int:5", (6,)]),
    ("EmbeddingBag", (5, 3), {"padding_idx": 2}, ["int:5", (4, 3)]),
    ("EmbeddingBag", (5, 3), {"mode": "max"}, ["int:5", (4, 3)]),
    ("CosineSimilarity", (), {}, [(3, 4), (3, 4)]),
    ("PairwiseDistance", (), {"keepdim": True}, [(3, 4), (3, 4)]),
]  # fmt: skip
CONVOLUTIONS = [
    ("Conv1d", (2, 4, 3), {"padding": 1, "groups": 2}, [(2, 2, 6)]),
    ("Conv1d", (2, 3, 2), {"padding": "same", "padding_mode": "circular"}, [(2, 2, 5)]),
    ("Conv2d", (2, 4, (3, 2)), {"stride": 2, "padding": (1, 0), "bias": False}, [(2, 2, 5, 6)]),
    ("Conv2d", (2, 3, 3), {"padding": 1, "padding_mode": "reflect"}, [(2, 4, 5)]),
    ("Conv3d", (2, 2, 2), {"dilation": 2, "padding_mode": "replicate", "padding": 1},
     [(1, 2, 3, 4, 4)]),
    ("ConvTranspose1d", (2, 3, 3), {"stride": 2, "output_padding": 1}, [(2, 2, 4)]),
    ("ConvTranspose2d", (4, 2, 3), {"stride": 2, "padding": 1, "groups": 2}, [(1, 4, 3, 4)]),
    ("ConvTranspose2d", (2, 2, 2), {"dilation": 2, "bias": False}, [(2, 3, 3)]),
    ("ConvTranspose3d", (2, 2, 2), {"stride": 2}, [(1, 2, 2, 2, 2)]),
]  # fmt: skip
NORMS = [
    ("BatchNorm1d", (3,), {}, [(4, 3)]), ("BatchNorm1d", (3,), {"bias": False}, [(4, 3, 2)]),
    ("BatchNorm2d", (3,), {"momentum": None, "affine": False}, [(2, 3, 2, 2)]),
    ("BatchNorm3d", (2,), {"track_running_stats": False}, [(2, 2, 2, 2, 2)]),
    ("InstanceNorm1d", (3,), {"affine": True, "track_running_stats": True}, [(2, 3, 4)]),
    ("InstanceNorm2d", (3,), {}, [(3, 4, 2)]),
    ("InstanceNorm3d", (2,), {"affine": True, "bias": False}, [(2, 2, 2, 2, 3)]),
    ("LayerNorm", ((3, 4),), {}, [(2, 3, 4)]),
    ("LayerNorm", (4,), {"elementwise_affine": False}, [(2, 4)]),
    ("GroupNorm", (2, 4), {}, [(2, 4, 3)]), ("GroupNorm", (2, 4), {"affine": False}, [(2, 4, 3)]),
    ("RMSNorm", (4,), {}, [(3, 4)]), ("RMSNorm", ((3, 4),), {"eps": 1e-3}, [(2, 3, 4)]),
    ("LocalResponseNorm", (2,), {"alpha": 0.1}, [(2, 4, 3)]),
]  # fmt: skip
POOLS = [
    ("MaxPool1d", (2,), {}, [(2, 3, 7)]),
    ("MaxPool2d", ((3, 2),), {"stride": 2, "padding": 1, "ceil_mode": True}, [(1, 2, 6, 5)]),
    ("MaxPool2d", (2,), {"dilation": 2, "stride": 1}, [(2, 5, 5)]),
    ("MaxPool3d", (2,), {}, [(1, 1, 4, 4, 4)]),
    ("AvgPool1d", (3,), {"padding": 1, "count_include_pad": False}, [(2, 2, 6)]),
    ("AvgPool2d", (2,), {"stride": 1, "padding": 1}, [(1, 2, 4, 4)]),
    ("AvgPool2d", (3,), {"ceil_mode": True, "divisor_override": 4}, [(1, 1, 5, 7)]),
    ("AvgPool3d", (2,), {"ceil_mode": True}, [(1, 1, 3, 4, 4)]),
    ("LPPool1d", (2, 3), {}, [(2, 2, 7)]), ("LPPool2d", (3, 2), {}, [(1, 2, 4, 5)]),
    ("LPPool3d", (2, 2), {}, [(1, 1, 4, 4, 4)]),
    ("AdaptiveAvgPool1d", (3,), {}, [(2, 2, 7)]),
    ("AdaptiveAvgPool2d", ((2, None),), {}, [(2, 2, 4, 3)]),
    ("AdaptiveAvgPool2d", ((3, 2),), {}, [(2, 2, 5, 3)]),
    ("AdaptiveAvgPool3d", (2,), {}, [(1, 2, 3, 4, 5)]),
    ("AdaptiveMaxPool1d", (3,), {}, [(2, 2, 7)]),
    ("AdaptiveMaxPool2d", ((3, 2),), {}, [(2, 2, 5, 3)]),
    ("AdaptiveMaxPool3d", (2,), {}, [(1, 2, 3, 4, 5)]),
]  # fmt: skip
SHAPES = [
    ("ZeroPad1d", (2,), {}, [(2, 3, 4)]), ("ZeroPad2d", ((1, -1, 2, 0),), {}, [(1, 2, 3, 4)]),
    ("ZeroPad3d", (1,), {}, [(1, 1, 2, 2, 2)]), ("ConstantPad1d", ((1, 2), 3.5), {}, [(2, 3, 4)]),
    ("ConstantPad2d", (1, -2.0), {}, [(1, 2, 3, 4)]),
    ("ConstantPad3d", (1, 0.5), {}, [(1, 1, 2, 2, 2)]),
    ("ReflectionPad1d", (2,), {}, [(2, 3, 4)]), ("ReflectionPad2d", (1,), {}, [(1, 2, 3, 4)]),
    ("ReflectionPad3d", (1,), {}, [(1, 1, 2, 2, 2)]), ("ReplicationPad1d", (2,), {}, [(2, 3, 4)]),
    ("ReplicationPad2d", ((1, 0, 2, 1),), {}, [(1, 2, 3, 4)]),
    ("ReplicationPad3d", (1,), {}, [(1, 1, 2, 2, 2)]), ("CircularPad1d", (2,), {}, [(2, 3, 4)]),
    ("CircularPad2d", (1,), {}, [(1, 2, 3, 4)]), ("CircularPad3d", (1,), {}, [(1, 1, 2, 2, 2)]),
    ("Flatten", (), {}, [(2, 3, 4)]), ("Unflatten", (1, (2, 2)), {}, [(3, 4)]),
    ("PixelShuffle", (2,), {}, [(1, 8, 2, 3)]), ("PixelUnshuffle", (2,), {}, [(1, 2, 4, 6)]),
    ("ChannelShuffle", (2,), {}, [(2, 4, 3)]),
    ("Unfold", ((2, 3),), {"padding": 1, "stride": 2}, [(2, 2, 4, 5)]),
    ("Fold", ((4, 5), 2), {"stride": 1}, [(2, 8, 12)]),
    ("Upsample", (), {"scale_factor": 2}, [(1, 2, 3, 4)]),
    ("Upsample", ((5, 3),), {"mode": "bilinear"}, [(1, 2, 3, 4)]),
    ("Upsample", (), {"scale_factor": 1.7, "mode": "bicubic", "align_corners": True},
     [(1, 2, 3, 4)]),
    ("Upsample", (7,), {"mode": "linear", "align_corners": True}, [(2, 2, 4)]),
    ("Upsample", (), {"scale_factor": (2, 1, 1.5), "mode": "trilinear"}, [(1, 1, 2, 3, 4)]),
    ("UpsamplingNearest2d", ((4, 3),), {}, [(1, 2, 3, 4)]),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, [(1, 2, 3, 4)]),
]  # fmt: skip
RECURRENT = [
    ("RNN", (3, 4), {}, [(3, 2, 3)]), ("RNN", (3, 4, 2, "relu"), {"bias": False}, [(2, 2, 3)]),
    ("LSTM", (3, 4, 2), {"bidirectional": True, "batch_first": True}, [(2, 2, 3)]),
    ("LSTM", (3, 4), {"proj_size": 2}, [(3, 3)]),
    ("GRU", (3, 4), {"bidirectional": True}, [(2, 2, 3)]),
    ("RNNCell", (3, 4), {}, [(2, 3), (2, 4)]),
    ("RNNCell", (3, 4, False, "relu"), {}, [(3,)]), ("LSTMCell", (3, 4), {}, [(2, 3)]),
    ("GRUCell", (3, 4), {}, [(2, 3), (2, 4)]),
]  # fmt: skip
ATTENTION = [
    ("MultiheadAttention", (4, 2), {}, [(3, 2, 4), (5, 2, 4), (5, 2, 4)]),
    ("MultiheadAttention", (4, 2), {"kdim": 3, "vdim": 2, "batch_first": True, "bias": False},
     [(2, 3, 4), (2, 5, 3), (2, 5, 2)]),
    ("MultiheadAttention", (4, 2), {"add_bias_kv": True, "add_zero_attn": True},
     [(3, 4), (5, 4), (5, 4)]),
    ("TransformerEncoderLayer", (4, 2, 6, 0.0), {"batch_first": True}, [(2, 3, 4)]),
    ("TransformerEncoderLayer", (4, 2, 6, 0.0, "gelu"), {"norm_first": True, "bias": False},
     [(3, 2, 4)]),
    ("TransformerDecoderLayer", (4, 2, 6, 0.0), {}, [(3, 2, 4), (5, 2, 4)]),
    ("Transformer", (4, 2, 1, 1, 6, 0.0), {"batch_first": True}, [(2, 3, 4), (2, 4, 4)]),
]  # fmt: skip
LOSSES = [
    ("MSELoss", (), {}, [(3, 4), (3, 4)]), ("L1Loss", (), {"reduction": "sum"}, [(3, 4), (3, 4)]),
    ("SmoothL1Loss", (), {"beta": 0.5}, [(3, 4), (3, 4)]),
    ("HuberLoss", (), {"delta": 0.5, "reduction": "none"}, [(3, 4), (3, 4)]),
    ("PoissonNLLLoss", (), {"full": True}, [(3, 4), "count", (3, 4)]),
    ("GaussianNLLLoss", (), {"full": True}, [(3, 4), (3, 4), "positive", (3, 1)]),
    ("KLDivLoss", (), {"reduction": "batchmean", "log_target": True}, [(3, 4), (3, 4)]),
    ("BCELoss", (), {}, ["share", (3, 4), "share", (3, 4)]),
    ("BCEWithLogitsLoss", (), {}, [(3, 4), "share", (3, 4)]),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.1}, [(3, 4), "int:4", (3,)]),
    ("CrossEntropyLoss", (), {"ignore_index": 1}, [(3, 4, 2), "int:4", (3, 2)]),
    ("NLLLoss", (), {"reduction": "none"}, [(3, 4), "int:4", (3,)]),
    ("MultiMarginLoss", (), {"p": 2}, [(3, 4), "int:4", (3,)]),
    ("MultiLabelMarginLoss", (), {}, [(3, 4), "int:4", (3, 4)]),
    ("MultiLabelSoftMarginLoss", (), {}, [(3, 4), "share", (3, 4)]),
    ("SoftMarginLoss", (), {}, [(3, 4), "sign", (3, 4)]),
    ("HingeEmbeddingLoss", (), {}, [(3, 4), "sign", (3, 4)]),
    ("MarginRankingLoss", (0.3,), {}, [(3,), (3,), "sign", (3,)]),
    ("CosineEmbeddingLoss", (0.1,), {}, [(3, 4), (3, 4), "sign", (3,)]),
    ("TripletMarginLoss", (), {"swap": True}, [(3, 4), (3, 4), (3, 4)]),
    ("TripletMarginWithDistanceLoss", (), {}, [(3, 4), (3, 4), (3, 4)]),
]  # fmt: skip
DROPOUTS = [
    (name, (), {}, [shape])
    for name, shape in [
        ("Dropout", (3, 4)), ("Dropout1d", (2, 3, 4)), ("Dropout2d", (2, 3, 2, 2)),
        ("Dropout3d", (2, 3, 2, 2, 2)), ("AlphaDropout", (3, 4)),
        ("FeatureAlphaDropout", (3, 4, 2)),
        ("RReLU", (3, 4)),
    ]
]  # fmt: skip
LAYERS = [
    *ACTIVATIONS, *LINEAR, *CONVOLUTIONS, *NORMS, *POOLS, *SHAPES, *RECURRENT, *ATTENTION, *LOSSES
]  # fmt: skip


def inputs_of(described):
    """The arrays that a row describes, always the same ones."""
    rng = np.random.default_rng(3)
    made, kind = [], ""
    for part in described:
        if isinstance(part, str):
            kind = part
            continue
        if kind.startswith("int:"):
            made.append(rng.integers(0, int(kind[4:]), part))
        elif kind == "sign":
            made.append(np.where(rng.random(part) < 0.5, -1.0, 1.0))
        elif kind == "count":
            made.append(rng.integers(0, 9, part).astype(np.float64))
        elif kind:
            made.append((0.1 + 0.8 * rng.random(part)).astype(np.float32))
        else:
            made.append(rng.normal(size=part).astype(np.float32))
        kind = ""
    return made


def pair(name, args, settings):
    """The layer in both libraries, ours with the state of theirs."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **settings)
    ours = getattr(nn, name)(*args, **settings)
    ours.load_state_dict({k: dlgrad.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def flat(result):
    """The tensors of a result that may be nested."""
    if isinstance(result, (tuple, list)):
        return [tensor for part in result for tensor in flat(part)]
    return [] if result is None else [result]


def run(library, layer, arrays):
    """Results, gradients of the inputs, and gradients of the parameters, as arrays."""
    make = dlgrad.tensor if library is dlgrad else lambda array: torch.from_numpy(array.copy())
    inputs = []
    for array in arrays:  # what is float64 is no more than a target
        single = array.astype(np.float32) if array.dtype == np.float64 else array
        inputs.append(make(single).requires_grad_(array.dtype == np.float32))
    results = flat(layer(*inputs))
    total = None
    for result in results:
        weighted = (result * make(np.cos(np.arange(result.numel(), dtype=np.float32)))
                    .reshape(tuple(result.shape))).sum()  # fmt: skip
        total = weighted if total is None else total + weighted
    if total.requires_grad:
        total.backward()
    found = [tensor.grad for tensor in inputs if tensor.requires_grad]
    found += [parameter.grad for _, parameter in sorted(layer.named_parameters())]
    arrays = [result.detach().numpy() for result in results]
    return arrays, [None if gradient is None else gradient.numpy() for gradient in found]


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def name_of(row):
    return f"{row[0]}-{row[1]}-{row[2]}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", LAYERS, ids=name_of)
def test_a_layer(row):
    name, args, settings, described = row
    ours, theirs = pair(name, args, settings)
    assert repr(ours) == repr(theirs)
    arrays = inputs_of(described)
    modes = (True, False) if name.startswith(("Batch", "Instance")) else (True,)
    for training in modes:
        ours.train(training), theirs.train(training)
        for layer in (ours, theirs):
            layer.zero_grad()
        our_results, our_gradients = run(dlgrad, ours, arrays)
        their_results, their_gradients = run(torch, theirs, arrays)
        same(our_results, their_results)
        same(our_gradients, their_gradients)
        ours_state = {key: value.numpy() for key, value in ours.state_dict().items()}
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours_state.pop(key), value.numpy(), rtol=1e-4, atol=1e-5)
        assert not ours_state


@pytest.mark.parametrize("row", DROPOUTS, ids=name_of)
def test_a_layer_that_draws(row):
    name, args, settings, described = row
    ours, theirs = pair(name, args, settings)
    assert repr(ours) == repr(theirs)
    array = inputs_of(described)[0]
    ours.eval(), theirs.eval()
    same(run(dlgrad, ours, [array])[0], run(torch, theirs, [array])[0])


def test_every_layer_of_pytorch_is_compared_or_named():
    """What PyTorch has and dlgrad has not is named here; the rest is in a list above."""
    not_there = {
        "AdaptiveLogSoftmaxWithLoss", "Container", "CrossMapLRN2d",
        "LinearCrossEntropyLoss", "NLLLoss2d", "RNNCellBase", "SyncBatchNorm",
    }  # fmt: skip
    elsewhere = {
        "CTCLoss", "DataParallel", "FractionalMaxPool2d", "FractionalMaxPool3d",
        "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "Module", "ModuleDict", "ModuleList",
        "ParameterDict", "ParameterList", "RNNBase", "Sequential", "TransformerDecoder",
        "TransformerEncoder",
    }  # fmt: skip
    compared = {row[0] for row in LAYERS + DROPOUTS}
    theirs = {
        name for name, value in vars(torch.nn).items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module)
        and not name.startswith("Lazy")
    }  # fmt: skip
    assert theirs - not_there - elsewhere <= compared
    assert all(hasattr(nn, name) for name in elsewhere)
    assert not any(hasattr(nn, name) for name in not_there & theirs)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling(rank):
    array = inputs_of([(2, 2, *[5] * rank)])[0]
    results = []
    for library, make in ((nn, dlgrad.tensor), (torch.nn, torch.from_numpy)):
        x = make(array).requires_grad_()
        pool = getattr(library, f"MaxPool{rank}d")(2, return_indices=True)
        unpool = getattr(library, f"MaxUnpool{rank}d")(2)
        values, indices = pool(x)
        out = unpool(values, indices, output_size=[5] * rank)
        (out * out).sum().backward()
        results.append((repr(unpool), indices.tolist(), out.tolist(), x.grad.tolist()))
    assert results[0] == results[1]


@pytest.mark.parametrize("rank", [2, 3])
def test_fractional_pooling(rank):
    array = inputs_of([(2, 3, 7, 8, 9)[: rank + 2]])[0]
    shares = np.random.default_rng(0).random((2, 3, rank), dtype=np.float32)
    for settings in ({"output_size": 3}, {"output_ratio": (0.3, 0.7, 0.45)[:rank]}):
        results = []
        for library, make in ((nn, dlgrad.tensor), (torch.nn, torch.from_numpy)):
            x = make(array).requires_grad_()
            pool = getattr(library, f"FractionalMaxPool{rank}d")(
                2, return_indices=True, _random_samples=make(shares), **settings
            )
            values, indices = pool(x)
            (values * values).sum().backward()
            state = list(pool.state_dict())
            results.append((state, indices.tolist(), values.tolist(), x.grad.tolist()))
        assert results[0] == results[1]


@pytest.mark.filterwarnings("ignore")
def test_attention_masks():
    ours, theirs = pair("MultiheadAttention", (4, 2), {"batch_first": True})
    query, key = inputs_of([(2, 3, 4), (2, 5, 4)])
    causal = np.triu(np.ones((3, 5), dtype=bool), 2)
    padding = np.array([[False] * 5, [False, False, True, False, True]])
    for settings in (
        {"attn_mask": causal}, {"key_padding_mask": padding},
        {"attn_mask": causal, "key_padding_mask": padding, "need_weights": False},
        {"attn_mask": np.where(causal, -1.5, 0.25).astype(np.float32),
         "average_attn_weights": False},
    ):  # fmt: skip
        found = []
        for layer, make in ((ours, dlgrad.tensor), (theirs, torch.from_numpy)):
            given = {k: make(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
            results = layer(make(query), make(key), make(key), **given)
            found.append([result.detach().numpy() for result in flat(results)])
        same(*found)


def test_alignments():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(6, 3, 4)).astype(np.float32), rng.integers(1, 4, (3, 3))
    times, counts = [6, 5, 3], [3, 2, 0]
    for settings in ({}, {"reduction": "none", "blank": 0, "zero_infinity": True}):
        found = []
        for library, make in ((dlgrad, dlgrad.tensor), (torch, torch.from_numpy)):
            x = make(scores).requires_grad_()
            layer = library.nn.CTCLoss(**settings)
            loss = layer(x.log_softmax(2), make(labels), tuple(times), tuple(counts))
            loss.sum().backward()
            found.append([loss.detach().numpy(), x.grad.numpy()])
        same(*found)


def test_a_trained_copy_of_a_model_behaves_as_the_model():
    ours, _ = pair("TransformerEncoderLayer", (4, 2, 6, 0.0), {})
    twin = copy.deepcopy(ours)
    array = inputs_of([(3, 2, 4)])[0]
    same(run(dlgrad, ours, [array])[0], run(dlgrad, twin, [array])[0])
    with dlgrad.no_grad():
        next(twin.parameters()).zero_()
    assert next(ours.parameters()).abs().sum().item() > 0


def test_older_arguments_of_losses():
    arrays = inputs_of([(3, 4), (3, 4)])
    for settings in ({"reduce": False}, {"size_average": False}, {"size_average": True}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours, theirs = pair("MSELoss", (), settings)
        same(run(dlgrad, ours, arrays)[0], run(torch, theirs, arrays)[0])


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_parametrised_weights(name):
    """The same text, names and results, in training and in evaluation."""
    made = []
    for library in (nn, torch.nn):
        layer = library.ConvTranspose1d(2, 3, 2)
        made.append(getattr(library.utils.parametrizations, name)(layer))
    ours, theirs = made
    state = {key: dlgrad.tensor(value.numpy()) for key, value in theirs.state_dict().items()}
    assert repr(ours.load_state_dict(state)) == "<All keys matched successfully>"
    assert repr(ours) == repr(theirs)
    array = inputs_of([(2, 2, 4)])[0]
    for training in (True, False):
        ours.train(training), theirs.train(training)
        our_results, our_gradients = run(dlgrad, ours, [array])
        their_results, their_gradients = run(torch, theirs, [array])
        same(our_results, their_results)
        same(our_gradients, their_gradients)
        ours.zero_grad(), theirs.zero_grad()
