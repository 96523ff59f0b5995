"""Comparisons in a process of their own, so that an engine that crashes or hangs loses one layer of its own only."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from numbaconv.bench.compare import Comparison, Setting, compare, is_ours
from numbaconv.bench.environment import environment
from numbaconv.bench.layers import Layer
from numbaconv.bench.peer import RefusedError

PATIENCE = 120.0  # seconds without a word

# GNU's allocator gives blocks beyond a limit back to the system, and by its history decides which those are. Touching
# new pages then costs more than a layer: 2 ms for the 3 MB of a 0.3 ms call of PyTorch's, in one process and not in
# the next. So freed memory is kept; blocks above 32 MiB, its largest limit, are new every time.
RECYCLE = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
Compare = Callable[[Layer, Setting, Callable[[str], None]], Comparison]


@dataclass(frozen=True)
class Lost:
    """Who was at work when the process was lost, and how."""

    contender: str
    why: str


class LostError(Exception):
    """There is no comparison, as we ourselves crashed, hung or raised what no layer should make us raise."""


class Worker:
    """A process for one dtype and number of threads, as JAX fixes the latter once; a new one after each loss."""

    def __init__(self, compare: Compare = compare, patience: float = PATIENCE) -> None:
        self._compare, self._patience = compare, patience
        self._process: Any = None
        self._pipe: Any = None

    def compare(self, layer: Layer, setting: Setting) -> Comparison:
        """The comparison, with a remark for each peer that was lost; raises `RefusedError` or `LostError`."""
        lost: dict[str, str] = {}
        while True:
            answer = self._ask(layer, replace(setting, peers=tuple(p for p in setting.peers if p not in lost)))
            match answer:
                case Comparison():
                    return replace(answer, remarks={**answer.remarks, **lost})
                case Lost(contender, why) if not is_ours(contender):
                    lost[contender] = why
                case Lost(contender, why):
                    raise LostError(f"{contender} {why}")
                case ValueError() | TypeError():  # a layer that a forced strategy refuses
                    raise RefusedError(str(answer)) from answer
                case Exception():
                    raise LostError(f"{type(answer).__name__}: {answer}") from answer

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def _ask(self, layer: Layer, setting: Setting) -> Comparison | Lost | Exception:
        if self._process is None:
            spawn = get_context("spawn")  # a fork would inherit thread pools without their threads
            self._pipe, end = spawn.Pipe()
            self._process = spawn.Process(target=_serve, args=(end, self._compare), daemon=True)
            with environment(RECYCLE):
                self._process.start()
            end.close()  # here; so that the end of the process ends the pipe
        self._pipe.send((layer, setting))
        at = "plan"
        while True:
            try:
                if not self._pipe.poll(self._patience):
                    self.stop()
                    return Lost(at, f"gave no result within {self._patience:.0f} s")
                word = self._pipe.recv()
            except (EOFError, ConnectionResetError):
                self._process.join()
                code = self._process.exitcode
                self.stop()
                return Lost(at, f"crashed: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}")
            if not isinstance(word, str):
                return word  # type: ignore[no-any-return]
            at = word


def _serve(pipe: Connection, compare: Compare) -> None:
    """The process: a comparison for each layer, the names of the contenders on the way to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    while True:
        try:
            layer, setting = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(compare(layer, setting, pipe.send))
        except Exception as error:  # noqa: BLE001  # goes to the parent, who raises it
            pipe.send(error)
