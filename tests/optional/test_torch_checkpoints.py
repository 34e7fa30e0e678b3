"""Files exchanged with PyTorch, NumPy and the safetensors package."""

import copy

import pytest

import dlgrad
from dlgrad import nn

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")

# Each layer with the shape of an input, made by the same words in both libraries.
LAYERS = {
    "linear": ("Linear(6, 4)", (3, 6)),
    "linear without bias": ("Linear(6, 4, bias=False)", (3, 6)),
    "bilinear": ("Bilinear(3, 4, 5)", ((2, 3), (2, 4))),
    "conv1d": ("Conv1d(2, 3, 3)", (2, 2, 9)),
    "conv2d": ("Conv2d(2, 4, 3, stride=2, padding=1, groups=2)", (2, 2, 7, 7)),
    "conv3d": ("Conv3d(2, 3, 2)", (1, 2, 4, 4, 4)),
    "conv_transpose1d": ("ConvTranspose1d(2, 3, 3)", (2, 2, 5)),
    "conv_transpose2d": ("ConvTranspose2d(2, 3, 3, stride=2)", (2, 2, 4, 4)),
    "conv_transpose3d": ("ConvTranspose3d(2, 3, 2)", (1, 2, 3, 3, 3)),
    "batch_norm1d": ("BatchNorm1d(5)", (4, 5)),
    "batch_norm2d": ("BatchNorm2d(3)", (4, 3, 5, 5)),
    "batch_norm3d": ("BatchNorm3d(3)", (2, 3, 2, 2, 2)),
    "layer_norm": ("LayerNorm(6)", (2, 3, 6)),
    "group_norm": ("GroupNorm(2, 4)", (2, 4, 3)),
    "instance_norm": ("InstanceNorm2d(3, affine=True)", (2, 3, 4, 4)),
    "rms_norm": ("RMSNorm(6)", (3, 6)),
    "prelu": ("PReLU(3)", (2, 3, 4)),
    "embedding": ("Embedding(7, 4)", [[1, 2], [6, 0]]),
    "embedding_bag": ("EmbeddingBag(7, 4)", [[1, 2], [6, 0]]),
    "rnn": ("RNN(4, 5, num_layers=2)", (3, 2, 4)),
    "lstm": ("LSTM(4, 5, bidirectional=True)", (3, 2, 4)),
    "gru": ("GRU(4, 5, batch_first=True)", (2, 3, 4)),
    "attention": ("MultiheadAttention(8, 2)", ((3, 2, 8),) * 3),
    "encoder": ("TransformerEncoderLayer(8, 2, 16, batch_first=True)", (2, 3, 8)),
    "decoder": ("TransformerDecoderLayer(8, 2, 16, batch_first=True)", ((2, 3, 8), (2, 4, 8))),
}


def inputs(spec):
    """The same inputs for both: (PyTorch's, ours)."""
    if isinstance(spec, list):
        return [torch.tensor(spec)], [dlgrad.tensor(spec)]
    shapes = spec if isinstance(spec[0], tuple) else (spec,)
    theirs = [torch.randn(*shape) for shape in shapes]
    return theirs, [dlgrad.tensor(x.numpy()) for x in theirs]


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", LAYERS)
def test_a_checkpoint_of_each_layer_goes_both_ways(tmp_path, name):
    words, spec = LAYERS[name]
    kind = words.partition("(")[0]
    if not hasattr(nn, kind):
        pytest.skip(f"dlgrad has no {kind}")
    torch.manual_seed(3)
    theirs, ours = (eval(f"module.{words}", {"module": m}) for m in (torch.nn, nn))
    with torch.no_grad():
        for value in theirs.state_dict().values():
            if value.dtype.is_floating_point:
                value.uniform_(0.1, 0.9)
    path = tmp_path / "layer.pt"
    torch.save(theirs.state_dict(), path)
    assert ours.load_state_dict(dlgrad.load(path)) == ([], [])
    theirs.eval(), ours.eval()
    x, y = inputs(spec)
    expected = first(theirs(*x)).detach().numpy()
    found = first(ours(*y)).detach().numpy()
    assert found.shape == expected.shape
    assert numpy.allclose(found, expected, rtol=1e-4, atol=1e-5)

    dlgrad.save(ours.state_dict(), path)
    back = copy.deepcopy(theirs)
    back.load_state_dict(torch.load(path, weights_only=True))
    assert torch.equal(first(back(*x)), first(theirs(*x)))


