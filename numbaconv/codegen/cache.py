"""Machine code on disk: one file a kernel, named by everything that its bytes depend on.

Numba's own cache is stamped with the defining file only, so an edited callee would be answered by old code, and its
index and data are two files that racing processes can mix up. Here the name is a digest of *all* kernel sources, the
versions, the options, the processor and the signature, and the file is replaced in one step: it is right or it is not
there. Whatever goes wrong (damage, which a checksum finds, a full disk, nowhere to write) costs a compilation, never
an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import compiler, config
from numba.core.serialize import dumps

PACKAGE = Path(__file__).resolve().parent.parent
KERNEL_ROOMS = ("blocking", "codegen", "microkernels", "strategies")


@lru_cache(1)
def digest() -> str:
    """SHA-256 over the kernel sources, and the compiler's versions and options."""
    sha = hashlib.sha256(repr((numba.__version__, llvmlite.__version__, sys.version_info[:3], config.OPT)).encode())
    for room in KERNEL_ROOMS:
        for source in sorted((PACKAGE / room).glob("*.py")):
            sha.update(source.name.encode())
            sha.update(source.read_bytes())
    return sha.hexdigest()


@lru_cache(1)
def directory() -> Path | None:
    """NUMBA_CACHE_DIR where it is set, else the user's cache directory; None where nothing can be written."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    try:
        path = (Path(named) if named else _user_cache()) / "numbaconv"
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        return None


def write(path: Path, data: bytes) -> None:
    """Make or replace a file in one step, so that no reader meets half of it; do nothing where that is impossible."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        temporary.replace(path)
    except OSError:  # a full disk or a place that became read-only
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class KernelFile:
    """The ``_cache`` of a Numba function or callback: what Numba asks of a cache, kept in one file.

    ``key`` names the kernel and its constants; Numba adds the signature and the processor.
    """

    hits = 0  # over all kernels of this process; `show_config` and the tests read them
    misses = 0

    def __init__(self, key: str) -> None:
        self.key = key

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        folder = directory()
        if folder is None:
            return None
        name = hashlib.sha256(repr((digest(), self.key, signature, codegen.magic_tuple())).encode()).hexdigest()
        return folder / f"{self.key.split(' ')[0]}-{name[:32]}.bin"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        path = self._path(signature, target_context.codegen())
        result = None
        if path is not None and path.exists():
            with contextlib.suppress(Exception):  # any damage means: compile again
                data = path.read_bytes()
                # One wrong byte in machine code is no error, only another program.
                if hashlib.sha256(data[32:]).digest() == data[:32]:
                    result = compiler.CompileResult._rebuild(target_context, *pickle.loads(data[32:]))
        if result is None:
            KernelFile.misses += 1
        else:
            KernelFile.hits += 1
        return result

    def save_overload(self, signature: Any, result: Any) -> None:
        path = self._path(signature, result.codegen)
        if path is not None:  # the code is in memory all the same
            payload = dumps(result._reduce())
            write(path, hashlib.sha256(payload).digest() + payload)

    # The rest of what a dispatcher may ask of its cache.
    def enable(self) -> None: ...
    def disable(self) -> None: ...
    def flush(self) -> None: ...

    @property
    def cache_path(self) -> str | None:
        folder = directory()
        return None if folder is None else str(folder)
