"""Benchmarks for asv: one file, one question, stated at its top.

Compiled code is kept apart by commit before Numba is imported. The library keys its own cache on the kernel sources,
so this is the second guard against measuring one commit with the machine code of another.
"""

import os

if os.environ.get("ASV_ENV_DIR") and os.environ.get("ASV_COMMIT"):  # neither is set in an existing environment
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(os.environ["ASV_ENV_DIR"], "numba-cache", os.environ["ASV_COMMIT"])  # noqa: PTH118  # pathlib would be the slower import of every benchmark process
