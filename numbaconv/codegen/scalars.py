"""The user's own scalar functions: what is accepted, and what becomes of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError

from numbaconv.codegen.jit import DISABLED, in_helper_thread


def parameters_of(argument: str, function: Any) -> int:
    """1 for value -> value, 2 for (value, channel) -> value; TypeError for what is neither."""
    accepted = "a function of (value) or (value, channel), plain or from numba.njit"
    if not (inspect.isfunction(function) or hasattr(function, "py_func")):  # not NumPy's or the math module's own
        raise TypeError(f"{argument} must be {accepted}, not a method, class or built-in; got {function!r}")
    try:
        listed = inspect.signature(getattr(function, "py_func", function)).parameters.values()
    except (ValueError, TypeError):
        raise TypeError(f"{argument} must be {accepted}; the parameters of {function!r} are not known") from None
    positional = [p for p in listed if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) not in (1, 2) or len(positional) < len(listed):
        raise TypeError(f"{argument} must be {accepted}; {function!r} has the parameters {[p.name for p in listed]}")
    return len(positional)


@lru_cache(256)
def compiled(argument: str, function: Any, dtype: str) -> Callable[..., Any]:
    """``function`` for scalars of ``dtype``, callable from kernels; TypeError where it does not compile for them."""
    if DISABLED:
        return function if not hasattr(function, "py_func") else function.py_func
    count = parameters_of(argument, function)
    dispatcher = function if hasattr(function, "py_func") else numba.njit(function, error_model="numpy", nogil=True)
    signature = (numba.from_dtype(np.dtype(dtype)), types.int64)[:count]
    try:
        in_helper_thread(lambda: dispatcher.compile(signature))
        result = dispatcher.overloads[signature].signature.return_type
    except (NumbaError, AttributeError, NotImplementedError) as error:
        said = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise TypeError(f"{argument}={function!r} does not compile for scalars of {dtype}: {said.strip()}") from error
    if not isinstance(result, (types.Integer, types.Float, types.Boolean)):
        raise TypeError(
            f"{argument}={function!r} must return a number for {dtype}; Numba finds that it returns {result}"
        )
    return dispatcher
