"""`signal` and `ndimage` say what SciPy's functions say, `convolve_nan` what astropy's does."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from numbaconv import correlation, ndimage, signal
from numbaconv.separable import PARTS, split

scipy_ndimage = pytest.importorskip("scipy.ndimage")
scipy_signal = pytest.importorskip("scipy.signal")

FEW = settings(max_examples=30, deadline=None)
FLOATS = ("float32", "float64", "complex64", "complex128")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
BOUNDARIES = ("fill", "wrap", "symm")
seeds = st.integers(0, 2**32 - 1)
modes = st.sampled_from(("full", "same", "valid"))


def numbers(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind in "bui":
        return rng.integers(0 if dtype.kind != "i" else -99, 2 if dtype.kind == "b" else 99, shape).astype(dtype)
    y = rng.standard_normal(shape)
    return (y + 1j * rng.standard_normal(shape) if dtype.kind == "c" else y).astype(dtype)


def shapes(least, most, largest):
    return st.integers(least, most).flatmap(lambda n: st.tuples(*[st.integers(1, largest)] * n))


def wide(a):
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)


def assert_near(y, expected, size, taps):
    """Both sums are within their bound, the one of y's dtype: (taps + 2)/2 * eps * (|x| conv |w|)."""
    info = np.finfo(y.dtype)
    allowed = 2 * (taps + 2) * (info.eps / 2 * size + info.tiny) * (8**0.5 if y.dtype.kind == "c" else 1)
    assert y.shape == expected.shape
    assert type(y) is np.ndarray
    assert (np.abs(y - expected) <= allowed).all()


def assert_like_scipy(name, in1, in2, *arguments, **more):
    """The same number, dtype and shape; what SciPy refuses is refused."""
    ours, theirs = getattr(signal, name), getattr(scipy_signal, name)
    try:
        expected = theirs(in1, in2, *arguments, **more)
    except ValueError:
        with pytest.raises(ValueError, match=r"must|wants"):
            ours(in1, in2, *arguments)
        return
    y = ours(in1, in2, *arguments)
    assert y.dtype == expected.dtype
    assert y.flags.c_contiguous
    if y.dtype.kind in "biu":
        np.testing.assert_array_equal(y, expected)
        return
    positive = [abs(a) if isinstance(a, int) else a for a in arguments]
    size = theirs(np.abs(wide(in1)), np.abs(wide(in2)), *positive, **more)
    assert_near(y, theirs(wide(in1), wide(in2), *arguments, **more), size, min(in1.size, in2.size))


# ---- scipy.signal ----------------------------------------------------------------------------------------------------


@FEW
@given(shapes(1, 3, 7), st.data(), modes, st.sampled_from(("convolve", "correlate")), seeds)
def test_convolve_and_correlate(shape, data, mode, name, seed):
    kernel = data.draw(st.tuples(*[st.integers(1, 9)] * len(shape)))
    dtypes = [data.draw(st.sampled_from(FLOATS + INTEGERS)) for _ in range(2)]
    rng = np.random.default_rng(seed)
    in1, in2 = numbers(rng, shape, dtypes[0]), numbers(rng, kernel, dtypes[1])
    assert_like_scipy(name, in1, in2, mode, method="direct")


@FEW
@given(shapes(2, 2, 7), st.data(), modes, st.sampled_from(("convolve2d", "correlate2d")), seeds)
def test_boundaries(shape, data, mode, name, seed):
    kernel = data.draw(shapes(2, 2, 9))
    dtypes = [data.draw(st.sampled_from(FLOATS + INTEGERS)) for _ in range(2)]
    boundary, fill = data.draw(st.sampled_from(BOUNDARIES)), data.draw(st.integers(0, 9))
    rng = np.random.default_rng(seed)
    in1, in2 = numbers(rng, shape, dtypes[0]), numbers(rng, kernel, dtypes[1])
    if "u" not in dtypes[0][0] + dtypes[1][0]:
        fill = -fill
    assert_like_scipy(name, in1, in2, mode, boundary, fill)


