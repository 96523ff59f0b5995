"""FFT: silence beside sound, outliers, NaN and inf stay within direct summation's bound; windows, segments, memory."""

from __future__ import annotations

import numpy as np
import pytest
from cases import conv, reference_geometry
from tolerance import assert_close

from numbaconv import machine, planner
from numbaconv.blocking.fourier import Fourier, radices, sizes

FILTER = conv((1, 1, 6000), (1, 1, 200))
PHOTO = conv((1, 2, 70, 90), (3, 2, 19, 21), padding=(9, 10))
MAPS = conv((2, 20, 30, 33), (20, 1, 15, 15), padding=7, groups=20)
VOLUME = conv((1, 2, 14, 16, 20), (3, 2, 5, 5, 7), padding=2)
STRIDED = conv((1, 2, 60, 90), (3, 2, 11, 13), stride=(2, 3), padding=(7, -4), dilation=(1, 2))
SHAPES = {"1-D": FILTER, "2-D": PHOTO, "maps": MAPS, "3-D": VOLUME, "strided": STRIDED}


def check(case, x, w, b=None):
    """Plan and plain call, within the bound of direct summation; the plan's result."""
    plan = case.plan(w, b, strategy="fft")
    assert plan.strategy == "fft"
    made = planner.plan(case.problem(x.dtype), "fft")
    parted = np.empty(case.problem().y_shape, x.dtype)
    for part in made.parts(made.problem.forward_weights(w), 2):  # as in a call, where that pays
        made.run(x, part, b, parted, 2)
    with np.errstate(invalid="ignore", over="ignore"):
        for y in (case.call(x, w, b, strategy="fft"), parted, plan(x)):
            assert_close(y, case.operation, x, w, b, **reference_geometry(case))
    return y