def test_a_whole_training_state_goes_both_ways(tmp_path):
    path = tmp_path / "run.pt"
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.8, 0.9))
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(state, path)
    loaded = dlgrad.load(path)
    assert loaded["epoch"] == 3
    assert loaded["optimizer"]["param_groups"] == state["optimizer"]["param_groups"]
    moments = loaded["optimizer"]["state"][0]["exp_avg"]
    assert moments.tolist() == state["optimizer"]["state"][0]["exp_avg"].tolist()
    dlgrad.save(loaded, path)
    again = torch.load(path, weights_only=True)
    optimizer.load_state_dict(again["optimizer"])
    assert again["optimizer"]["param_groups"] == state["optimizer"]["param_groups"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_kind_of_tensor_is_read(tmp_path, protocol):
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "base": base, "turned": base.T, "part": base[1:3, ::2], "scalar": torch.tensor(2.5),
        "bfloat16": torch.randn(3).bfloat16(), "half": torch.randn(3).half(),
        "bool": torch.tensor([True, False]), "uint16": torch.tensor([1, 2], dtype=torch.uint16),
        "empty": torch.zeros(0, 3), "wide": torch.ones(1).expand(3, 2),
        "parameter": torch.nn.Parameter(torch.ones(2)), "buffer": torch.nn.Buffer(torch.ones(1)),
        "long": torch.tensor([-(2**40)]),
    }  # fmt: skip
    path = tmp_path / "state.pt"
    torch.save({**state, "size": torch.Size([2]), "dtype": torch.int8, "bytes": b"x", "set": {1}},
               path, pickle_protocol=protocol)  # fmt: skip
    loaded = dlgrad.load(path)
    for name, x in state.items():
        assert loaded[name].tolist() == x.tolist(), name
        assert loaded[name].dtype.name == str(x.dtype).removeprefix("torch."), name
        assert loaded[name].stride() == x.stride(), name
        assert loaded[name].requires_grad == x.requires_grad
    assert loaded["size"] == dlgrad.Size([2]) and loaded["dtype"] is dlgrad.int8
    assert loaded["bytes"] == b"x" and loaded["set"] == {1}
    loaded["base"].zero_()
    assert loaded["turned"].sum().item() == 0


def test_what_pytorch_reads(tmp_path):
    base = dlgrad.arange(12.0).reshape(3, 4)
    state = {"base": base, "turned": base.T, "flipped": base.flip(1), "rest": [1, 2.5, None, "x"]}
    for dtype in (dlgrad.bool, dlgrad.uint16, dlgrad.uint64, dlgrad.bfloat16, dlgrad.float64):
        state[dtype.name] = dlgrad.tensor([1, 0], dtype=dtype)
    path = tmp_path / "state.pt"
    dlgrad.save(state, path)
    for settings in ({}, {"mmap": True}):
        loaded = torch.load(path, weights_only=True, **settings)
        for name, x in state.items():
            if isinstance(x, dlgrad.Tensor):
                assert loaded[name].tolist() == x.tolist(), name
        assert loaded["rest"] == state["rest"]
        assert loaded["turned"].data_ptr() == loaded["base"].data_ptr()


def test_what_is_not_read_says_why(tmp_path):
    path = tmp_path / "file.pt"
    for write, message in (
        (lambda: torch.save(torch.nn.Linear(2, 2), path), "torch.nn.modules.linear.Linear"),
        (lambda: torch.save(torch.ones(1), path, _use_new_zipfile_serialization=False), "1.6"),
        (lambda: torch.save(torch.ones(1, dtype=torch.cfloat), path), "ComplexFloatStorage"),
        (lambda: torch.save(torch.eye(2).to_sparse(), path), "sparse"),
    ):
        write()
        with pytest.raises(dlgrad.errors.FileFormatError, match=message):
            dlgrad.load(path)


def test_safetensors_of_the_package_and_ours(tmp_path):
    package = pytest.importorskip("safetensors.torch")
    theirs, ours = str(tmp_path / "theirs"), str(tmp_path / "ours")
    state = {"b": torch.randn(2, 3), "a": torch.arange(3), "c": torch.randn(2).bfloat16()}
    package.save_file(state, theirs, metadata={"format": "pt"})
    loaded = dlgrad.load(theirs)
    assert {name: x.tolist() for name, x in loaded.items()} == {
        name: x.tolist() for name, x in state.items()
    }
    tied = {"z": loaded["b"], "y": loaded["b"], "a": loaded["a"]}
    dlgrad.save(tied, ours)
    back = package.load_file(ours)
    assert {name: x.tolist() for name, x in back.items()} == {
        name: x.tolist() for name, x in tied.items()
    }


def test_arrays_of_numpy(tmp_path):
    grid = numpy.arange(6.0).reshape(2, 3)
    arrays = {"c": grid, "f": numpy.asfortranarray(grid), "scalar": numpy.float32(3), "t": grid.T,
              "big": grid.astype(">f4"), "bool": grid > 2, "u": grid.astype("u2"), "e": grid[:0]}
    for save in (numpy.savez, numpy.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        loaded = dlgrad.load(tmp_path / "x.npz")
        assert list(loaded) == list(arrays)
        for name, x in arrays.items():
            assert loaded[name].tolist() == x.tolist(), name
    dlgrad.save(loaded, tmp_path / "y.npz")
    with numpy.load(tmp_path / "y.npz") as back:
        assert all(back[name].tolist() == x.tolist() for name, x in arrays.items())
    for x in arrays.values():
        numpy.save(tmp_path / "x.npy", x)
        assert dlgrad.load(tmp_path / "x.npy").tolist() == x.tolist()
    numpy.save(tmp_path / "x.npy", numpy.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(dlgrad.errors.FileFormatError, match=r"\|O"):
        dlgrad.load(tmp_path / "x.npy")
