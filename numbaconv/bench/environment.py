"""Variables of the environment for as long as something starts that reads them once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment(words: dict[str, str]) -> Iterator[None]:
    """These words in the environment; afterwards it is as before."""
    before = dict(os.environ)
    os.environ.update(words)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
