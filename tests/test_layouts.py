"""Orders of axes by `dimension_numbers`: the same numbers as in the order that goes without saying, elsewhere."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from cases import CASES, problems, reference_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_within, bound

import numbaconv
from numbaconv.strategies import NAMES, strategies

ANY_ORDER = [name for name, strategy in zip(NAMES, strategies(), strict=True) if strategy.any_order]
SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def lead(case):
    """The letters of the weights' first two axes, as they are by default."""
    return "IO" if case.transposed else "OI"


def last(case):
    """Channels last, as TensorFlow and JAX have them."""
    s = SPATIAL[case.rank]
    return f"N{s}C", f"{s}IO", f"N{s}C"


def permuted(a, letters, order):
    """``a``, whose axes are ``letters``, in another order; a new array."""
    return np.ascontiguousarray(a.transpose([letters.index(letter) for letter in order]))


def call(case, x, w, b, numbers, residual=None, plan=False, unbatched=False, **options):
    """(result in the default order) of arrays in that order, through a call in another one."""
    s = SPATIAL[case.rank]
    orders = numbers if isinstance(numbers, tuple) else (numbers, lead(case) + s, numbers)
    x_order, w_order, y_order = orders
    x, w = permuted(x, "NC" + s, x_order), permuted(w, lead(case) + s, w_order)
    if residual is not None:
        residual = permuted(residual, "NC" + s, y_order)
    if unbatched:
        x = x.squeeze(x_order.index("N"))
        residual = None if residual is None else residual.squeeze(y_order.index("N"))
    name = f"conv{'_transpose' * case.transposed}{case.rank}d"
    if plan:
        make = getattr(numbaconv, f"plan_{name}")
        dtype = {} if x.dtype == w.dtype else {"dtype": x.dtype}
        options |= dtype | {"residual": residual is not None}
        planned = make(x.shape, w, b, **case.geometry, dimension_numbers=numbers, **options)
        y = pickle.loads(pickle.dumps(planned))(x, residual=residual)
        assert y.shape == planned.output_shape
    else:
        options |= {} if residual is None else {"residual": residual}
        y = getattr(numbaconv, name)(x, w, b, **case.geometry, dimension_numbers=numbers, **options)
    assert y.flags.c_contiguous
    y = np.expand_dims(y, y_order.index("N")) if unbatched else y
    return permuted(y, y_order, "NC" + s)


def assert_same(case, numbers, dtype="float32", **options):
    x, w, b = case.arrays(dtype)
    y = call(case, x, w, b, numbers, **options)
    exact = case.operation(x, w, b, **reference_geometry(case))
    assert_within(y, exact, bound(case.operation, x, w, b, dtype, **reference_geometry(case)))


FORWARD = [
    "body 3x3", "body 3x3 s2", "stem 7x7 s2", "9 channels in and out, 1x1", "33 channels in and out, 1x1",
    "width 17, depthwise", "33 channels out",
]  # fmt: skip


@pytest.mark.parametrize("plan", [False, True], ids=["call", "plan"])
@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].gradient][::5] + FORWARD)
def test_channels_last(name, plan):
    assert_same(CASES[name], last(CASES[name]), plan=plan)


def accepting(strategy, numbers):
    """Cases of few numbers that a strategy takes in an order."""
    found = []
    for name, case in CASES.items():
        if case.gradient or not case.x[0] or np.prod(case.x) * case.out_channels > 2e5:
            continue
        s = SPATIAL[case.rank]
        orders = numbers(case)
        x, w = (
            np.empty([case.x[("NC" + s).index(c)] for c in orders[0]], np.float32),
            np.empty([case.w[(lead(case) + s).index(c)] for c in orders[1]], np.float32),
        )
        geometry = case.geometry | {"transposed": True} if case.transposed else case.geometry
        table = numbaconv.explain(x, w, **geometry, dimension_numbers=orders)
        if any(line[2:].startswith(f"{strategy} ") and " us" in line for line in table.splitlines()):
            found.append(name)
    return found


def first_to_last(case):
    s = SPATIAL[case.rank]
    return f"NC{s}", f"OI{s}", f"N{s}C"


def last_to_first(case):
    s = SPATIAL[case.rank]
    return f"N{s}C", f"I{s}O", f"NC{s}"


def backwards(case):
    s = SPATIAL[case.rank]
    return f"{s[::-1]}CN", f"{s}IO", f"C{s[::-1]}N"


@pytest.mark.parametrize("numbers", [last, first_to_last, last_to_first, backwards])
@pytest.mark.parametrize("strategy", ANY_ORDER)
def test_every_strategy(strategy, numbers):
    names = accepting(strategy, numbers)
    for name in names[:: max(1, len(names) // 12)]:
        assert_same(CASES[name], numbers(CASES[name]), strategy=strategy)


@settings(max_examples=120, deadline=None)
@given(problems(), st.data())
def test_any_problem(case, data):
    spatial = "".join(data.draw(st.permutations("abc"[: case.rank])))
    numbers = tuple("".join(data.draw(st.permutations(first + spatial))) for first in ("NC", "OI", "NC"))
    if data.draw(st.booleans()):
        numbers = last(case)
    # Sizes count axes in the order of the weights' letters, in all three strings.
    letters = [c for c in numbers[1] if c not in "OI"]
    names = str.maketrans(dict(zip(letters, SPATIAL[case.rank], strict=True)))
    orders = tuple("".join(c if c in first else c.translate(names) for c in numbers[i])
                   for i, first in enumerate(("NC", "OI", "NC")))  # fmt: skip
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    assert_same(case, orders, dtype, plan=data.draw(st.booleans()))
