"""Geometry and its argument errors: sizes against PyTorch's and TensorFlow's formulas, folding against the equation."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from math import ceil

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from numbaconv.problem import ConvProblem


def conv2d(x=(1, 4, 9, 8), w=(6, 4, 3, 3), dtype="float32", stride=1, padding=0, dilation=1, groups=1):
    return ConvProblem.of(2, x, w, dtype, stride, padding, dilation, groups)


def transposed2d(x=(1, 4, 5, 6), w=(4, 3, 3, 3), dtype="float32", **geometry):
    return ConvProblem.of_transposed(2, x, w, dtype, **geometry)


class TestSizes:
    def test_missing_axes_are_trivial(self):
        p = ConvProblem.of(1, (2, 3, 50), (4, 3, 5), "float32", 2, 1, 3, 1)
        assert p.in_size == (1, 1, 50) and p.kernel == (1, 1, 5)
        assert p.stride == (1, 1, 2) and p.dilation == (1, 1, 3) and p.padding == ((0, 0), (0, 0), (1, 1))
        assert p.out_size == (1, 1, (50 + 2 - 3 * 4 - 1) // 2 + 1)
        assert (p.x_shape, p.w_shape, p.y_shape) == ((2, 3, 50), (4, 3, 5), (2, 4, 20))

    def test_counts(self):
        p = conv2d(w=(6, 2, 3, 3), groups=2, padding=1)
        assert (p.taps, p.terms, p.pixels, p.in_pixels) == (9, 18, 72, 72)
        assert p.macs == 1 * 6 * 72 * 18 and p.flops == 2 * p.macs

    @pytest.mark.parametrize("n", range(1, 12))
    @pytest.mark.parametrize("k", [1, 2, 3, 4])
    @pytest.mark.parametrize("s", [1, 2, 3])
    @pytest.mark.parametrize("d", [1, 2])
    def test_words(self, n, k, s, d):
        def of(word, stride=s):
            p = ConvProblem.of(1, (1, 1, n), (1, 1, k), "float32", stride, word, d, 1)
            return p.padding[2], p.out_size[2]

        total = max((ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        assert of("same") == ((total // 2, total - total // 2), ceil(n / s))
        assert of("same_lower") == ((total - total // 2, total // 2), ceil(n / s))
        assert of("same", stride=1) == ((d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2), n)
        assert of("full", stride=1) == ((d * (k - 1),) * 2, n + d * (k - 1))
        assert of("causal", stride=1) == ((d * (k - 1), 0), n)

    def test_pairs_crop_and_numpy_integers(self):
        p = conv2d(padding=((np.int64(-1), 2), np.int8(-1)), stride=np.array([1, 2]))
        assert p.padding == ((0, 0), (-1, 2), (-1, -1)) and p.out_size == (1, 8, 2)
        assert all(type(n) is int for n in p.stride)

    @pytest.mark.parametrize("s", [1, 2, 3])
    @pytest.mark.parametrize("k", [1, 2, 3, 5])
    @pytest.mark.parametrize("d", [1, 2])
    def test_transposed(self, s, k, d):
        for op in range(max(s, d)):
            p = ConvProblem.of_transposed(1, (1, 2, 7), (2, 3, k), "float32", s, 0, op, 1, d)
            size = 6 * s + d * (k - 1) + op + 1
            assert p.out_size[2] == size and p.y_shape == (1, 3, size)
            chosen = ConvProblem.of_transposed(1, (1, 2, 7), (2, 3, k), "float32", s, 0, 0, 1, d, (1, 3, size))
            assert chosen == p
        same = ConvProblem.of_transposed(1, (1, 2, 7), (2, 3, k), "float32", s, "same", 0, 1, d)
        assert same.out_size[2] == 7 * s
        forward = ConvProblem.of(1, (1, 3, 7 * s), (2, 3, k), "float32", s, "same", d, 1)
        assert same.padding[2][0] == d * (k - 1) - forward.padding[2][0], "not the adjoint of the forward 'same'"

    def test_empty(self):
        assert conv2d(x=(0, 4, 9, 8)).is_empty and conv2d(x=(0, 4, 9, 8)).y_shape == (0, 6, 7, 6)
        assert conv2d(x=(1, 0, 9, 8), w=(6, 0, 3, 3)).is_empty
        assert conv2d(x=(1, 4, 0, 8), padding=2).is_empty
        assert not conv2d().is_empty

    def test_value(self):
        assert conv2d() == conv2d() and hash(conv2d()) == hash(conv2d()) and conv2d() != conv2d(stride=2)
        with pytest.raises(FrozenInstanceError):
            conv2d().batch = 2
        assert (
            str(conv2d(x=(1, 64, 56, 56), w=(64, 64, 3, 3), padding=1))
            == "conv2d f32 1x64x56x56 * 64x64x3x3 s1 p1 d1 g1"
        )
        assert str(conv2d(stride=(1, 2), padding=((0, 1), 2))) == "conv2d f32 1x4x9x8 * 6x4x3x3 s1x2 p0:1x2 d1 g1"
        assert str(transposed2d(stride=2, padding=1, output_padding=1)) == (
            "conv_transpose2d f32 1x4x5x6 * 4x3x3x3 s2 p1:0 d1 g1"
        )


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"x": (4, 9)}, ValueError, "x must have 4 dimensions.*or 3 without N; got 2"),
            ({"w": (6, 4, 3)}, ValueError, "weight must have 4 dimensions.*got 3"),
            ({"w": (6, 5, 3, 3)}, ValueError, "x has 4 channels.*takes 5"),
            ({"w": (6, 1, 3, 3), "groups": 4}, ValueError, "groups must divide out_channels.*groups=4.*6"),
            ({"groups": 0}, ValueError, "groups must be at least 1; got 0"),
            ({"groups": 2.0}, TypeError, "groups must be an integer; got 2.0 of type float"),
            ({"stride": 0}, ValueError, "stride must be at least 1; got 0"),
            ({"stride": (1, -1)}, ValueError, r"stride\[1\] must be at least 1; got -1"),
            ({"stride": (1, 1, 1)}, ValueError, "stride must be an int or 2 ints.*got 3"),
            ({"stride": True}, TypeError, "stride must be an integer; got the bool True"),
            ({"stride": (1.0, 1)}, TypeError, r"stride\[0\] must be an integer; got 1.0"),
            ({"stride": "2"}, TypeError, "stride must be an int or 2 ints; got '2'"),
            ({"stride": None}, TypeError, "stride must be an int or 2 ints; got None"),
            ({"dilation": 0}, ValueError, "dilation must be at least 1; got 0"),
            ({"padding": "smae"}, ValueError, "'valid', 'same'.*got 'smae'"),
            ({"padding": "causal"}, ValueError, "1-D"),
            ({"padding": (1, 2, 3, 4)}, ValueError, r"padding must be.*pairs \(\(lo, hi\), \(lo, hi\)\).*got 4 items"),
            ({"padding": ((1, 2, 3), 1)}, ValueError, r"padding\[0\].*pair.*got 3 items"),
            ({"padding": 0.5}, TypeError, "padding must be an integer; got 0.5"),
            ({"w": (6, 4, 0, 3)}, ValueError, "kernel of at least 1.*0, 3"),
            ({"dilation": 5}, ValueError, r"height.*padded input has 9.*dilated kernel 11"),
            (
                {"padding": -4},
                ValueError,
                r"height.*padded input has 1 pixels \(9 \+ padding \(-4, -4\)\).*dilated kernel 3",
            ),
            ({"x": (1, 4, 0, 8)}, ValueError, "no output along height"),
            ({"padding": 2**70}, ValueError, "2\\*\\*62"),
            ({"padding": 2**40}, ValueError, "result of shape.*does not fit"),
        ],
    )
    def test_forward(self, arguments, error, words):
        with pytest.raises(error, match=words):
            conv2d(**arguments)

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"w": (5, 3, 3, 3)}, ValueError, "x has 4 channels.*takes 5"),
            ({"groups": 3}, ValueError, "groups must divide in_channels.*groups=3.*4"),
            ({"output_padding": 1}, ValueError, "output_padding must be smaller.*output_padding=1, stride=1"),
            ({"output_padding": -1}, ValueError, "output_padding must be at least 0"),
            ({"padding": 9}, ValueError, "leaves nothing"),
            ({"padding": "full"}, ValueError, "'valid' or 'same'; got 'full'"),
            ({"padding": "same", "output_padding": 1, "stride": 2}, ValueError, "output_padding must be 0"),
            ({"stride": 2, "output_size": 20}, ValueError, r"between \(11, 13\) and \(12, 14\).*got \(20, 20\)"),
            ({"output_size": (1, 2, 3, 4, 5)}, ValueError, "output_size must have 2"),
            ({"output_size": (2, 3, 7, 8)}, ValueError, "batch 1 and 3 channels"),
            ({"stride": 2, "output_padding": 1, "output_size": (11, 13)}, ValueError, "not both"),
            ({"x": (1, 4, 0, 6)}, ValueError, "at least 1 along every axis"),
        ],
    )
    def test_transposed(self, arguments, error, words):
        with pytest.raises(error, match=words):
            transposed2d(**arguments)


axis = st.fixed_dictionaries(
    {
        "size": st.integers(1, 5),
        "kernel": st.sampled_from([1, 1, 1, 2, 3]),
        "stride": st.sampled_from([1, 1, 1, 2]),
        "dilation": st.integers(1, 2),
        "gap": st.sampled_from([1, 1, 1, 2]),
        "padding": st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 0), (2, 2), (-1, 2)]),
    }
)


def evaluate(p, x, w):
    return reference.conv(
        x.reshape(p.batch, p.in_channels, *p.in_size),
        w.reshape(p.out_channels, p.in_channels // p.groups, *p.kernel),
        None,
        p.stride,
        p.padding,
        p.dilation,
        p.groups,
        p.input_dilation,
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(axis, min_size=3, max_size=3), st.booleans())
def test_folding_keeps_the_result(axes, kernels):
    values = {name: tuple(a[name] for a in axes) for name in axes[0]}
    p = ConvProblem(
        3, 2, 1, 2, 3, values["size"], values["kernel"], values["stride"], values["dilation"], values["gap"],
        values["padding"], "int64", False,
    )  # fmt: skip
    if min(p.out_size) <= 0:
        return
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, p.x_shape), rng.integers(-9, 9, p.w_shape)
    folded = p.folded(kernels)
    y = evaluate(p, x, w)
    assert folded.folded(kernels) == folded
    assert (folded.pixels, folded.macs, folded.taps) == (p.pixels, p.macs, p.taps)
    assert y.shape[2:] == p.out_size
    np.testing.assert_array_equal(evaluate(folded, x, w).ravel(), y.ravel())


def test_folding_named():
    point = conv2d(w=(6, 4, 1, 1), dilation=3).folded()
    assert (point.in_size, point.kernel, point.dilation, point.rank) == ((1, 1, 72), (1, 1, 1), (1, 1, 1), 2)
    tall = conv2d(w=(6, 4, 7, 1), padding=((3, 2), 0))
    assert tall.folded() == tall
    tall = tall.folded(kernels=True)
    assert (tall.in_size, tall.kernel, tall.dilation) == ((1, 1, 72), (1, 1, 7), (1, 1, 8))
    assert tall.padding == ((0, 0), (0, 0), (24, 16))
    deep = ConvProblem.of(3, (1, 4, 5, 6, 7), (6, 4, 3, 1, 1), "float32")
    assert (deep.folded().in_size, deep.folded().kernel) == ((1, 5, 42), (1, 3, 1))
    deep = deep.folded(kernels=True)
    assert (deep.in_size, deep.kernel, deep.dilation) == ((1, 1, 210), (1, 1, 3), (1, 1, 42))
    far = transposed2d(x=(1, 4, 1, 1), stride=2**62).folded()
    assert far == transposed2d(x=(1, 4, 1, 1)).folded()
    assert conv2d().folded() == conv2d()
    assert conv2d(w=(6, 4, 1, 1), stride=2).folded() == conv2d(w=(6, 4, 1, 1), stride=2)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_weights_are_views(rank):
    rng = np.random.default_rng(0)
    kernel = (2, 3, 4)[3 - rank :]
    w = rng.random((6, 2, *kernel))
    p = ConvProblem.of(rank, (1, 4, *[9] * rank), w.shape, "float64", groups=2)
    view = p.forward_weights(w)
    assert np.shares_memory(view, w) and view.shape == (2, 3, 2, *p.kernel)
    np.testing.assert_array_equal(view.reshape(w.shape), w)

    q = ConvProblem.of_transposed(rank, (1, 6, *[9] * rank), w.shape, "float64", groups=2)
    view = q.forward_weights(w)
    assert np.shares_memory(view, w) and view.shape == (2, 2, 3, *q.kernel)
    flipped = np.flip(w, tuple(range(2, rank + 2)))
    np.testing.assert_array_equal(view[1, 0, 2].reshape(kernel), flipped[5, 0])


@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("cut", [0, (1, 0), (-1, 2)])
def test_transposed_is_the_same_sum(s, k, cut):
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, (2, 4, 6)), rng.integers(-9, 9, (4, 3, k))
    p = ConvProblem.of_transposed(1, x.shape, w.shape, "int64", s, (cut,), s - 1, 2)
    scattered = reference.conv_transpose(x, w, None, s, (cut,), s - 1, 2)
    np.testing.assert_array_equal(evaluate(p, x, p.forward_weights(w)).ravel(), scattered.ravel())
