"""The one door to the compiler: `inline` for what kernels call, `RangeKernel` for what a plan launches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from numbaconv.codegen import host
from numbaconv.codegen.cache import KernelFile

# Not `fastmath=True`: nnan and ninf would let the compiler drop NaN and inf, which must survive.
FLAGS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # no exception paths in the loops: sizes were checked when the problem was described
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}
# What only kernels call needs no ways in from Python and C. They made the first call ever, with `direct`, `im2col`,
# `winograd` or `fft`, take 15.8, 16.6, 14.8 and 21.4 s instead of 12.4, 14.6, 12.4 and 17.8 (Zen 4).
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
DISABLED = bool(numba.config.DISABLE_JIT)

# The words of an argument block: (address, length) of scratch, table, x, w, b, y, r, with the geometry record's address
# before them. `pool` fills it, `entry` below reads it.
BLOCK_WORDS = 15


def inline(function: Callable[..., Any], *constants: object) -> Callable[..., Any]:
    """Compile for use inside kernels. ``constants`` are what a factory closed over.

    They go into the name, because Numba names machine code by the function's name, and two products of one factory
    that meet in one process, one of them from disk, must not answer for each other.
    """
    if constants:
        function.__qualname__ += repr(constants)
    return numba.njit(function, **FLAGS, **INNER)


def as_written(function: Callable[..., Any], *constants: object) -> Callable[..., Any]:
    """`inline` for scalar formulas that count on the order of their operations; only fma's are made of them."""
    if constants:
        function.__qualname__ += repr(constants)
    return numba.njit(function, **{**FLAGS, "fastmath": {"contract"}}, forceinline=True)


def in_helper_thread(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a thread and wait: Ctrl-C reaches the waiter and never breaks the compiler midway."""
    outcome: list[Any] = []
    done = threading.Event()

    def body() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001  # handed to the waiter, whatever it is
            outcome.append((None, error))
        finally:
            done.set()

    threading.Thread(target=body, name="numbaconv-compile", daemon=True).start()
    done.wait()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


@dataclass(frozen=True, eq=False)
class Entry:
    """A compiled range kernel: the plain loops, and the address of ``void (lo, hi, slot, block)``."""

    loops: Callable[..., None]
    address: int


class RangeKernel:
    """One strategy's work as a serial loop over tasks ``lo..hi``, compiled once for each dtype and tile.

    ``factory(*constants)`` returns ``tasks(lo, hi, scratch, x, w, b, y, r, table, g)``: flat arrays of the element
    type (``table``: int64; arrays of another dtype lie as they are, to be read by a row function), and ``g``, a record
    of the integers that ``geometry`` names. The same loops run in the calling thread, on the workers of `pool`, or,
    with NUMBA_DISABLE_JIT=1, as plain Python.
    """

    def __init__(self, name: str, factory: Callable[..., Callable[..., None]], geometry: str) -> None:
        self.name = name
        self.factory = factory
        self.record = np.dtype([(field, np.int64) for field in geometry.split()])
        self._compiled: dict[tuple[object, ...], Entry] = {}
        self._lock = threading.Lock()

    def geometry(self, **fields: int) -> np.ndarray:
        """The record ``g``, every field given by name."""
        if set(fields) != set(self.record.names or ()):
            raise TypeError(f"geometry of {self.name}: {sorted(set(fields) ^ set(self.record.names or ()))}")
        return np.array([tuple(fields[name] for name in self.record.names or ())], self.record)

    def entry(self, dtype: np.dtype[Any], *constants: object) -> Entry:
        """The compiled kernel, from memory, from disk, or compiled now."""
        key = (dtype, *constants)
        found = self._compiled.get(key)
        if found is None:
            with self._lock:
                found = self._compiled.get(key)
                if found is None:
                    build = lambda: _build(self, dtype, constants)  # noqa: E731
                    found = build() if DISABLED else in_helper_thread(build)
                    self._compiled[key] = found
        return found


def _build(kernel: RangeKernel, dtype: np.dtype[Any], constants: tuple[object, ...]) -> Entry:
    loops = kernel.factory(*constants)
    if DISABLED:
        return Entry(loops, 0)
    key = f"{kernel.name} {dtype} {constants}"
    tasks = inline(loops, str(dtype), *constants)
    element, size, record = dtype, dtype.itemsize, kernel.record

    def entry(lo: int, hi: int, slot: int, block: Any) -> None:
        a = carray(block, (BLOCK_WORDS,))
        tasks(
            lo,
            hi,
            carray(pointer(a[1] + slot * a[2] * size, element), (a[2],)),
            carray(pointer(a[5], element), (a[6],)),
            carray(pointer(a[7], element), (a[8],)),
            carray(pointer(a[9], element), (a[10],)),
            carray(pointer(a[11], element), (a[12],)),
            carray(pointer(a[13], element), (a[14],)),
            carray(pointer(a[3], np.int64), (a[4],)),
            carray(pointer(a[0], record), (1,))[0],
        )

    entry.__qualname__ = f"numbaconv[{key}]"
    signature = (types.int64, types.int64, types.int64, types.CPointer(types.int64))
    function = CFunc(entry, (signature, types.void), {}, dict(FLAGS))
    function._cache = KernelFile(f"{key} {kernel.record.names}")
    function.compile()
    return Entry(loops, function.address)


@intrinsic
def pointer(typing_context, address, dtype):  # type: ignore[no-untyped-def]
    """Operation: ``(dtype *) address``."""
    element = dtype.dtype

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(element)(types.int64, dtype), codegen


@intrinsic
def call_tasks(typing_context, function, lo, hi, slot, block):  # type: ignore[no-untyped-def]
    """Operation: ``((void (*)(int64, int64, int64, void *)) function)(lo, hi, slot, block)``."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        address, *rest = arguments
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word, word, word, ir.IntType(8).as_pointer()])
        rest[3] = builder.inttoptr(rest[3], ir.IntType(8).as_pointer())
        builder.call(builder.inttoptr(address, kind.as_pointer()), rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def fetch_add(typing_context, words, at, amount):  # type: ignore[no-untyped-def]
    """Operation, atomic: ``old = words[at]; words[at] += amount; return old``."""
    return _atomic("add", words, at, amount)


@intrinsic
def exchange(typing_context, words, at, value):  # type: ignore[no-untyped-def]
    """Operation, atomic: ``old = words[at]; words[at] = value; return old``."""
    return _atomic("xchg", words, at, value)


def _atomic(operation: str, *arguments: Any) -> Any:
    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.atomic_rmw(operation, _place(context, builder, signature, values), values[2], "seq_cst")

    return types.int64(arguments[0], types.int64, types.int64), codegen


@intrinsic
def load(typing_context, words, at):  # type: ignore[no-untyped-def]
    """Operation, atomic: ``words[at]``."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.load_atomic(_place(context, builder, signature, values), "seq_cst", 8)

    return types.int64(words, types.int64), codegen


def _place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    return builder.gep(context.make_array(signature.args[0])(context, builder, values[0]).data, [values[1]])


@intrinsic
def pause(typing_context):  # type: ignore[no-untyped-def]
    """Operation: tell the core that this loop waits for another one."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        if host.is_x86():  # elsewhere the loop does without
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


def cached(function: Callable[..., Any], name: str, **options: Any) -> Any:
    """A dispatcher with our own file cache, for the few functions that Python calls through Numba."""
    dispatcher = numba.njit(function, **{**FLAGS, **options})
    if not DISABLED:
        dispatcher._cache = KernelFile(name)
    return dispatcher
