"""Machine code on disk: found by the next process, never stale, never in the way."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from processes import ROOT, python

import numbaconv
from numbaconv.codegen.cache import KernelFile
from numbaconv.strategies import NAMES

# A function that compiles in a moment, in the cache of all kernels; prints its result, and (hits, misses).
PROGRAM = """
from numbaconv.codegen.cache import KernelFile
from numbaconv.codegen.jit import cached
def triple(n):
    return 3 * n
print(cached(triple, "triple")(2), KernelFile.hits, KernelFile.misses)
"""
# The tile in float32, under the sweep.
TILE = """
import numpy as np
from numbaconv import conv1d
from numbaconv.codegen.cache import KernelFile
y = conv1d(np.full((1, 3, 4), 2, np.float32), np.ones((1, 3, 1), np.float32), strategy="pointwise", num_threads=1)
print(int(y[0, 0, 0]), KernelFile.hits, KernelFile.misses)
"""


def run(program, folder, root=ROOT):
    done = python("-c", program, root=root, NUMBA_CACHE_DIR=str(folder), PYTHONDONTWRITEBYTECODE="1")
    return tuple(map(int, done.stdout.split()))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that one process has filled."""
    folder = tmp_path_factory.mktemp("cache")
    assert run(PROGRAM, folder) == (6, 0, 1)
    return folder


@pytest.fixture
def folder(filled, tmp_path):
    """A copy of it, to damage."""
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_second_process_compiles_nothing(filled):
    assert run(PROGRAM, filled) == (6, 1, 0)
    assert len(files(filled)) == 1


def test_every_strategy_is_cached():
    """This process and its siblings have run all of them; a new one finds them all, in the same cache."""
    program = """
from itertools import product
import numpy as np
from numbaconv import conv2d, planner, machine
from numbaconv.codegen.cache import KernelFile
from cases import CASES
from numbaconv.strategies import NAMES
for name, dtype in product(NAMES, ("float32", "complex64", "int64")):
    for case in CASES.values():
        problem = case.problem(dtype)
        answers = planner.ask(problem.folded(), machine.host())
        if problem.macs < 10**5 and any(a.strategy == name and a.why_not is None for a in answers):
            x, w, b = case.arrays(dtype, integers=True)
            case.call(x, w, b, strategy=name)
            break
print(KernelFile.hits, KernelFile.misses)
"""
    python("-c", program, timeout=600)
    hits, misses = map(int, python("-c", program).stdout.split())
    assert misses == 0 and hits >= len(NAMES)


# Appended to a file far below the kernel's own, and how many times as large it makes every result.
EDITS = {
    "codegen/simd.py": (2, """
plain = Simd.broadcast
def broadcast(self, scalar):
    return self.builder.fmul(plain(self, scalar), ir.Constant(self.kind, [2.0] * self.lanes))
Simd.broadcast = broadcast
"""),
    "microkernels/sweep.py": (2, """
plain = make_panel_sweep
def make_panel_sweep(mr, nv, lanes):
    once = plain(mr, nv, lanes)
    def twice(y, w, panel, x, b, table, terms, rows, count, first, most):
        once(y, w, panel, x, b, table, terms, rows, count, first, most)
        once(y, w, panel, x, b, table, terms, rows, count, 0, most)
    return inline(twice, mr, nv, lanes)
"""),
    # the places of the words in the record that compiled code reads
    "blocking/tiled.py": (1, """
GEOMETRY = " ".join(reversed(GEOMETRY.split()))
"""),
}  # fmt: skip


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package, and a cache with its tile in float32."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "numbaconv", root / "numbaconv", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(TILE, root / "cache", root)[:2] == (6, 0)
    return root


@pytest.mark.parametrize("file", EDITS)
def test_an_edited_callee_is_a_new_kernel(copied, tmp_path, file):
    """The next process gives the new answer, with the same cache; and the one after it finds the new kernel there."""
    factor, lines = EDITS[file]
    root = Path(shutil.copytree(copied, tmp_path / "copy"))
    source = root / "numbaconv" / file
    stamp = source.stat()
    source.write_text(source.read_text() + lines)
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # what counts is the contents, not the time
    result, _, misses = run(TILE, root / "cache", root)
    assert result == 6 * factor and misses > 0
    result, _, misses = run(TILE, root / "cache", root)
    assert (result, misses) == (6 * factor, 0)


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\x80garbage" * 99],
    ids=["empty", "half", "garbage"],
)
def test_a_damaged_file_is_compiled_again(folder, damage):
    (file,) = files(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert run(PROGRAM, folder) == (6, 0, 1)
    assert run(PROGRAM, folder) == (6, 1, 0)


def test_one_damaged_byte_is_noticed(folder):
    """Wherever it is: in machine code it would not even be an error, only another program."""
    program = """
import os, sys
from pathlib import Path
from numbaconv.codegen.jit import cached
def triple(n):
    return 3 * n
kernel = cached(triple, "triple")
kernel(2)
load = lambda: kernel._cache.load_overload(kernel.signatures[0], kernel.targetctx)
(file,) = [path for path in Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*") if path.is_file()]
data = file.read_bytes()
assert load() is not None
for place in range(0, len(data), len(data) // 50):
    print("byte", place, "of", len(data), flush=True)
    file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert load() is None
"""
    python("-c", program, NUMBA_CACHE_DIR=str(folder))


def test_a_folder_in_the_place_of_a_file(folder):
    (file,) = files(folder)
    file.unlink()
    file.mkdir()
    assert run(PROGRAM, folder) == (6, 0, 1)


def test_nowhere_to_write(tmp_path):
    (tmp_path / "file").touch()
    assert run(PROGRAM, tmp_path / "file" / "below") == (6, 0, 1)  # true even for root
    done = python("-c", PROGRAM, NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "file"), LOCALAPPDATA="file",
                  HOME=str(tmp_path / "file"))  # fmt: skip
    assert done.stdout.split() == ["6", "0", "1"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_full_disk(tmp_path):
    """Files may not grow beyond 0 bytes, which fails a write as a full disk does."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    assert run(limit + PROGRAM, tmp_path) == (6, 0, 1)
    assert not files(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_writer_leaves_nothing_that_is_read(tmp_path):
    kill = "import os; os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
    assert python("-c", kill + PROGRAM, check=False, NUMBA_CACHE_DIR=str(tmp_path)).returncode == -9
    assert run(PROGRAM, tmp_path) == (6, 0, 1)
    assert run(PROGRAM, tmp_path) == (6, 1, 0)


def test_three_writers_at_once(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: run(PROGRAM, tmp_path), range(3)))
    assert [answer[0] for answer in answers] == [6, 6, 6]
    assert run(PROGRAM, tmp_path) == (6, 1, 0) and len(files(tmp_path)) == 1


def test_a_new_shape_never_compiles():
    def call(channels, size, kernel, stride):
        x, w = np.ones((1, 4, size, size + 3), np.float32), np.ones((channels, 4, kernel, kernel), np.float32)
        for strategy in ("direct", "im2col"):
            numbaconv.conv2d(x, w, stride=stride, padding=kernel // 2, strategy=strategy)

    for channels in (1, 40):  # the two tiles of `direct`
        for size in (9, 150):  # one thread and all of them
            call(channels, size, 3, 1)
    before = KernelFile.hits, KernelFile.misses
    for channels, size, kernel, stride in (
        (1, 50, 3, 1),
        (64, 11, 5, 2),
        (13, 31, 2, 3),
        (40, 8, 1, 4),
        (33, 70, 7, 1),
    ):
        call(channels, size, kernel, stride)
    assert (KernelFile.hits, KernelFile.misses) == before
