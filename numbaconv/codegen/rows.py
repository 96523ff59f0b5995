"""Row functions: small loops over one row, called by address, so that kernels need no compiling for what they do.

    row(target, source, other, count, step)        addresses, number of elements, distance of source elements

A kernel that converts while it packs, or that ends with an activation, calls one for each row: some nanoseconds, beside
a row's hundreds. The kernel's code is the same whatever the function, the user's own among them, which compiles alone
in tenths of a second.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic, overload

from numbaconv.codegen.cache import KernelFile
from numbaconv.codegen.jit import DISABLED, FLAGS, in_helper_thread, inline, pointer

SIGNATURE = types.void(*[types.int64] * 5)


class RowFunction:
    """A row function, compiled when its address is first asked for.

    ``factory(*constants)`` returns ``row(target, source, other, count, step)``, which reads and writes through
    `elements`. ``key`` names it on disk, with the constants; None keeps it in memory: code of a user's, whose globals
    and closures no key would cover.
    """

    def __init__(self, key: str | None, factory: Callable[..., Callable[..., None]], *constants: object) -> None:
        self.key, self.factory, self.constants = key, factory, constants
        self._address = 0
        self._lock = threading.Lock()
        self._code: Any = None  # keeps the machine code

    @property
    def address(self) -> int:
        """Where it lies; never 0, which stands for no function."""
        if not self._address:
            with self._lock:
                if not self._address:
                    self._address = _plain(self) if DISABLED else in_helper_thread(self._build)
        return self._address

    def _build(self) -> int:
        loops = inline(self.factory(*self.constants), *self.constants)

        def row(target: int, source: int, other: int, count: int, step: int) -> None:
            loops(target, source, other, count, step)

        row.__qualname__ = f"numbaconv[row {self.key} {self.constants}]"
        self._code = CFunc(row, (SIGNATURE.args, types.void), {}, dict(FLAGS))
        if self.key is not None:
            self._code._cache = KernelFile(f"row {self.key} {self.constants}")
        self._code.compile()
        return int(self._code.address)


_plain_rows: list[
    Callable[..., None]
] = []  # with NUMBA_DISABLE_JIT=1, where an address is a place in this list, from 1


def _plain(function: RowFunction) -> int:
    _plain_rows.append(function.factory(*function.constants))
    return len(_plain_rows)


def elements(address: int, dtype: Any, count: int) -> np.ndarray:
    """The ``count`` elements at ``address`` as an array; ``dtype`` is a compile-time NumPy dtype."""
    size = int(count) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype)


def call_row(function: int, target: int, source: int, other: int, count: int, step: int) -> None:
    """``function(target, source, other, count, step)``, the function given by its address."""
    with np.errstate(all="ignore"):  # machine code does not warn
        _plain_rows[function - 1](*map(int, (target, source, other, count, step)))


def call_from_python(function: int, target: int, source: int, other: int, count: int, step: int) -> None:
    """`call_row` where there is no kernel around it."""
    if DISABLED:
        call_row(function, target, source, other, count, step)
    else:
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(function)(target, source, other, count, step)


@intrinsic
def _call(typing_context, function, target, source, other, count, step):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        address, *rest = arguments
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * 5)
        builder.call(builder.inttoptr(address, kind.as_pointer()), rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


if not DISABLED:

    @overload(elements, jit_options={"forceinline": True})
    def _elements(address, dtype, count):  # type: ignore[no-untyped-def]
        return lambda address, dtype, count: carray(pointer(address, dtype), (count,))

    @overload(call_row, jit_options={"forceinline": True})
    def _call_row(function, target, source, other, count, step):  # type: ignore[no-untyped-def]
        def call(function, target, source, other, count, step):  # type: ignore[no-untyped-def]
            _call(np.int64(function), np.int64(target), np.int64(source), np.int64(other), np.int64(count),
                  np.int64(step))  # fmt: skip

        return call
