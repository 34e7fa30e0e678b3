"""Pictures of graphs, tables of models, decision boundaries, and the line while compiling."""

import io
import re
import xml.etree.ElementTree as ElementTree

import pytest

import dlgrad
from dlgrad import nn, viz
from dlgrad.drawing.graph_layout import GAP_X, Layout
from dlgrad.drawing.graph_picture import picture_of
from dlgrad.drawing.svg import SvgCanvas
from dlgrad.nn import functional as F
from dlgrad.runtime import notice


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.second(F.relu(self.first(x)))


def boxes_and_edges(picture):
    """Edges as pairs of first lines."""
    titles = {key: box.lines[0] for key, box in picture.boxes.items()}
    return {(titles[start], titles[end]) for start, end in picture.edges}


# Graphs ----------------------------------------------------------------------------------------


def test_the_graph_of_a_model():
    model = nn.Sequential(Residual(), nn.Linear(4, 2))
    model.train()
    picture = picture_of(model, ((3, 4),), {})
    assert boxes_and_edges(picture) == {
        ("input", "0.first: Linear"), ("0.first: Linear", "Relu"), ("Relu", "0.second: Linear"),
        ("0.second: Linear", "Add"), ("input", "Add"), ("Add", "1: Linear"),
        ("1: Linear", "output"),
    }  # fmt: skip
    shapes = {box.lines[0]: box.lines[1] for box in picture.boxes.values()}
    assert shapes["0.first: Linear"] == "3 x 4" and shapes["output"] == "3 x 2"
    assert model.training and not model[0].first._forward_hooks, "it is left as it was"


def test_the_graph_of_a_loss():
    model = nn.Linear(3, 2)
    loss = model(dlgrad.ones(4, 3)).sum()
    edges = boxes_and_edges(picture_of(loss, (), dict(model.named_parameters())))
    assert ("bias", "Addmm") in edges and ("Sum", "output") in edges
    assert any(start == "weight" for start, _ in edges)


def test_a_model_of_tokens_shows_its_input():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    tokens = dlgrad.zeros(2, 3, dtype=dlgrad.int64)
    edges = boxes_and_edges(picture_of(model, (tokens,), {}))
    assert ("input", "0: Embedding") in edges and ("0: Embedding", "1: Linear") in edges


def test_files_of_a_graph(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    for name in ("m.svg", "m.png", "m.dot"):
        viz.draw_graph(tmp_path / name, model, (1, 4))
    root = ElementTree.parse(tmp_path / "m.svg").getroot()
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "0: Linear" in texts and "1 x 4" in texts
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    dot = (tmp_path / "m.dot").read_text()
    assert dot.startswith("digraph {") and dot.count("->") == 3
    assert viz.graph_svg(model, (1, 4)).count("<rect") == 5  # four boxes and the paper
    assert viz.graph_dot(model, (1, 4)) == dot


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: viz.draw_graph("x.gif", nn.ReLU(), (1,)), ValueError),
        (lambda: viz.graph_dot(nn.ReLU()), TypeError),
        (lambda: viz.graph_dot("model", (1,)), TypeError),
        (lambda: viz.graph_dot(dlgrad.ones(1), (1,)), TypeError),
    ],
)
def test_bad_graphs_are_refused(call, error):
    with pytest.raises(error):
        call()


def test_text_is_escaped():
    canvas = SvgCanvas(10, 10)
    canvas.text(0, 0, 'a < b & "c"', (0, 0, 0))
    assert "a &lt; b &amp; &quot;c&quot;" in canvas.source()
    ElementTree.fromstring(canvas.source())


# Layout ----------------------------------------------------------------------------------------


def layout(edges, late=()):
    sizes = {key: (40.0, 20.0) for edge in edges for key in edge}
    return Layout(sizes, edges, late)


def test_boxes_stand_below_their_sources_and_apart():
    edges = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "e"), ("c", "e"), ("a", "e"), ("d", "f")]
    found = layout(edges)
    for start, end in edges:
        assert found.places[start][1] + 20 < found.places[end][1]
    rows = {}
    for left, top in found.places.values():
        rows.setdefault(top, []).append(left)
    for lefts in rows.values():
        lefts.sort()
        assert all(b - a >= 40 + GAP_X - 1e-9 for a, b in zip(lefts, lefts[1:], strict=False))
    assert all(0 <= left <= found.width - 40 for left, _ in found.places.values())


def test_a_chain_is_straight():
    found = layout([(i, i + 1) for i in range(6)])
    assert len({left for left, _ in found.places.values()}) == 1


def test_crossings_are_undone():
    assert layout([("a", "y"), ("b", "x"), ("a", "z"), ("b", "w")])._crossings() == 0


def test_late_boxes_stand_right_above_their_reader():
    found = layout([("a", "b"), ("b", "c"), ("c", "d"), ("w", "d")], late=["w"])
    assert found.places["w"][1] == found.places["c"][1]


