"""The public functions: dtypes, layouts, out=, plans, and every argument error, whatever strategy the planner takes."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tolerance import assert_close

import numbaconv
from numbaconv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d

CONV = {1: conv1d, 2: conv2d, 3: conv3d}
TRANSPOSE = {1: conv_transpose1d, 2: conv_transpose2d, 3: conv_transpose3d}
PLAN = {1: numbaconv.plan_conv1d, 2: numbaconv.plan_conv2d, 3: numbaconv.plan_conv3d}
PLAN_TRANSPOSE = {
    1: numbaconv.plan_conv_transpose1d,
    2: numbaconv.plan_conv_transpose2d,
    3: numbaconv.plan_conv_transpose3d,
}
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64", "complex64", "complex128")


def values(shape, dtype="float32", seed=0):
    """Numbers whose integer sums fit even int8."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.2
    if dtype.kind in "iu":
        return rng.integers(0 if dtype.kind == "u" else -1, 2, shape).astype(dtype)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if dtype.kind == "c" else x).astype(dtype)


def example(dtype="float32"):
    return values((2, 4, 7, 9), dtype), values((6, 2, 3, 3), dtype, 1), values((6,), dtype, 2)


GEOMETRY = {"stride": 1, "padding": 1, "groups": 2}

# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_dtypes(rank, dtype):
    x, w, b = values((2, 4, *[6] * rank), dtype), values((4, 2, *[3] * rank), dtype, 1), values((4,), dtype, 2)
    if np.dtype(dtype).kind in "iu":
        x = x * (x.shape[2:] and values(x.shape, dtype, 3))
    y = CONV[rank](x, w, b, 2, 1, 1, 2)
    assert y.dtype == dtype
    assert_close(y, reference.conv, x, w, b, stride=2, padding=1, groups=2)
    y = TRANSPOSE[rank](x, w, b[:4], 2, 1, 1, 2)
    assert y.dtype == dtype
    assert_close(y, reference.conv_transpose, x, w, b[:4], stride=2, padding=1, output_padding=1, groups=2)


@pytest.mark.parametrize(
    ("x", "w", "result"),
    [
        ("float32", "float64", "float64"),
        ("float16", "float32", "float32"),
        ("float64", "complex64", "complex128"),
        ("float32", "complex64", "complex64"),
        ("int8", "int32", "int32"),
        ("uint8", "int8", "int16"),
        ("bool", "uint8", "uint8"),
        (">f4", "<f4", "float32"),
        (">i2", ">i2", "int16"),
    ],
)
def test_promotion(x, w, result):
    x, w = values((1, 2, 5), x), values((3, 2, 2), w, 1)
    y = conv1d(x, w)
    assert y.dtype == result and y.dtype.isnative
    assert_close(y, reference.conv, x, w)


def test_integers_are_exact_or_refused():
    x = np.full((1, 1, 3), 127, np.int8)
    with pytest.raises(OverflowError, match=r"int8.*wider"):
        conv1d(x, np.ones((1, 1, 2), np.int8))
    assert conv1d(x, np.ones((1, 1, 2), np.int16)).tolist() == [[[254, 254]]]
    with pytest.raises(OverflowError, match="bias"):
        conv1d(x, np.ones((1, 1, 1), np.int8), np.array([200]))

    big = np.full((1, 1, 4), 2**62, np.int64)
    assert conv1d(big, np.array([[[1, -1, 1]]])).tolist() == [[[2**62, 2**62]]]
    assert conv1d(big, np.array([[[1, 1, -1]]])).tolist() == [[[2**62, 2**62]]], "wraps on the way, fits at the end"
    for taps in ([1, 1], [3, 2], [4, 4]):  # sums of 2**63, and sums that are small modulo 2**64
        with pytest.raises(OverflowError, match="int64"):
            conv1d(big, np.array([[taps]]))
    assert conv1d(big.astype(np.uint64), np.array([[[2, 1]]], np.uint64)).tolist() == [[[3 * 2**62] * 3]]
    with pytest.raises(OverflowError, match="uint64"):
        conv1d(big.astype(np.uint64), np.array([[[2, 2]]], np.uint64))
    low = np.full((1, 1, 2), -(2**31), np.int32)
    with pytest.raises(OverflowError, match="int32"):
        conv1d(np.repeat(low, 4, axis=2), np.repeat(low, 4, axis=2))  # 4 * 2**62 = 0 modulo 2**64


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "w"])
def test_nan_and_inf_go_where_the_equation_sends_them(bad, where):
    x, w, b = example()
    x, w = abs(x) + 1, abs(w) + 1
    (x if where == "x" else w)[1, 1, 0, 1] = bad
    for geometry in (GEOMETRY, {"stride": 2, "padding": ((0, 2), (1, 0)), "groups": 2, "dilation": 2}):
        assert_close(conv2d(x, w, b, **geometry), reference.conv, x, w, b, **geometry)
    w = values((4, 3, 3, 3), "float32", 1) if where == "x" else w[:4]
    geometry = {"stride": 2, "padding": 1, "groups": 2}
    assert_close(conv_transpose2d(x, w, **geometry), reference.conv_transpose, x, w, **geometry)