@FEW
@given(shapes(1, 3, 8), st.data(), modes, st.sampled_from(("oaconvolve", "fftconvolve")), seeds)
def test_axes(shape, data, mode, name, seed):
    ndim = len(shape)
    axes = data.draw(st.none() | st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True))
    convolved = range(ndim) if axes is None else axes
    kernel = [data.draw(st.integers(1, 5)) if a in convolved else data.draw(st.sampled_from((1, n)))
              for a, n in enumerate(shape)]  # fmt: skip
    shape = [n if a in convolved else data.draw(st.sampled_from((1, n))) for a, n in enumerate(shape)]
    rng = np.random.default_rng(seed)
    dtypes = [data.draw(st.sampled_from(("float32", "float64", "complex64", "int16", "bool", "float16")))
              for _ in range(2)]  # fmt: skip
    in1, in2 = numbers(rng, shape, dtypes[0]), numbers(rng, kernel, dtypes[1])
    theirs = getattr(scipy_signal, name)
    try:
        expected = theirs(in1, in2, mode, axes)
    except ValueError:
        with pytest.raises(ValueError, match="mode='valid'"):
            getattr(signal, name)(in1, in2, mode, axes)
        return
    y = getattr(signal, name)(in1, in2, mode, axes)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    # SciPy's own transforms are off by a few eps of the largest number; their growth is in 'size' twice.
    expected, size = (theirs(f(wide(in1)), f(wide(in2)), mode, axes) for f in (np.asarray, np.abs))
    info = np.finfo(y.dtype if y.dtype.kind in "fc" else np.float64)
    allowed = 8 * (in2.size + 8) * info.eps * (np.abs(size) + np.abs(size).max(initial=0))
    assert (np.abs(y - expected) <= allowed).all()


