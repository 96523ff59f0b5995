"""The machine as plain data: cores, vectors, registers, caches, speeds; tests can invent one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

SPEEDS = "speeds of one core"  # what wisdom has of the machine itself, under this key


@dataclass(frozen=True)
class Machine:
    """What the planner knows of the hardware, sizes in bytes.

    ``clock``: GHz of one core as its tile feels it, two vector fma's a cycle; ``bandwidth``: GB/s that one core reads
    from memory. Both are measured by `tune`, and kept with its wisdom; till then they are those of an ordinary core.
    """

    cores: int
    vector_bytes: int
    registers: int
    l1: int = 32 * 1024
    l2: int = 512 * 1024
    l3: int = 8 * 1024 * 1024
    clock: float = 3.0
    bandwidth: float = 12.0

    def lanes(self, dtype: str) -> int:
        """Elements of ``dtype`` in a vector register."""
        return self.vector_bytes // (8 if dtype == "float64" else 4)


@lru_cache(1)
def host() -> Machine:
    """This machine, as the compiler sees it."""
    from numbaconv import wisdom
    from numbaconv.codegen import host, launch

    vector_bytes, registers = host.vectors()
    usual = Machine(launch.max_threads(), vector_bytes, registers, **_caches())
    speeds = wisdom.find(SPEEDS)
    return replace(usual, clock=speeds.get("clock", usual.clock), bandwidth=speeds.get("bandwidth", usual.bandwidth))


def _caches(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[str, int]:
    """Linux tells; elsewhere the defaults, which are small, are safe."""
    found = {}
    for index in sorted(root.glob("index*")) if root.is_dir() else []:
        try:
            kind, level, size = ((index / word).read_text().strip() for word in ("type", "level", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found[f"l{level}"] = int(size[:-1]) * 1024
    return {level: size for level, size in found.items() if level in ("l1", "l2", "l3")}