def stretches(x, scale):
    """Every other of a dozen stretches of the last axis scaled."""
    width = -(-x.shape[-1] // 12)
    x = x.copy()
    for at in range(0, x.shape[-1], 2 * width):
        x[..., at : at + width] *= scale
    return x


# ---- ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
@pytest.mark.parametrize("name", SHAPES)
def test_stretches_of_another_range(name, scale, dtype):
    x, w, b = SHAPES[name].arrays(dtype)
    check(SHAPES[name], stretches(x, np.dtype(dtype).type(scale)), w, b)


def test_silence_is_silent():
    """Outputs that only zeros reach are zeros, whatever is next to them."""
    x, w, _ = FILTER.arrays()
    x[..., 1500:4000] = 0
    y = check(FILTER, x, w)
    assert not y[..., 1500 : 4000 - 199].any()
    assert y[..., 1499].all() and y[..., 3801].all()


@pytest.mark.parametrize("name", SHAPES)
def test_one_outlier(name):
    x, w, b = SHAPES[name].arrays()
    x.flat[x.size // 3] = 1e9
    check(SHAPES[name], x, w, b)


@pytest.mark.parametrize("name", SHAPES)
def test_clicks(name):
    """Single samples in silence: outputs are single products, those of small weights too."""
    x, w, _ = SHAPES[name].arrays()
    x.flat[np.arange(x.size) % 977 != 5] = 0
    check(SHAPES[name], x, w)


@pytest.mark.parametrize("name", SHAPES)
def test_weights_that_decay(name):
    x, w, _ = SHAPES[name].arrays()
    w *= np.float32(0.8) ** np.arange(w.shape[-1], dtype=np.float32)
    check(SHAPES[name], x, w)
    w.flat[::3] = 0
    check(SHAPES[name], stretches(x, np.float32(1e-4)), w)


@pytest.mark.parametrize("scale", [1e-44, 1e-37, 1e-30, 1e-20, 1e18, 1e30, 3e35, 1e38])
def test_small_and_large_numbers(scale):
    """Squares underflow or overflow long before the numbers do; some of these overflow in the transform alone."""
    x, w, _ = FILTER.arrays()
    x = (np.clip(x, -2, 2) * scale).astype(np.float32)
    w = np.clip(w, -2, 2) / np.float32(400)
    check(FILTER, x, w)


def test_smooth_filter_of_mean_zero():
    """Large inputs whose sums cancel: results are small, the terms are not."""
    t = np.linspace(-3, 3, 21)
    w = np.exp(-(t**2) - t[:19, None] ** 2) * (t**2 - 0.7)
    w = np.broadcast_to(w - w.mean(), PHOTO.w).astype(np.float32)
    x = PHOTO.arrays()[0] * np.float32(0.01) + 200
    check(PHOTO, x, w)


# ---- NaN and inf -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", SHAPES)
def test_nan_and_inf_reach_no_further_than_the_kernel(name, bad):
    x, w, b = SHAPES[name].arrays()
    x.flat[[0, x.size // 2, x.size - 7]] = bad
    w.flat[::5] = 0
    y = check(SHAPES[name], x, w, b)
    assert np.isfinite(y).any() and not np.isfinite(y).all()


def test_nan_in_one_weight():
    case = conv((1, 2, 70, 90), (3, 2, 19, 21))  # with padding the plan would be another
    x, w, b = case.arrays()
    w[1, 1, 3, 4] = np.nan
    y = check(case, x, w, b)
    assert np.isfinite(y[:, [0, 2]]).all()


# ---- windows ---------------------------------------------------------------------------------------------------------

CUTS = {
    "segments": conv((1, 1, 4000), (1, 1, 1500), padding=((300, 100),)),
    "segments of rows": conv((1, 1, 80, 90), (2, 1, 50, 60), padding=20),
    "segments of a volume": conv((1, 1, 16, 30, 30), (1, 1, 16, 20, 20), padding=10),
    "padding that wraps": conv((1, 16, 14, 14), (16, 1, 31, 31), padding=15, groups=16),
    "padding that wraps, one side": conv((2, 16, 14, 10), (16, 1, 11, 11), padding=((10, 0), (0, 10)), groups=16),
    "more padding than input": conv((1, 1, 9, 9), (1, 1, 31, 31), padding=40),
    "kernel of the input's size": conv((1, 2, 40, 50), (3, 2, 40, 50)),
    "tall kernel": conv((1, 2, 300, 5), (3, 2, 90, 5)),
    "many output channels": conv((1, 3, 200), (150, 3, 40), padding=20),
    "odd numbers of output channels": conv((1, 5, 200), (27, 5, 40)),
    "many input channels": conv((1, 150, 200), (3, 150, 40)),
    "many windows": conv((3, 1, 9000), (1, 1, 70)),
    "many images": conv((40, 2, 100), (3, 2, 50)),
    "groups of three": conv((3, 51, 40), (34, 3, 20), padding=9, groups=17),
    "stride beyond a piece of a row": conv((1, 1, 3000), (1, 1, 60), stride=300),
    "dilation": conv((1, 2, 3000), (2, 2, 60), dilation=7),
    "dilation that rows are not summed over": conv((1, 2, 3000), (2, 2, 60), dilation=40),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CUTS)
def test_windows(name, dtype):
    case = CUTS[name]
    x, w, b = case.arrays(dtype)
    check(case, x, w, b)
    check(case, stretches(x, 0), w, b)
    if name.startswith("segments"):
        assert "segments" in str(planner.plan(case.problem("float32"), "fft"))


def test_lengths():
    for n in sizes()[:200]:
        assert np.prod(radices(n), initial=1) == n
        words, roots, levels = Fourier((1, 1, n)).tables(0, 0)
        assert levels <= 2 and roots.size < 3 * n
        assert len(words) == 8 * levels + 4 * len(radices(n))


# ---- the planner -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (conv((1, 64, 56, 56), (64, 64, 2, 3)), "and this has 6"),
        (conv((1, 1, 10**8), (1, 1, 9), dilation=10**7), "KiB"),
    ],
)
def test_refusals(case, words):
    answers = planner.ask(case.problem().folded(), machine.host())
    assert words in next(answer.why_not for answer in answers if answer.strategy == "fft")
