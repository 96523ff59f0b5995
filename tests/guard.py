"""Arrays whose first or last byte touches memory that no program may read: a read or write outside ends the process.

Run as a program: ``python guard.py <strategy>`` runs every case that the strategy accepts, at both ends.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys
from math import prod

import numpy as np

PROT_NONE = 0  # Python's mmap names only the other protections


class Guarded:
    """An array at the ``start`` or the ``end`` of its pages, with a forbidden page on both sides."""

    def __init__(self, values, end):
        size = values.size * values.itemsize
        pages = -(-size // mmap.PAGESIZE) + 2
        self.memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
        first = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for page in (0, pages - 1):
            if libc.mprotect(first + page * mmap.PAGESIZE, mmap.PAGESIZE, PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = (pages - 1) * mmap.PAGESIZE - size if end else mmap.PAGESIZE
        whole = np.frombuffer(self.memory, values.dtype, prod(values.shape), offset)
        self.array = whole.reshape(values.shape)
        self.array[...] = values


def main(strategy):
    """Every accepted case, float32 and float64, borrowed and packed; prints each before it runs."""
    from cases import CASES

    from numbaconv import machine, planner

    faulthandler.enable()
    for name, case in CASES.items():
        for dtype in ("float32", "float64"):
            problem = case.problem(dtype)
            answers = planner.ask(problem.folded(), machine.host())
            if problem.is_empty or any(a.why_not for a in answers if a.strategy == strategy):
                continue
            x, w, b = case.arrays(dtype)
            expected = case.call(x, w, b, strategy=strategy)
            for end in (False, True):
                print(strategy, name, dtype, "at the end" if end else "at the start", flush=True)
                arrays = x, w, b, np.full_like(expected, np.nan)
                guarded = [None if a is None else Guarded(a, end) for a in arrays]
                gx, gw, gb, out = (None if g is None else g.array for g in guarded)
                case.call(gx, gw, gb, strategy=strategy, out=out)
                np.testing.assert_array_equal(out, expected)
                out[...] = np.nan
                case.plan(gw, gb, strategy=strategy)(gx, out=out)
                np.testing.assert_array_equal(np.isnan(out), False)


if __name__ == "__main__":
    main(sys.argv[1])