def test_a_circle_is_an_error():
    with pytest.raises(ValueError, match="circle"):
        layout([("a", "b"), ("b", "a")])


# Charts and boundaries -------------------------------------------------------------------------


def test_curves_as_svg(tmp_path):
    path = tmp_path / "curves.svg"
    viz.plot_curves(str(path), {"loss": {"train": [3.0, 2.0, 1.0], "test": [(0, 3), (2, 1.5)]}})
    root = ElementTree.parse(path).getroot()
    kinds = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert kinds.count("polyline") == 4  # two curves, two lines of the legend
    assert "train" in [element.text for element in root.iter()]


@pytest.mark.parametrize("name", ["regions.svg", "regions.png"])
def test_a_boundary(tmp_path, name):
    path = str(tmp_path / name)
    points, kinds = dlgrad.tensor([[0.0, 0.0], [1.0, 1.0]]), dlgrad.tensor([0, 1])
    viz.draw_regions(path, lambda at: (at.sum(dim=1) > 1).float(), points, kinds, size=120)
    with open(path, "rb") as file:
        data = file.read()
    if name.endswith("png"):
        assert data.startswith(b"\x89PNG")
    else:
        fills = re.findall(rb'<rect[^>]*fill="(#\w+)"', data)
        assert len(fills) == 120 * 120 + 1 and len(set(fills)) == 3  # two classes and the paper


def test_a_boundary_needs_a_class_for_every_point():
    with pytest.raises(ValueError, match="2 points and 1 classes"):
        viz.draw_regions("x.png", lambda at: at, [(0, 0), (1, 1)], [0])
    with pytest.raises(ValueError, match="predict gave"):
        viz.draw_regions("x.png", lambda at: [0.5], [(0, 0)], [0])


# Summary ---------------------------------------------------------------------------------------


def test_summary_counts(capsys):
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5, bias=False))
    model[2].weight.requires_grad_(False)
    model.train()
    found = model.summary((8, 10))
    assert capsys.readouterr().out == f"{found}\n"
    assert found.total_params == 220 + 100 and found.trainable_params == 220
    assert found.parameter_bytes == 4 * 320 and found.input_bytes == 4 * 80
    assert found.activation_bytes == 4 * 8 * (20 + 20 + 5)
    # Two for each product of the matrices, one for each bias and each element of the ReLU.
    assert found.flops == 2 * 8 * 10 * 20 + 8 * 20 + 8 * 20 + 2 * 8 * 20 * 5
    assert [row.shape for row in found.rows] == [(8, 5), (8, 20), (8, 20), (8, 5)]
    assert [row.kind for row in found.rows] == ["Sequential", "Linear", "ReLU", "Linear"]
    assert model.training and not model[0]._forward_hooks


def test_summary_of_convolutions_and_its_table():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten())
    found = dlgrad.summary(model, (2, 3, 6, 6), verbose=False)
    assert found.flops == 2 * (2 * 8 * 36) * 27 + 2 * 8 * 36
    lines = str(found).splitlines()
    assert re.fullmatch(r"layer +output shape +parameters +FLOPs +memory", lines[0])
    assert re.fullmatch(r"  0: Conv2d +2 x 8 x 6 x 6 +224 +31\.7 k +2\.2 KB", lines[3])
    assert repr(found) == "<Summary: 224 parameters, 31.7 k FLOPs>"


def test_summary_of_nested_modules_and_tokens():
    model = nn.Sequential(nn.Embedding(7, 4), Residual())
    found = dlgrad.summary(model, (2, 3), dtypes=[dlgrad.int64], verbose=False)
    assert [row.depth for row in found.rows] == [0, 1, 1, 2, 2]
    # What happens between the layers of a module counts for the module.
    residual = found.rows[2]
    assert residual.flops == sum(row.flops for row in found.rows[3:]) + 2 * 24
    assert not residual.is_leaf and found.flops >= residual.flops


def test_summary_evaluates_nothing():
    model = nn.Linear(3, 3)
    x = dlgrad.ones(2, 3) * 2
    dlgrad.summary(model, x, verbose=False)
    assert not x._storage.node.is_realized


def test_summary_needs_an_input():
    with pytest.raises(TypeError, match="input"):
        nn.Linear(1, 1).summary()


# While compiling -------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(notice, "PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(notice, "_count", notice._Count())


def test_a_terminal_is_told_of_compilers(monkeypatch, at_once):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with notice.compiling(), notice.compiling():
        assert terminal.getvalue().endswith("compiling 2 kernels ...")
    assert terminal.getvalue().endswith("\r\033[K"), "and the line is gone"


def test_a_file_is_not(monkeypatch, at_once):
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    with notice.compiling():
        pass
    assert file.getvalue() == ""


def test_a_short_compilation_is_not_worth_a_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(notice, "_count", notice._Count())
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with notice.compiling():
        pass
    assert terminal.getvalue() == ""
