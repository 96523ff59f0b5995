"""Wisdom: figures that were measured on this machine, in named sets on disk; the latest figure of a key counts.

An entry is a file, in a folder named by all that it depends on: the processor, the sources of the package, the set. So
writers never merge and cannot lose each other's entries, and what another processor or version measured is not even
read. Whatever goes wrong on disk (damage, nowhere to write) costs an entry, never an error; what cannot be written
holds for this process.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

FORMAT = 1
DEFAULT = "default"
NAME = re.compile(r"\w[\w.-]{0,63}", re.ASCII)  # a folder on any system
NOTHING: Mapping[str, float] = {}


@dataclass(frozen=True)
class Entry:
    """Positive figures, and when they were measured, in seconds since 1970."""

    when: float
    figures: Mapping[str, float]

    def __post_init__(self) -> None:
        if not all(0 < value < inf for value in (self.when, *self.figures.values())):
            raise ValueError(f"figures are positive numbers, not {self}")


def find(key: str) -> Mapping[str, float]:
    """The figures of ``key`` in the set that has the latest; empty where none has any."""
    found = [entries[key] for entries in _known().values() if key in entries]
    return max(found, key=lambda entry: entry.when).figures if found else NOTHING


def keep(name: str, key: str, figures: Mapping[str, float]) -> None:
    """Put figures, of four digits, into a set, in place of those that it had for ``key``."""
    _keep(checked(name), key, Entry(time.time(), {what: float(f"{value:.4g}") for what, value in figures.items()}))


def sizes() -> dict[str, int]:
    """Number of entries of each set that fits this machine and package."""
    return {name: len(entries) for name, entries in sorted(_known().items())}


def as_text(name: str) -> str:
    """A set as JSON, for `take`."""
    if checked(name) not in _known():
        raise _missing(name)
    return _text(name, _known()[name])


def take(text: str) -> str:
    """Add the entries of a set that `as_text` wrote, but for those that are known from later; its name."""
    name, entries = _parsed(text)
    own = _known().get(name, {})
    for key, entry in entries.items():
        if key not in own or own[key].when < entry.when:
            _keep(name, key, entry)
    return name


def forget(name: str) -> None:
    """Remove a set, here and of every processor and version whose figures lie on this disk."""
    root = _root()
    folders = [] if root is None else list(root.glob(f"*/{checked(name)}"))
    if _known().pop(name, None) is None and not folders:
        raise _missing(name)
    for found in folders:
        shutil.rmtree(found, ignore_errors=True)


def checked(name: str) -> str:
    """``name``, if it can name a set."""
    if not NAME.fullmatch(name):
        raise ValueError(f"name must be up to 64 letters, digits, '_', '-' and '.', none of the last two first; "
                         f"got {name!r}")  # fmt: skip
    return name


def _missing(name: str) -> ValueError:
    return ValueError(f"there is no wisdom named {name!r}; there is {', '.join(sizes()) or 'none of any name'}")


# ---- on disk ---------------------------------------------------------------------------------------------------------


@lru_cache(1)
def _stamp() -> dict[str, Any]:
    """What all figures depend on."""
    from numbaconv.codegen import cache, host

    package = cache.digest()  # whose sources decide how fast a strategy is
    features = hashlib.sha256(" ".join(sorted(host.features())).encode()).hexdigest()
    return {"format": FORMAT, "processor": host.name(), "features": features[:16], "package": package[:16]}


def _root() -> Path | None:
    """The folder of all wisdom; None where nothing can be written."""
    from numbaconv.codegen import cache

    folder = cache.directory()
    return None if folder is None else folder / "wisdom"


def _stamped(root: Path) -> Path:
    """The folder of all sets with this stamp."""
    return root / hashlib.sha256(repr(_stamp()).encode()).hexdigest()[:16]


@lru_cache(1)
def _known() -> dict[str, dict[str, Entry]]:
    """The sets by name, their entries by key: read from disk once, when a process asks for the first time."""
    known: dict[str, dict[str, Entry]] = {}
    root = _root()
    if root is None or not root.is_dir():  # the digest of sources takes a millisecond
        return known
    for file in _stamped(root).glob("*/*.json"):
        try:
            name, entries = _parsed(file.read_text("utf-8"))
        except (OSError, ValueError):  # damaged, or just forgotten by another process
            continue
        known.setdefault(name, {}).update(entries)
    return known


def _keep(name: str, key: str, entry: Entry) -> None:
    from numbaconv.codegen import cache

    _known().setdefault(name, {})[key] = entry
    root = _root()
    if root is not None:
        file = _stamped(root) / name / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        cache.write(file, _text(name, {key: entry}).encode())


def _text(name: str, entries: Mapping[str, Entry]) -> str:
    content = _stamp() | {"name": name, "entries": {key: asdict(entry) for key, entry in entries.items()}}
    return json.dumps(content, indent=1)


def _parsed(text: str) -> tuple[str, dict[str, Entry]]:
    """(name, entries) of a text; ValueError says what is wrong with it, or where it would fit."""
    try:
        content = json.loads(text)
        stamp = {word: content[word] for word in _stamp()}
        name = checked(content["name"])
        entries = {
            key: Entry(float(entry["when"]), {what: float(value) for what, value in entry["figures"].items()})
            for key, entry in content["entries"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"this is not a text that export_wisdom gave: {error!r}") from None
    for word, here in _stamp().items():
        if stamp[word] != here:
            raise ValueError(f"this wisdom is of {word} {stamp[word]!r}, and here that is {here!r}: tune here instead")
    return name, entries
