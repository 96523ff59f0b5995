"""What the compiler will generate code for: vector width and registers, with NUMBA_CPU_NAME and _FEATURES obeyed."""

from __future__ import annotations

from functools import lru_cache

import llvmlite.binding as llvm
from numba.core import config
from numba.core.registry import cpu_target


@lru_cache(1)
def features() -> frozenset[str]:
    """The enabled features, as LLVM names them ('avx2', 'fma', ...)."""
    _, _, text = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(word[1:] for word in text.split(",") if word.startswith("+"))


@lru_cache(1)
def name() -> str:
    """The processor, as LLVM names it ('znver3', 'skylake-avx512', 'apple-m1', ...)."""
    return str(config.CPU_NAME or llvm.get_host_cpu_name())


@lru_cache(1)
def vectors() -> tuple[int, int]:
    """(bytes of a vector register, number of vector registers)."""
    triple = llvm.get_process_triple()
    if triple.startswith(("aarch64", "arm64")):
        return 16, 32
    if "avx512f" in features():
        return 64, 32
    if "avx" in features():
        return 32, 16
    return 16, 16


@lru_cache(1)
def has_fma() -> bool:
    """Whether ``llvm.fma`` is one instruction; without it LLVM calls the C library for every lane."""
    return "fma" in features() or vectors() == (16, 32)


@lru_cache(1)
def has_masks() -> bool:
    """Whether a store under a mask is one fast instruction."""
    return "avx512vl" in features()


@lru_cache(1)
def has_quads() -> bool:
    """Whether one instruction adds four products of uint8 and int8 to an int32, without saturation."""
    return is_x86() and ("avx512vnni" in features() if vectors()[0] == 64 else "avxvnni" in features())


def is_x86() -> bool:
    """Whether instructions of that family may be asked for by name."""
    return bool(llvm.get_process_triple().startswith(("x86_64", "i686")))