pad = st.one_of(st.integers(-1, 3), st.tuples(st.integers(-2, 3), st.integers(-2, 3)))


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 3))
    each = lambda s: tuple(draw(s) for _ in range(rank))  # noqa: E731
    return {
        "groups": draw(st.integers(1, 3)),
        "batch": draw(st.integers(1, 2)),
        "inner": draw(st.integers(1, 5)),
        "outer": draw(st.integers(1, 5)),
        "size": each(st.integers(1, 9 if rank == 3 else 20)),
        "kernel": each(st.integers(1, 4)),
        "stride": each(st.integers(1, 3)),
        "padding": each(pad),
        "dilation": each(st.integers(1, 3)),
        "dtype": draw(st.sampled_from(["float32", "float32", "float64", "int64", "complex64"])),
    }


@settings(max_examples=200, deadline=None)
@given(problems())
def test_any_problem(p):
    x = values((p["batch"], p["groups"] * p["inner"], *p["size"]), p["dtype"])
    w = values((p["groups"] * p["outer"], p["inner"], *p["kernel"]), p["dtype"], 1)
    b = values((p["groups"] * p["outer"],), p["dtype"], 2)
    geometry = {name: p[name] for name in ("stride", "padding", "dilation", "groups")}
    spans = [
        n + lo + hi > d * (k - 1)
        for n, (lo, hi), d, k in zip(
            p["size"], reference.ends(p["padding"], len(p["size"])), p["dilation"], p["kernel"], strict=True
        )
    ]
    assume(all(spans))
    assert_close(CONV[len(spans)](x, w, b, **geometry), reference.conv, x, w, b, **geometry)


@settings(max_examples=200, deadline=None)
@given(problems(), st.data())
def test_any_transposed_problem(p, data):
    rank = len(p["size"])
    x = values((p["batch"], p["groups"] * p["inner"], *p["size"]), p["dtype"])
    w = values((p["groups"] * p["inner"], p["outer"], *p["kernel"]), p["dtype"], 1)
    b = values((p["groups"] * p["outer"],), p["dtype"], 2)
    extra = [data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(p["stride"], p["dilation"], strict=True)]
    geometry = {name: p[name] for name in ("stride", "padding", "dilation", "groups")} | {"output_padding": extra}
    left = [
        (n - 1) * s + d * (k - 1) + op + 1 - lo - hi > 0
        for n, s, (lo, hi), d, k, op in zip(
            p["size"], p["stride"], reference.ends(p["padding"], rank), p["dilation"], p["kernel"], extra, strict=True
        )
    ]
    assume(all(left))
    y = TRANSPOSE[rank](x, w, b, **geometry)
    assert_close(y, reference.conv_transpose, x, w, b, **geometry)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_transposed_is_the_adjoint(p):
    """<conv(x), y> == <x, conv_transpose(y)>, exactly, in integers."""
    rank = len(p["size"])
    x = values((p["batch"], p["groups"] * p["inner"], *p["size"]), "int64")
    w = values((p["groups"] * p["outer"], p["inner"], *p["kernel"]), "int64", 1)
    geometry = {name: p[name] for name in ("stride", "padding", "dilation", "groups")}
    try:
        y = CONV[rank](x, w, **geometry)
    except ValueError:
        assume(False)
    other = values(y.shape, "int64", 3)
    try:
        back = TRANSPOSE[rank](other, w, output_size=x.shape, **geometry)
    except ValueError:  # inputs beyond the last stride that no output reads are more than output_padding may add
        assume(False)
    assert (y * other).sum() == (x * back).sum()


