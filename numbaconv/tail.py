"""`Tail`: what follows the sum of a convolution, while its outputs are still in the cache.

    result = epilogue(activation(sum + residual))        rounded to the dtype of the result

It is part of a `ConvProblem`, hashable and printable; `microkernels.finish` makes machine code of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

# Names, and the parameters that each takes with their defaults (PyTorch's); None has no default.
ACTIVATIONS: dict[str, dict[str, float | None]] = {
    "relu": {},
    "relu6": {},
    "leaky_relu": {"slope": 0.01},
    "elu": {"alpha": 1.0},
    "clip": {"lo": None, "hi": None},
    "sigmoid": {},
    "silu": {},
    "tanh": {},
    "gelu": {},
    "gelu_tanh": {},
    "hardswish": {},
}
RESULTS = ("float16", "bfloat16", "float32", "float64")  # dtypes that sums of floats are stored in
SHORT = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}

Activation = tuple[Any, ...]  # name, parameters


@dataclass(frozen=True)
class Epilogue:
    """A user's function; equal to itself only."""

    function: Callable[..., Any]

    def __str__(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))


@dataclass(frozen=True)
class Tail:
    """What is done to each sum, in this order: residual, activation, epilogue, rounding to ``dtype``."""

    residual: bool = False
    activation: Activation | None = None
    epilogue: Epilogue | None = None
    dtype: str = ""  # of the result, where it is not that of the sums

    @property
    def moves(self) -> bool:
        """Whether sums must lie elsewhere than the results, as these have another size, or are where a residual is."""
        return self.residual or bool(self.dtype)

    def __str__(self) -> str:
        words = ["+residual"] if self.residual else []
        if self.activation is not None:
            name, *parameters = self.activation
            words.append(f"{name}({', '.join(f'{p:g}' for p in parameters)})" if parameters else str(name))
        if self.epilogue is not None:
            words.append(f"epilogue {self.epilogue}")
        if self.dtype:
            words.append(f"to {SHORT[self.dtype]}")
        return " ".join(words)


def dtype_of(name: str) -> np.dtype[Any]:
    """The dtype of this name; NumPy knows bfloat16 once ml_dtypes is imported."""
    if name == "bfloat16":
        try:
            from ml_dtypes import bfloat16
        except ImportError:
            raise TypeError("bfloat16 needs the package ml_dtypes, which is not installed") from None
        name = bfloat16
    return np.dtype(name)


def tail_of(
    dtype: np.dtype[Any], residual: bool, activation: Any, epilogue: Any, out_dtype: Any, accumulate_dtype: Any
) -> tuple[Tail | None, np.dtype[Any]]:
    """(what follows the sums, their dtype) for x and weight that together have ``dtype``."""
    given = {
        "residual": residual or None, "activation": activation, "epilogue": epilogue, "out_dtype": out_dtype,
        "accumulate_dtype": accumulate_dtype,
    }  # fmt: skip
    names = [name for name, value in given.items() if value is not None]
    if dtype.name not in RESULTS:
        if names:
            raise TypeError(f"{', '.join(names)}: taken where x and weight are real floats; together they are {dtype}")
        return None, dtype
    result = dtype if out_dtype is None else _float("out_dtype", out_dtype)
    sums = np.result_type(np.float32, dtype, result)
    if accumulate_dtype is not None:
        asked = _float("accumulate_dtype", accumulate_dtype)
        if not np.can_cast(sums, asked, "safe"):
            raise ValueError(
                f"accumulate_dtype must hold {sums}, for x and weight of {dtype} and a result of {result}; got {asked}"
            )
        sums = asked
    if epilogue is not None and not callable(epilogue):
        raise TypeError(f"epilogue must be a function of (value) or (value, channel); got {epilogue!r}")
    if not names and sums == dtype:
        return None, dtype
    tail = Tail(
        residual, activation_of(activation), None if epilogue is None else Epilogue(epilogue),
        "" if result == sums else result.name,
    )  # fmt: skip
    return (None if tail == Tail() else tail), sums


def _float(argument: str, value: Any) -> np.dtype[Any]:
    """A dtype of floats, as it is given."""
    try:
        dtype = dtype_of(value) if isinstance(value, str) else np.dtype(value)
    except TypeError as error:
        raise TypeError(f"{argument} must be one of {', '.join(RESULTS)}; got {value!r} ({error})") from None
    if dtype.name not in RESULTS:
        raise TypeError(f"{argument} must be one of {', '.join(RESULTS)}; got {dtype}")
    return dtype.newbyteorder("=") if dtype.name != "bfloat16" else dtype


def activation_of(value: Any) -> Activation | None:
    """An activation as it is given: None, a name, or a name with parameters."""
    if value is None:
        return None
    accepted = f"None, one of {', '.join(ACTIVATIONS)}, or a tuple of a name and its parameters"
    if not isinstance(value, (str, tuple)) or not isinstance((value or (None,))[0], str):
        raise TypeError(f"activation must be {accepted}; got {value!r}")
    name, *given = (value,) if isinstance(value, str) else value
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be {accepted}; got {value!r}")
    known = ACTIVATIONS[name]
    needed = sum(default is None for default in known.values())
    if not needed <= len(given) <= len(known):
        takes = f"the parameters ({', '.join(known)})" if known else "no parameters"
        raise ValueError(f"activation {name!r} takes {takes}; got {value!r}")
    defaults = list(known.values())[len(given) :]
    numbers = []
    for parameter, number in zip(known, [*given, *defaults], strict=True):
        if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
            raise TypeError(f"activation {name!r}: {parameter} must be a number; got {number!r}")
        if isnan(number):
            raise ValueError(f"activation {name!r}: {parameter} must not be NaN")
        numbers.append(float(number))
    if name == "clip" and numbers[0] > numbers[1]:
        raise ValueError(f"activation 'clip' must have lo <= hi; got {value!r}")
    return (name, *numbers)
