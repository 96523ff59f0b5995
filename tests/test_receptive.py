"""Receptive fields: counted through the equation of each layer, published figures, and what users may get wrong."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import reference
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from numbaconv import Layer, output_shape, receptive_field

LINE = 300  # pixels; the widest field below has 1 + 9*(1 + 3 + 9) = 118


@st.composite
def stacks(draw):
    """Up to three 1-D layers whose fields fit in the line."""
    layers = []
    for _ in range(draw(st.integers(0, 3))):
        kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        pads = ((draw(st.integers(-1, 3)), draw(st.integers(-1, 3))),)
        transposed, stride = draw(st.booleans()), draw(st.integers(1, 3))
        layers.append(Layer(kernel, stride, pads, dilation, transposed))
    return layers


def every_path(layers):
    """How often each pixel reaches each output: every pixel alone is sent through kernels of ones."""
    y = np.eye(LINE, dtype=int)[:, None]
    for layer in layers:
        run = reference.conv_transpose if layer.transposed else reference.conv
        weight = np.ones((1, 1, layer.kernel_size), int)
        y = run(y, weight, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
    return y[:, 0]


@settings(max_examples=100, deadline=None)
@given(stacks())
def test_counts_are_those_of_the_layers_themselves(layers):
    field, paths = receptive_field(layers, input_size=(LINE,)), every_path(layers)
    assert field.output_sizes[-1] == paths.shape[1:]
    widths = []
    for unit in range(paths.shape[1]):
        middle = field.center[0] + unit * field.jump[0]
        if not LINE / 3 < middle < LINE * 2 / 3:  # nearer to a border some paths would leave the line
            continue
        seen, counts = np.flatnonzero(paths[:, unit]), field.counts(unit)[0]
        widths.append(len(counts))
        assert len(counts) == (seen[-1] - seen[0] + 1 if len(seen) else 0)
        if len(seen):
            np.testing.assert_array_equal(counts, paths[seen[0] : seen[-1] + 1, unit])
            assert field._paths(unit)[0].start == seen[0]
            assert field.seen(unit) == Fraction(len(seen), len(counts))
    assert field.size[0] == max(widths) if len(widths) >= 27 else field.size[0] >= max(widths, default=0)
    if layers:  # nothing of this depends on the size of the input
        unsized = receptive_field(layers, None)
        for name in ("size", "jump", "start", "center"):
            assert {*getattr(unsized, name)} == {*getattr(field, name)}


@settings(max_examples=50, deadline=None)
@given(stacks())
def test_published_formulas(layers):
    layers = [Layer((layer.kernel_size,), layer.stride, layer.padding, layer.dilation) for layer in layers]
    field = receptive_field([*layers, Layer((1,))])
    size, jump, begin = 1, 1, 0
    for layer in layers:
        size += (layer.kernel_size[0] - 1) * layer.dilation * jump
        begin -= layer.padding[0][0] * jump
        jump *= layer.stride
    center = begin + Fraction(size - 1, 2)
    assert (field.size, field.jump, field.start, field.center) == ((size,), (jump,), (begin,), (center,))


def vgg16():
    for block in (2, 2, 3, 3, 3):
        yield from [Layer(3, padding=1)] * block
        yield Layer(2, stride=2)


def mobilenet():
    for stride in (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1):
        yield Layer(3, stride, padding="same")


@pytest.mark.parametrize(
    ("stack", "size", "jump", "output"),
    [
        (vgg16, 212, 32, 7),
        (mobilenet, 315, 32, 7),
        (lambda: [Layer(11, 4), Layer(3, 2), Layer(5, padding=2), Layer(3, 2), *[Layer(3, padding=1)] * 3, Layer(3, 2)],
         195, 32, 5),
    ],
    ids=["VGG-16", "MobileNet", "AlexNet"],
)  # fmt: skip
def test_figures_of_the_article(stack, size, jump, output):
    field = receptive_field(stack(), input_size=224)
    assert field.size == (size, size) and field.jump == (jump, jump)
    assert field.output_sizes[-1] == (output, output)


def test_gridding_and_its_cure():
    gridded = receptive_field([Layer(3, dilation=2)] * 3)
    assert gridded.size == (13, 13) and gridded.seen() == Fraction(49, 169)
    np.testing.assert_array_equal(gridded.coverage(), np.outer(*gridded.counts()))
    cured = receptive_field([Layer(3, dilation=d) for d in (1, 2, 5)])
    assert cured.size == (17, 17) and cured.seen() == 1


def test_counts_beyond_int64_are_exact():
    field = receptive_field([Layer((3,), padding=1)] * 50)
    assert sum(field.counts()[0]) == 3**50 and field.counts()[0].dtype == object
    assert receptive_field([Layer((3,), padding=1)] * 20).counts()[0].dtype == np.int64
    assert field.size == (101,) and field.start == (-50,) and field.center == (0,)


def test_units_of_a_transposed_layer_see_differently_much():
    field = receptive_field([Layer((3,), stride=2, padding=1, transposed=True)])
    assert field.size == (2,) and field.jump == (Fraction(1, 2),)
    assert [field.counts(unit)[0].tolist() for unit in range(4)] == [[1], [1, 1], [1], [1, 1]]
    sparse = receptive_field([Layer((1,), stride=2, transposed=True)])
    assert [len(sparse.counts(unit)[0]) for unit in range(3)] == [1, 0, 1] and sparse.seen(1) == 0


def test_axes_may_differ():
    field = receptive_field([{"kernel_size": (1, 7), "stride": (1, 2)}, Layer((3, 1), padding=((1, 1), (0, 0)))])
    assert field.size == (3, 7) and field.jump == (1, 2) and field.start == (-1, 0)
    assert field.coverage((5, 1)).shape == (3, 7)
    assert receptive_field([Layer(3)], input_size=(8, 8, 8)).size == (3, 3, 3)
    assert receptive_field([]).size == (1, 1)
    arrays = receptive_field([Layer(np.array([2, 3]), output_padding=(0, 0))])
    assert arrays.size == (2, 3) and "k[2 3]" in str(arrays)


def test_the_table():
    field = receptive_field([Layer((3, 5), (2, 1), 1), Layer(4, 2, 1, transposed=True, output_padding=1)], (9, 12))
    assert str(field).splitlines() == [
        "                           output   field      jump     start       center   seen",
        "input                     (9, 12)       1         1         0            0  100 %",
        "k3x5 s2x1 p1              (5, 10)  (3, 5)    (2, 1)        -1       (0, 1)  100 %",
        "transposed k4 s2 p1 op1  (11, 21)  (5, 6)  (1, 1/2)  (-3, -2)  (-1/2, 3/4)  100 %",
    ]
    assert repr(field) == "<receptive field of 2 layers: (5, 6) pixels, jump (1, 1/2)>"
    assert str(Layer((3, 3), padding=((1, 2), (0, 0)))) == "k3x3 p1:2x0:0"
    assert str(Layer(2, padding="causal")) == "k2 p=causal"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.gradient])
def test_output_shape(name):
    case = CASES[name]
    geometry = dict(case.geometry)
    problem = case.problem()
    arguments = (case.out_channels, case.w[2:])
    assert output_shape(case.x, *arguments, **geometry, transposed=case.transposed) == problem.y_shape
    assert output_shape(case.x[1:], *arguments, **geometry, transposed=case.transposed) == problem.y_shape[1:]


def test_output_shape_of_one_int():
    assert output_shape((8, 10), 4, 3) == (4, 8)
    assert output_shape((2, 8, 10, 12), 4, 3, padding="same", stride=2) == (2, 4, 5, 6)
    assert output_shape((2, 8, 5, 5, 5), 4, 3, dilation=2) == (2, 4, 1, 1, 1)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: output_shape((1, 3, 8, 8), 4, 9), ValueError, "no output along height: the padded input has 8"),
        (lambda: output_shape((1, 3, 8, 8), 4, 3, groups=2), ValueError, "groups must divide .* groups=2, 3 and 4"),
        (lambda: output_shape((1, 4, 8, 8), 6, 3, groups=0), ValueError, "groups must be at least 1; got 0"),
        (lambda: output_shape((1, 4, 8, 8), 2.0, 3), TypeError, "out_channels must be an integer; got 2.0"),
        (lambda: output_shape((1, 4, 8, 8), 2, 3, output_padding=1), ValueError, "output_padding is for transposed"),
        (lambda: output_shape((8,), 2, 3), ValueError, "x must have 2 to 5 dimensions"),
        (lambda: receptive_field([3]), TypeError, r"layers\[0\] must be a Layer or a dict of its arguments; got 3"),
        (lambda: receptive_field([{"kernel": 3}]), TypeError, r"layers\[0\] has the unknown key 'kernel'; accepted"),
        (lambda: receptive_field([{"stride": 3}]), TypeError, r"layers\[0\] lacks the key 'kernel_size'"),
        (lambda: receptive_field([Layer(3), Layer(0)]), ValueError, r"layers\[1\], k0: kernel_size must be at least 1"),
        (lambda: receptive_field([Layer(3, 2, "same")]), ValueError, "depends on the size .* give input_size"),
        (lambda: receptive_field([Layer(3)] * 3, 5), ValueError, r"layers\[2\], k3: no output along height"),
        (lambda: receptive_field([Layer((3, 3)), Layer((3,))]), ValueError, "kernel_size must be an int or 2 ints"),
        (lambda: receptive_field([Layer((3,) * 4)]), ValueError, "kernel_size must be an int or 1 to 3 ints"),
        (lambda: receptive_field([Layer(3, output_padding=1)]), ValueError, "output_padding is for transposed"),
        (lambda: receptive_field([Layer(3)]).plot_paths(axis=2), ValueError, "axis must be one of the 2 .*; got 2"),
        (lambda: receptive_field([Layer(3)]).counts(-1), ValueError, "unit must be at least 0; got -1"),
    ],
)
def test_errors_name_argument_value_and_what_fits(call, error, said):
    with pytest.raises(error, match=said):
        call()


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def plt(monkeypatch):
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    yield plt
    plt.close("all")


@pytest.mark.parametrize("dilations", [(1, 2, 5), (2, 2, 2), (1,) * 40])
def test_picture_shows_what_is_seen(plt, dilations):
    field = receptive_field([Layer(3, dilation=d, padding=d) for d in dilations])
    ax = field.plot()
    cells, coverage = ax.collections[0].get_array(), field.coverage()
    np.testing.assert_array_equal(np.ma.getmaskarray(cells), coverage == 0)
    shares = (coverage / coverage.max()).astype(float)
    np.testing.assert_allclose(np.sqrt(shares)[coverage > 0], cells.compressed())
    if coverage.shape[0] < 20:
        said = {text.get_position(): text.get_text() for text in ax.texts}
        middle = field.size[0] // 2
        assert said[0, 0] == str(coverage[middle, middle])
    assert ax.get_xlim() == (field.start[1] - 0.5, field.start[1] + field.size[1] - 0.5)


def test_picture_of_one_axis(plt):
    field = receptive_field([Layer((2,), dilation=3), Layer((2,), dilation=6)])
    heights = [bar.get_height() for bar in field.plot().patches]
    np.testing.assert_array_equal(np.array(heights) > 0, field.counts()[0] > 0)


def test_picture_of_paths(plt):
    _, ax = plt.subplots()
    field = receptive_field([Layer(3, stride=2), Layer(3, dilation=2)])
    assert field.plot_paths(ax) is ax
    assert len(ax.lines) == 3 + 3 * 3
    assert [label.get_text() for label in ax.get_yticklabels()] == ["input", "k3 s2", "k3 d2"]
    assert receptive_field([]).plot_paths().get_xlabel() == "pixel"
    blind = receptive_field([Layer(1, stride=2, transposed=True)]).plot_paths(unit=1)
    assert len(blind.lines) == 0


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "numbaconv\[plot\]"'):
        receptive_field([Layer(3)]).plot()


def test_helpers_import_no_compiler():
    code = (
        "import sys, numbaconv as n, numpy as np; n.receptive_field([n.Layer(3)]); n.output_shape((3, 8, 8), 4, 3);"
        "n.fold(n.unfold(np.ones((3, 8, 8)), 3), 8, 3); print([m for m in ('numba', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