# ---- arrays ----------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "fortran": np.asfortranarray,
    "negative strides": lambda a: a[..., ::-1].copy()[..., ::-1],
    "sliced": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.tolist(),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "broadcast": lambda a: np.broadcast_to(a, a.shape),
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


@pytest.mark.parametrize("layout", [*LAYOUTS, "read-only"])
def test_layouts(layout):
    change = LAYOUTS.get(layout, read_only)
    x, w, b = example("float64")
    expected = conv2d(x, w, b, **GEOMETRY)
    for arguments in ((change(x), w, b), (x, change(w), b), (x, w, change(b)), (change(x), change(w), change(b))):
        y = conv2d(*arguments, **GEOMETRY)
        assert_close(y, reference.conv, x, w, b, **GEOMETRY)
        np.testing.assert_array_equal(y, expected)
    t = values((4, 3, 3, 3), "float64", 1)
    y = conv_transpose2d(change(x), change(t), change(b), 2, groups=2)
    assert_close(y, reference.conv_transpose, x, t, b, stride=2, groups=2)


def test_unbatched():
    x, w, b = example()
    y = conv2d(x[0], w, b, **GEOMETRY)
    assert_close(y[None], reference.conv, x[:1], w, b, **GEOMETRY)
    assert y.base is None
    np.testing.assert_array_equal(numbaconv.plan_conv2d(x[0].shape, w, b, **GEOMETRY)(x[0]), y)


def test_nothing_to_multiply():
    x, w, b = example()
    assert conv2d(x[:0], w, b, **GEOMETRY).shape == (0, 6, 7, 9)
    assert conv2d(x[:, :0], w[:, :0], b).tolist() == np.broadcast_to(b[:, None, None], (2, 6, 5, 7)).tolist()
    assert not conv2d(x[:, :, :0], w, padding=2, groups=2).any()
    assert conv2d(x[:, :2], w[:0]).shape == (2, 0, 5, 7)
    plan = numbaconv.plan_conv2d((0, 4, 7, 9), w, **GEOMETRY)
    assert plan(x[:0]).shape == plan.output_shape == (0, 6, 7, 9)
    assert plan.strategy == "none" and "nothing" in repr(plan)


class TestOut:
    def test_written_and_returned(self):
        x, w, b = example()
        y = conv2d(x, w, b, **GEOMETRY)
        for out in (
            np.full_like(y, 7),
            np.full((9, 7, 6, 2), 7, np.float32).T,
            np.full((2, 6, 7, 18), 7, "f4")[..., ::-2],
        ):
            assert conv2d(x, w, b, out=out, **GEOMETRY) is out
            np.testing.assert_array_equal(out, y)
        out = np.empty_like(y[0])
        assert conv2d(x[0], w, b, out=out, **GEOMETRY) is out
        np.testing.assert_array_equal(out, y[0])

    @pytest.mark.parametrize(
        ("out", "error", "words"),
        [
            (np.empty((2, 6, 7, 8), "f4"), ValueError, r"out must have shape \(2, 6, 7, 9\); got"),
            (np.empty((2, 6, 7, 9)), TypeError, "out must have dtype float32; got float64"),
            (np.empty((2, 6, 7, 9), ">f4"), TypeError, "out must have dtype float32; got >f4"),
            (read_only(np.empty((2, 6, 7, 9), "f4")), ValueError, "out must be writable"),
            ([[1.0]], TypeError, "out must be a NumPy array.*got list"),
            (np.ma.zeros((2, 6, 7, 9), "f4"), TypeError, "out must be a NumPy array.*got MaskedArray"),
        ],
    )
    def test_refused(self, out, error, words):
        with pytest.raises(error, match=words):
            conv2d(*example(), out=out, **GEOMETRY)

    def test_overlap(self):
        memory = np.zeros(2000, np.float32)
        x, out = memory[:162].reshape(1, 2, 9, 9), memory[81:243].reshape(1, 2, 9, 9)
        w = np.zeros((2, 2, 3, 3), np.float32)
        with pytest.raises(ValueError, match="out must not overlap x"):
            conv2d(x, w, padding=1, out=out)
        with pytest.raises(ValueError, match="out must not overlap x"):
            numbaconv.plan_conv2d(x.shape, w, padding=1)(x, out=out)
        with pytest.raises(ValueError, match="out must not overlap weight"):
            conv2d(np.ones_like(x), memory[:36].reshape(w.shape), padding=1, out=memory[:162].reshape(x.shape))
        with pytest.raises(ValueError, match="out must not overlap bias"):
            conv2d(np.ones_like(x), w, memory[:2], padding=1, out=memory[:162].reshape(x.shape))
        every_other = memory[:324].reshape(1, 2, 9, 18)
        conv2d(every_other[..., ::2], w, padding=1, out=every_other[..., 1::2])  # interleaved, but disjoint