@pytest.mark.parametrize("dtype", ["bool", "float16"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_bool_and_float16(dtype, ndim):
    """SciPy has them in one dimension only; its transforms make a bool of each rounding error."""
    rng = np.random.default_rng(0)
    in1, in2 = numbers(rng, (9,) * ndim, dtype), numbers(rng, (3,) * ndim, dtype)
    y, expected = signal.convolve(in1, in2), scipy_signal.convolve(wide(in1), wide(in2), method="direct")
    assert y.dtype == dtype
    if dtype == "bool":
        np.testing.assert_array_equal(y, expected != 0)
    else:
        np.testing.assert_allclose(y, expected, rtol=2**-11, atol=1e-5)


def test_integers_are_exact_modulo_their_range():
    rng = np.random.default_rng(0)
    for dtype, most in (("uint8", 256), ("int32", 2**31), ("int64", 2**40), ("uint64", 2**31)):
        in1 = rng.integers(0, most, (6, 40), dtype=np.dtype(dtype).name)
        in2 = rng.integers(0, min(most, 2**20), (3, 5), dtype=np.dtype(dtype).name)
        np.testing.assert_array_equal(signal.convolve(in1, in2), scipy_signal.convolve(in1, in2, method="direct"))
    for dtype in ("int64", "uint64"):  # sums of more than 64 bits
        info = np.iinfo(dtype)
        in1, in2 = (rng.integers(info.min, info.max, size, dtype, endpoint=True) for size in ((6, 40), (3, 5)))
        in1[0, 0] = info.min
        for name in ("convolve2d", "correlate2d"):
            assert_like_scipy(name, in1, in2, "same", "fill", int(in1[1, 1]))


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "kernel"), [((30,), (4,)), ((9, 11), (3, 4)), ((4, 5, 6), (2, 3, 3))])
def test_many_filters(shape, kernel, boundary, flip):
    rng = np.random.default_rng(0)
    in1, filters = rng.standard_normal(shape), rng.standard_normal((5, *kernel))
    y = (signal.convolve_many if flip else signal.correlate_many)(in1, filters, "same", boundary)
    assert y.shape == (5, *shape)
    one = signal.convolve if flip else signal.correlate
    if boundary != "fill":
        around = {"wrap": "wrap", "symm": "symmetric"}[boundary]
        in1 = np.pad(in1, [(k // 2, (k - 1) // 2) for k in kernel], around)
    mode = "same" if boundary == "fill" else "valid"
    for result, weights in zip(y, filters, strict=True):
        size = one(np.abs(in1), np.abs(weights), mode)
        assert_near(result, one(in1, weights, mode), size, weights.size)


def test_more_dimensions():
    rng = np.random.default_rng(0)
    in1, in2 = rng.standard_normal((2, 3, 4, 5, 6)), rng.standard_normal((1, 2, 1, 3, 1))
    assert_like_scipy("convolve", in1, in2, method="direct")
    with pytest.raises(ValueError, match="at most 3 axes"):
        signal.convolve(np.ones((3, 3, 3, 3)), np.ones((2, 2, 2, 2)))
    y = ndimage.correlate1d(in1, [1.0, 2.0, 4.0], axis=1)
    np.testing.assert_allclose(y, scipy_ndimage.correlate1d(in1, [1.0, 2.0, 4.0], axis=1), rtol=0, atol=1e-14)


def test_scalars_and_empty_arrays():
    for name in ("convolve", "correlate", "fftconvolve", "oaconvolve"):
        for in2 in (3, np.array(3.0), np.complex64(3j)):
            y, expected = (getattr(m, name)(np.array(2), in2) for m in (signal, scipy_signal))
            assert y == expected and type(y) is type(expected)
    assert signal.oaconvolve([], [1.0]).shape == (0,)
    assert ndimage.correlate(np.ones((0, 3)), np.ones((2, 2))).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: signal.convolve([1, 2], [[1]]), "equally many dimensions"),
        (lambda: signal.convolve([], [1.0]), "must not be empty"),
        (lambda: signal.convolve([1], [1], mode="some"), "mode must be one of"),
        (lambda: signal.convolve([1], [1], method="some"), "method must be one of"),
        (lambda: signal.correlate(np.ones((3, 2)), np.ones((2, 3)), "valid"), "at least as large"),
        (lambda: signal.convolve2d(np.ones(3), np.ones(3)), "two-dimensional"),
        (lambda: signal.convolve2d([[1]], [[1]], boundary="reflect"), "boundary must be one of"),
        (lambda: signal.convolve2d([[1.0]], [[1.0]], fillvalue=1j), "fillvalue must be real"),
        (lambda: signal.convolve2d([[1.0]], [[1.0]], fillvalue=[1, 2]), "fillvalue must be one number"),
        (lambda: signal.convolve2d(np.ones((1, 1), "u1"), np.ones((1, 1), "u1"), fillvalue=-1), "uint8; got -1"),
        (lambda: signal.oaconvolve(np.ones((2, 5)), np.ones((3, 5)), axes=1), "equal sizes, or 1"),
        (lambda: signal.oaconvolve(np.ones((2, 5)), np.ones((2, 5)), axes=[1, -1]), "none twice"),
        (lambda: signal.oaconvolve(np.ones((2, 5)), np.ones((2, 5)), axes=2), "-2 to 1"),
        (lambda: signal.oaconvolve(np.ones((2, 5)), np.ones((2, 5)), axes=[]), "at least one"),
        (lambda: signal.convolve_many([1, 2], [1, 2]), "one dimension more"),
        (lambda: signal.convolve_many([1], [[1, 2]], "valid"), "fit into in1"),
        (lambda: ndimage.correlate([1, 2], [1], mode="some"), "mode must be one of"),
        (lambda: ndimage.correlate([[1, 2]], [[1]], mode=["nearest", "wrap"]), "mode must be one of"),
        (lambda: ndimage.correlate([1, 2], [[1]]), "weights must have 1 dimensions"),
        (lambda: ndimage.correlate([1, 2], [1, 1], origin=1), "origin must be from -1 to 0"),
        (lambda: ndimage.correlate([[1, 2]], [[1]], origin=(0, 0, 0)), "origin must be an integer or 2"),
        (lambda: ndimage.correlate([[1, 2]], [1], axes=(2,)), "axes must be"),
        (lambda: ndimage.correlate([1, 2], [1], output=np.empty(3)), "output must have the shape"),
        (lambda: ndimage.correlate([1.0], [1.0], cval=1j, mode="constant"), "cval must be real"),
        (lambda: ndimage.correlate([1.0], [1j], cval=1j, mode="constant"), "cval must be real"),
        (lambda: ndimage.correlate([1j], [1.0], output=np.empty(1)), "output must be complex"),
        (lambda: signal.convolve_nan([1.0], [1.0, 1.0]), "odd size"),
        (lambda: signal.convolve_nan([1.0, 2.0, 3.0], [1.0, -2.0, 1.0]), "sum of at least"),
        (lambda: signal.convolve_nan([1.0], [1.0], boundary="some"), "boundary must be one of"),
        (lambda: signal.convolve_nan([1.0], [1.0], nan_treatment="some"), "nan_treatment must be one of"),
        (lambda: signal.convolve_nan([1.0], [1.0], mask=[0, 1]), "mask must have the shape"),
        (lambda: signal.convolve_nan([1.0], [1.0] * 3, boundary=None), "fits into array"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: signal.convolve(np.ones(2, "longdouble"), [1.0]), "in1 has dtype"),
        (lambda: signal.convolve(np.ma.ones(2), [1.0]), "masked"),
        (lambda: ndimage.correlate([1.0], [1.0], output="M8[s]"), "output must be"),
        (lambda: signal.convolve_nan([1j], [1.0]), "must be real"),
    ],
)
def test_refused_dtypes(call, match):
    with pytest.raises(TypeError, match=match):
        call()


