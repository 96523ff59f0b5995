"""The contract with another engine: what it must say of itself, and how it refuses a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from numbaconv.bench.layers import Array, Call, Layer


class RefusedError(Exception):
    """The engine does not compute this layer; the message says why."""


class MissingError(ValueError):
    """A package that was asked for is not installed; the message names the extra that brings it."""


@dataclass(frozen=True)
class Peer:
    """An engine: the packages that it needs, its own first, and how to make a call of it.

    ``make(layer, x, w, b, threads)`` gives ``call() -> ndarray`` with everything done that the engine may prepare, or
    raises `RefusedError`. ``prepared`` says whether the weights are part of what is prepared.
    """

    packages: tuple[str, ...]
    make: Callable[[Layer, Array, Array, Array, int], Call]
    prepared: bool

    def check(self) -> None:
        """Raise `MissingError` where a package is not installed."""
        for package in self.packages:
            require(package, "peers")

    def __str__(self) -> str:
        return f"{self.packages[0]} {version(self.packages[0])}"


def require(package: str, extra: str) -> None:
    """Raise `MissingError` where the package is not installed."""
    try:
        import_module(package)
    except ImportError as error:
        raise MissingError(f'{package} is not installed: pip install "numbaconv[{extra}]"') from error