class TestErrors:
    @pytest.mark.parametrize(
        ("x", "w", "words"),
        [
            (values((1, 1, 5)), values((1, 1, 3), "int32"), "x has dtype float32 and weight int32.*astype"),
            (values((1, 1, 5)), values((1, 1, 3), "bool"), "x has dtype float32 and weight bool"),
            (values((1, 1, 5), "uint64"), values((1, 1, 3), "int64"), "no integer dtype holds both"),
            (np.array([[[None]]]), values((1, 1, 3)), "x has dtype object; accepted are bool, complex128"),
            (values((1, 1, 5)), np.array([[["a"]]]), "weight has dtype <U1"),
            (np.zeros((1, 1, 5), "M8[s]"), values((1, 1, 3)), "x has dtype datetime64"),
            (np.zeros((1, 1, 5), "f4,f4"), values((1, 1, 3)), "x has dtype"),
            (np.zeros((1, 1, 5), np.longdouble), values((1, 1, 3)), "x has dtype float128|x has dtype longdouble"),
            (None, values((1, 1, 3)), "x has dtype object"),
            (np.array(["a"], np.dtypes.StringDType()), values((1, 1, 3)), "x has dtype StringDType"),
            (np.ma.masked_array([[[1.0, 2.0]]]), values((1, 1, 3)), "x is a masked array"),
        ],
    )
    def test_dtypes(self, x, w, words):
        with pytest.raises(TypeError, match=words):
            conv1d(x, w)

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"bias": np.zeros(5, "f4")}, ValueError, r"bias must have shape \(6,\)"),
            ({"bias": np.zeros((6, 1), "f4")}, ValueError, r"bias must have shape \(6,\)"),
            ({"bias": np.zeros(6, "c8")}, TypeError, "bias has dtype complex64.*float32"),
            ({"bias": ["a"] * 6}, TypeError, "bias has dtype"),
            ({"x": [[1.0], [1.0, 2.0]]}, ValueError, "x must be an array or a regular nest"),
            ({"x": np.zeros((7, 9), "f4")}, ValueError, "x must have 4 dimensions.*got 2"),
            ({"stride": True}, TypeError, "bool True"),
            ({"stride": 1.0}, TypeError, "stride must be an integer; got 1.0"),
            ({"stride": (1.0, 1.0)}, TypeError, r"stride\[0\] must be an integer; got 1.0"),
            ({"stride": [0, 1]}, ValueError, r"stride\[0\] must be at least 1; got 0"),
            ({"num_threads": 0}, ValueError, "num_threads must be between 1 and"),
            ({"num_threads": 10**6}, ValueError, "num_threads must be between 1 and"),
            ({"num_threads": 1.5}, TypeError, "num_threads must be an int"),
            ({"strategy": ["direct"]}, TypeError, r"strategy must be None or a name; got \['direct'\]"),
            ({"strategy": 1}, TypeError, "strategy must be None or a name; got 1"),
            ({"padding": 2**31}, ValueError, "does not fit"),
            ({"padding": 2**21}, MemoryError, "4194"),
        ],
    )
    def test_arguments(self, arguments, error, words):
        x, w, b = example()
        conv2d(x, w, b, 1, 1, 1, 2)  # remembered: 1 == 1.0 == True must not make the next call pass
        conv2d(x, w, b, (1, 1), 1, 1, 2)
        with pytest.raises(error, match=words):
            conv2d(**({"x": x, "weight": w, "bias": b, "padding": 1, "groups": 2} | arguments))

    def test_unknown_strategy(self):
        with pytest.raises(ValueError, match="generic"):
            conv2d(*example(), groups=2, strategy="fastest")


