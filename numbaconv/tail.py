"""`Tail`: what follows the sum of a convolution, while its outputs are still in the cache.

    result = epilogue(activation(sum + residual))        rounded to the dtype of the result

It is part of a `ConvProblem`, hashable and printable; `microkernels.finish` makes machine code of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isnan
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
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
WHOLE = ("relu", "relu6", "clip")  # activations of integers that are integers
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
    in_place: bool = False  # whether results of ``dtype`` may lie where the sums did, being integers as large
    quantised: bool = False  # whether results are scaled by `microkernels.requantising`, whose table is the residual

    @property
    def moves(self) -> bool:
        """Whether sums must lie elsewhere than the results, as these have another size, or are where a residual is."""
        return self.residual or (bool(self.dtype) and not self.in_place)

    def __str__(self) -> str:
        words = ["+residual"] if self.residual else []
        if self.activation is not None:
            name, *parameters = self.activation
            words.append(f"{name}({', '.join(f'{p:g}' for p in parameters)})" if parameters else str(name))
        if self.epilogue is not None:
            words.append(f"epilogue {self.epilogue}")
        if self.quantised:
            words.append("quantised")
        if self.dtype:
            words.append(f"to {SHORT.get(self.dtype, self.dtype)}")
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
    if dtype.kind in "biu" and names:
        return _tail_of_integers(dtype, names, residual, activation_of(activation), out_dtype, accumulate_dtype)
    if dtype.name not in RESULTS:
        if names:
            raise TypeError(f"{', '.join(names)}: taken where x and weight are real floats or integers; together they "
                            f"are {dtype}")  # fmt: skip
        return None, dtype
    result = dtype if out_dtype is None else _dtype("out_dtype", out_dtype, RESULTS)
    sums = np.result_type(np.float32, dtype, result)
    if accumulate_dtype is not None:
        asked = _dtype("accumulate_dtype", accumulate_dtype, RESULTS)
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


def _tail_of_integers(
    dtype: np.dtype[Any], names: list[str], residual: bool, activation: Activation | None, out_dtype: Any,
    accumulate_dtype: Any,
) -> tuple[Tail | None, np.dtype[Any]]:  # fmt: skip
    """The same for integers, and for bool whose true products are to be counted."""
    if "epilogue" in names:
        raise TypeError(f"epilogue: taken where x and weight are real floats; together they are {dtype}")
    if dtype.kind == "b" and out_dtype is None:
        raise TypeError(f"{', '.join(names)}: a sum of bool is whether any product is true; with out_dtype=, one of "
                        f"{', '.join(INTEGERS)}, they are counted")  # fmt: skip
    result = dtype if out_dtype is None else _dtype("out_dtype", out_dtype, (*INTEGERS, *RESULTS))
    is_float = result.name in RESULTS
    sums = np.dtype("uint64" if "uint64" in {dtype.name, result.name} else "int64")
    if accumulate_dtype is not None:
        sums = _dtype("accumulate_dtype", accumulate_dtype, INTEGERS)
        if not np.can_cast(dtype, sums, "safe"):
            raise ValueError(f"accumulate_dtype must hold x and weight, which together are {dtype}; got {sums}")
    if sums == np.uint64 and "i" in {dtype.kind, result.kind}:
        raise TypeError(f"sums of uint64 are taken where x, weight and the result are unsigned or the result is a "
                        f"float; x and weight together are {dtype}, out_dtype {result}")  # fmt: skip
    if residual and is_float:
        raise TypeError(f"residual: taken where the result of integers is an integer; got out_dtype {result}")
    if activation is not None and (activation[0] not in WHOLE or any(n % 1 for n in activation[1:] if abs(n) < inf)):
        raise TypeError(f"activation of integers must be one of {', '.join(WHOLE)}, of whole numbers; got {activation}")
    tail = Tail(residual, activation, None, "" if result == sums else result.name)
    return (None if tail == Tail() else tail), sums


def _dtype(argument: str, value: Any, accepted: tuple[str, ...]) -> np.dtype[Any]:
    """A dtype among those ``accepted``, as it is given."""
    try:
        dtype = dtype_of(value) if isinstance(value, str) else np.dtype(value)
    except TypeError as error:
        raise TypeError(f"{argument} must be one of {', '.join(accepted)}; got {value!r} ({error})") from None
    native = dtype if dtype.name == "bfloat16" else dtype.newbyteorder("=")
    if native.name not in accepted:
        raise TypeError(f"{argument} must be one of {', '.join(accepted)}; got {dtype}")
    return native


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
