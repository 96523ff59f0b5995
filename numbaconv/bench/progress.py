"""A progress bar under the lines of a command, on a terminal only: elsewhere nothing but the lines is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TypeVar

Item = TypeVar("Item")


class Progress:
    """Lines above, the bar below, on standard error so that redirected output stays clean."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.label = total, 0, ""
        self.shown = sys.stderr.isatty()

    def line(self, text: str = "") -> None:
        """Print a line above the bar."""
        self._erase()
        print(text, flush=True)
        self._draw()

    def over(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items, the bar one step on after each."""
        for item in items:
            self.label = str(item)
            self._draw()
            yield item
            self.done += 1
        self._draw()

    def _erase(self) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def _draw(self) -> None:
        if self.shown:
            width = max(10, min(30, get_terminal_size().columns - 50))
            filled = width * self.done // max(1, self.total)
            bar = "#" * filled + "." * (width - filled)
            room = max(0, get_terminal_size().columns - width - 14)
            sys.stderr.write(f"\r\x1b[2K[{bar}] {self.done}/{self.total}  {self.label[:room]}")
            sys.stderr.flush()


@contextmanager
def progress(total: int) -> Iterator[Progress]:
    """A bar of ``total`` steps that leaves nothing behind, whatever happens."""
    bar = Progress(total)
    try:
        yield bar
    finally:
        bar._erase()