# ---- scipy.ndimage ---------------------------------------------------------------------------------------------------


@st.composite
def filtered_images(draw):
    shape = draw(shapes(1, 3, 6))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True).map(sorted))
    kernel = [draw(st.integers(1, 7)) for _ in axes]
    flip = draw(st.booleans())
    origin = [draw(st.integers(-(k - 1) // 2, (k - 1) // 2) if flip else st.integers(-(k // 2), (k - 1) // 2))
              for k in kernel]  # fmt: skip
    mode = draw(st.sampled_from(sorted(ndimage.MODES)))
    return shape, axes, kernel, flip, origin, mode, np.random.default_rng(draw(seeds))


def assert_like_ndimage(name, x, w, arguments):
    ours, theirs = getattr(ndimage, name), getattr(scipy_ndimage, name)
    y, expected = ours(x, w, **arguments), theirs(x, w, **arguments)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    sizes = theirs(np.abs(wide(x)), np.abs(wide(w)), **arguments | {"cval": abs(arguments["cval"])})
    if y.dtype.kind in "fc":
        assert_near(y, theirs(wide(x), wide(w), **arguments), sizes, w.size)
        return
    differ = y != expected
    if platform.machine() not in ("x86_64", "AMD64"):  # SciPy's compiler may have fused products and sums there
        sums = theirs(wide(x), wide(w), **arguments)
        differ &= np.abs(sums - np.rint(sums)) > (w.size + 2) * 2.0**-51 * sizes
    assert not differ.any()


@FEW
@given(filtered_images(), st.sampled_from((*FLOATS, *INTEGERS, "bool")), st.sampled_from((1, 2, 9)))
def test_ndimage(case, dtype, divisor):
    """Whole weights, halves, and ninths, whose sums are whole numbers but for rounding."""
    shape, axes, kernel, flip, origin, mode, rng = case
    x, w = numbers(rng, shape, dtype), rng.integers(-9, 9, kernel) / divisor
    arguments = {"mode": mode, "cval": 3.0, "origin": origin, "axes": axes}
    assert_like_ndimage("convolve" if flip else "correlate", x, w, arguments)


@FEW
@given(filtered_images(), st.sampled_from((*FLOATS, *INTEGERS)), st.sampled_from((1, 2, 9)), st.integers(-1, 1))
def test_ndimage_lines(case, dtype, divisor, symmetry):
    shape, axes, kernel, flip, origin, mode, rng = case
    x, w = numbers(rng, shape, dtype), rng.integers(-9, 9, kernel[0]) / divisor
    w = w + symmetry * w[::-1]
    arguments = {"mode": mode, "cval": 0.5, "origin": origin[0], "axis": axes[0]}
    assert_like_ndimage("convolve1d" if flip else "correlate1d", x, w, arguments)


@FEW
@given(filtered_images(), st.sampled_from(("float32", "complex64", "int16")))
def test_ndimage_complex(case, dtype):
    shape, axes, kernel, flip, origin, mode, rng = case
    x, w = numbers(rng, shape, dtype), numbers(rng, kernel, "complex128")
    name = "convolve" if flip else "correlate"
    arguments = {"mode": mode, "cval": 2.0, "origin": origin, "axes": axes}
    y, expected = (getattr(m, name)(x, w, **arguments) for m in (ndimage, scipy_ndimage))
    assert y.dtype == expected.dtype
    size = getattr(scipy_ndimage, name)(np.abs(x).astype(float), np.abs(w), **arguments)
    assert_near(y, expected, size, w.size)


def test_origins_go_with_axes_and_weights_with_the_array():
    x, w = np.arange(30.0).reshape(2, 3, 5), np.arange(12.0).reshape(3, 4)
    y, expected = (m.correlate(x, w, axes=(-1, 1), origin=(-2, 1)) for m in (ndimage, scipy_ndimage))
    np.testing.assert_array_equal(y, expected)


def test_output():
    x = np.arange(12, dtype=np.uint8).reshape(3, 4)
    box = np.ones((3, 3)) / 9
    for output in (np.float32, "float64", np.dtype("int16")):
        y, expected = (m.correlate(x, box, output) for m in (ndimage, scipy_ndimage))
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(y, expected, rtol=1e-6)
    out = np.empty((4, 3), np.float64).T
    assert ndimage.correlate(x, box, out) is out
    np.testing.assert_allclose(out, scipy_ndimage.correlate(x, box, np.float64), rtol=1e-14)
    expected = ndimage.correlate(x, box)
    assert ndimage.correlate(x, box, x) is x  # over the input, too
    np.testing.assert_array_equal(x, expected)


def test_a_real_output_for_complex_numbers():
    with pytest.warns(UserWarning, match="float32 to complex64") as caught:
        y = ndimage.correlate1d([1j, 2], [2.0], output=np.float32)
    np.testing.assert_array_equal(y, np.array([2j, 4], np.complex64), strict=True)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("mode", ["some", None])
def test_refusals_are_those_of_scipy(mode):
    for error in (ValueError, RuntimeError):  # SciPy's is the one or the other
        with pytest.raises(error, match="mode must be one of"):
            ndimage.correlate([1, 2], [1], mode=mode)


def test_floats_beyond_integers_are_taken_modulo():
    x = np.array([2.0**64 + 2**20, -(2.0**65) - 2**20, 300, np.inf, np.nan, 0.1])
    y = ndimage.correlate(x, [1.5], output=np.uint8)
    np.testing.assert_array_equal(y, np.array([0, 0, 450 - 256, 0, 0, 0], np.uint8))
    y = ndimage.correlate(x, [1.5], output=np.uint64)
    right = [int(1.5 * v) % 2**64 if np.isfinite(v) else 0 for v in x]
    np.testing.assert_array_equal(y, np.array(right, np.uint64))


def test_whole_sums_fall_to_scipys_side():
    image = np.full((6, 7), 100, np.uint8)
    y = ndimage.correlate(image, np.full((3, 3), 1 / 9))
    np.testing.assert_array_equal(y, scipy_ndimage.correlate(image, np.full((3, 3), 1 / 9)))


# ---- kernels that are products ---------------------------------------------------------------------------------------


@given(shapes(2, 3, 5), st.data(), seeds)
@FEW
def test_integer_kernels_split_exactly(shape, data, seed):
    rng = np.random.default_rng(seed)
    parts = data.draw(st.sampled_from(PARTS[len(shape)]))
    kernel = np.array(int(rng.integers(1, 4)))
    for part in parts:
        kernel = kernel * rng.integers(-9, 9, [n if a in part else 1 for a, n in enumerate(shape)])
    factors = split(kernel, parts, np.dtype("float64"))
    if kernel.any():
        product = np.array(1)
        for factor in factors:
            product = product * factor
        np.testing.assert_array_equal(product, kernel)
    else:
        assert factors is None or len(parts) == 1
    at = tuple(n - 1 for n in shape)
    kernel[at] += 1000  # one weight more, and the kernel is no product but for those of a single line
    if min(shape) > 1 and kernel[(0,) * len(shape)] and len(parts) > 1:
        factors = split(kernel, parts, np.dtype("float64"))
        assert factors is None or (np.prod(np.broadcast_arrays(*factors), axis=0) == kernel).all()


def test_float_kernels_split_within_the_bound():
    line = np.exp(-(np.linspace(-2, 2, 9) ** 2))
    gaussian = np.outer(line, line)
    parts = PARTS[2][1]
    for dtype in ("float32", "float64"):
        assert [f.size for f in split(gaussian, parts, np.dtype(dtype))] == [9, 9]
    bent = gaussian.copy()
    bent[0, 0] *= 1 + 1e-5  # more than 83 roundings of float32
    assert split(bent, parts, np.dtype("float32")) is None
    bent[0, 0] = gaussian[0, 0] * (1 + 1e-6)
    assert split(bent, parts, np.dtype("float32")) is not None
    assert split(bent, parts, np.dtype("float64")) is None
    hole = gaussian.copy()
    hole[4, 4] = 0
    assert split(hole, parts, np.dtype("float64")) is None
    assert split(np.full((3, 3), np.nan), parts, np.dtype("float64")) is None
    assert split(np.zeros((3, 3)), parts, np.dtype("float64")) is None


@FEW
@given(filtered_images(), st.sampled_from(("float32", "float64", "complex64", "uint8")), st.data())
def test_passes_are_within_the_bound(case, dtype, data):
    shape, _, _, _, _, mode, rng = case
    assume(len(shape) > 1)
    kernel = np.array(1.0)
    for axis, k in enumerate([data.draw(st.integers(1, 7)) for _ in shape]):
        kernel = kernel * rng.uniform(-1, 1, [k if a == axis else 1 for a in range(len(shape))])
    parts = data.draw(st.sampled_from(PARTS[len(shape)][1:]))
    assume(split(kernel, parts, np.dtype("float64")) is not None)
    arguments = {"mode": mode, "cval": 2.5, "origin": 0, "axes": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlation, "_cheaper", lambda *_: (parts,))
        assert_like_ndimage("correlate", numbers(rng, shape, dtype), kernel, arguments)


def test_passes_where_they_are_cheaper():
    float32 = np.dtype("float32")
    assert correlation._cheaper(1, (128, 128), (31, 31), ((15, 15),) * 2, float32)[0] == ((1,), (0,))
    assert correlation._cheaper(1, (64, 64), (1, 5), ((0, 0), (2, 2)), float32) == ()


# ---- astropy ---------------------------------------------------------------------------------------------------------


@FEW
@given(shapes(1, 3, 7), st.data(), seeds)
@pytest.mark.filterwarnings("ignore")  # both warn of what stays NaN
def test_convolve_nan(shape, data, seed):
    astropy = pytest.importorskip("astropy.convolution")
    rng = np.random.default_rng(seed)
    kernel = rng.uniform(0.1, 1, data.draw(st.tuples(*[st.sampled_from((1, 3, 5))] * len(shape))))
    dtype = data.draw(st.sampled_from(("float64", "float32", "int32")))
    array = numbers(rng, shape, dtype)
    mask = None
    if dtype != "int32":
        array[rng.random(shape) < 0.4] = np.nan
    if data.draw(st.booleans()):
        mask = rng.random(shape) < 0.2
    arguments = {
        "boundary": data.draw(st.sampled_from(("fill", "wrap", "extend", None))),
        "fill_value": data.draw(st.sampled_from((0.0, 2.0, np.nan))),
        "nan_treatment": data.draw(st.sampled_from(("interpolate", "fill"))),
        "normalize_kernel": data.draw(st.booleans()),
        "preserve_nan": data.draw(st.booleans()),
    }
    if arguments["boundary"] is None:
        assume(all(n >= k for n, k in zip(shape, kernel.shape, strict=True)))
    expected = astropy.convolve(array, kernel, mask=mask, **arguments)
    y = signal.convolve_nan(array, kernel, mask=mask, **arguments)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    size = astropy.convolve(np.abs(array), kernel, mask=mask, **arguments)
    # Two sums and their quotient, here and there, each of positive weights; and one rounding to the dtype.
    allowed = 4 * (kernel.size + 3) * np.finfo(np.float64).eps * size + np.finfo(y.dtype).eps * np.abs(expected)
    known = ~np.isnan(expected)
    assert (np.abs(y - expected) <= allowed)[known].all()


def test_convolve_nan_warns():
    with pytest.warns(RuntimeWarning, match="a larger kernel"):
        assert np.isnan(signal.convolve_nan([np.nan] * 5, [1.0] * 3, boundary="extend")).all()


# ---- the modules -----------------------------------------------------------------------------------------------------


def test_modules_are_names_of_the_package():
    code = """if True:
        import sys, numbaconv
        assert numbaconv.signal.convolve and numbaconv.ndimage.convolve1d
        assert "numba" not in sys.modules and "scipy" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
