"""Python programs in processes of their own, for tests of what a process does first, or does only once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numbaconv

TESTS = Path(__file__).resolve().parent
ROOT = Path(numbaconv.__file__).resolve().parent.parent

# The environment that makes Numba compile for AVX2 with 16 registers on a host that has more.
ZEN3 = {
    "NUMBA_CPU_NAME": "znver3",
    "NUMBA_CPU_FEATURES": "+64bit,+adx,+aes,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+cx8,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,"
    "+popcnt,+sahf,+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave",
}


def python(*arguments, root=ROOT, timeout=150, check=True, **environment):
    """Run Python with this package, or the copy under ``root``, first on its path; its output on failure."""
    path = os.pathsep.join([str(root), str(TESTS)])
    run = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        check=False,
        env=os.environ | {"PYTHONPATH": path} | environment,
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check:
        last = run.stdout[-500:]
        assert run.returncode == 0, f"exit code {run.returncode}\nlast output: {last}\n{run.stderr[-3000:]}"
    return run
