"""What kernels call, compiled so that a test may call it too."""

from __future__ import annotations

import numba

from numbaconv.codegen.jit import FLAGS


def compiled(function, *constants):
    """`codegen.jit.inline`, with the way in from Python that it leaves out."""
    function.__qualname__ += repr(constants)
    return numba.njit(function, **FLAGS)