class TestPlan:
    def test_same_result(self):
        x, w, b = example()
        plan = numbaconv.plan_conv2d(x.shape, w, b, **GEOMETRY)
        y = plan(x)
        assert_close(y, reference.conv, x, w, b, **GEOMETRY)
        out = np.empty_like(y)
        assert plan(x, out=out) is out and (out == y).all()
        assert plan.input_shape == x.shape and plan.output_shape == y.shape
        assert str(plan.problem) in repr(plan) and plan.strategy in str(plan)
        assert (pickle.loads(pickle.dumps(plan))(x) == y).all()
        with pytest.raises(AttributeError):
            plan.problem = None

    @pytest.mark.parametrize("rank", [1, 2, 3])
    def test_transposed(self, rank):
        x, w = values((2, 4, *[5] * rank)), values((4, 3, *[3] * rank), seed=1)
        plan = PLAN_TRANSPOSE[rank](x.shape, w, None, 2, 1, 1)
        assert_close(plan(x), reference.conv_transpose, x, w, stride=2, padding=1, output_padding=1)
        assert PLAN_TRANSPOSE[rank](x.shape, w, stride=2, output_size=(12,) * rank).output_shape == (2, 3, *[12] * rank)

    def test_keeps_its_own_weights(self):
        x, w, b = example()
        for strategy in (None, "generic"):
            kernel, bias = w.copy(), b.copy()
            plan = numbaconv.plan_conv2d(x.shape, kernel, bias, strategy=strategy, **GEOMETRY)
            kernel[:], bias[:] = 0, 0
            assert_close(plan(x), reference.conv, x, w, b, **GEOMETRY)

    def test_input_is_checked(self):
        x, w, _ = example()
        plan = numbaconv.plan_conv2d(x.shape, w, dtype=np.float64, **GEOMETRY)
        assert plan(x).dtype == np.float64
        single = numbaconv.plan_conv2d(x.shape, w, **GEOMETRY)
        with pytest.raises(ValueError, match=r"planned shape \(2, 4, 7, 9\); got \(1, 4, 7, 9\)"):
            single(x[:1])
        for wrong in (x.astype(np.float64), x.astype(np.int8), x.astype(object)):
            with pytest.raises(TypeError, match=r"planned dtype float32.*got"):
                single(wrong)
        assert (single(x.astype(">f4")) == single(x)).all()
        assert single(x.astype(np.float16)).dtype == np.float32
        with pytest.raises(ValueError, match="dimensions"):
            numbaconv.plan_conv2d((7, 9), w)
        with pytest.raises(TypeError, match="input_shape must be a tuple of ints; got 7"):
            numbaconv.plan_conv2d(7, w)
        with pytest.raises(TypeError, match=r"input_shape .* got an array, whose shape is \(2, 4, 7, 9\)"):
            numbaconv.plan_conv2d(x, w)


# ---- the module ------------------------------------------------------------------------------------------------------


def test_explain():
    x, w, b = example()
    table = numbaconv.explain(x, w, b, **GEOMETRY)
    assert table.startswith("conv2d f32 2x4x7x9 * 6x2x3x3 s1 p1 d1 g2") and "generic" in table and table.count("*") >= 2
    assert "conv_transpose2d" in numbaconv.explain(x[0], w[:4], stride=2, transposed=True, output_size=(15, 19))
    with pytest.raises(ValueError, match="weight must have 3, 4 or 5 dimensions"):
        numbaconv.explain(x, w[0, 0])


def test_threads():
    before = numbaconv.get_num_threads()
    try:
        numbaconv.set_num_threads(1)
        assert numbaconv.get_num_threads() == 1
        x, w, b = example()
        assert_close(conv2d(x, w, b, **GEOMETRY), reference.conv, x, w, b, **GEOMETRY)
        with pytest.raises(ValueError, match="between 1 and"):
            numbaconv.set_num_threads(0)
    finally:
        numbaconv.set_num_threads(before)


def test_show_config(capsys):
    numbaconv.show_config()
    assert numbaconv.__version__ in capsys.readouterr().out


def test_import_brings_no_compiler():
    program = "import sys; from numbaconv import *; print([m for m in ('numba', 'llvmlite') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_names():
    assert set(numbaconv.__all__) <= set(dir(numbaconv))
    for name in numbaconv.__all__:
        assert getattr(numbaconv, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'conv4d'"):
        numbaconv.conv4d  # noqa: B018
