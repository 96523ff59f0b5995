"""The command line: `demo`, `bench`, `explain` and `info`, each a function that reads its arguments and calls down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DTYPES = ("float32", "float64")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where all went well, 1 where a result was wrong, 2 for arguments that do not fit."""
    parser = argparse.ArgumentParser("numbaconv", description="Convolutions of NumPy arrays in pure Python and Numba.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (describe, run) in COMMANDS.items():
        text = (run.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=text, description=text)
        describe(command)
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, TypeError) as error:
        print(f"numbaconv: {error}", file=sys.stderr)
        return 2


# ---- demo ------------------------------------------------------------------------------------------------------------


def describe_demo(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("--threads", type=int, help="default: all")
    command.add_argument("--quick", action="store_true", help="a few layers of each network")
    text = "also give the totals as a Markdown table, or put it between its markers in FILE"
    command.add_argument("--markdown", nargs="?", const="-", metavar="FILE", help=text)


def demo(options: argparse.Namespace) -> int:
    """Time and check the convolutions of ResNet-50 and MobileNetV2 on this machine."""
    import numbaconv
    from numbaconv.bench import demo, tables

    text, good = demo.run(options.threads or numbaconv.get_num_threads(), options.quick)
    if options.markdown == "-":
        print(f"\n{text}")
    elif options.markdown:
        tables.replace_between_markers(Path(options.markdown), "python -m numbaconv demo --markdown README.md", text)
    return 0 if good else 1


# ---- bench -----------------------------------------------------------------------------------------------------------


def describe_bench(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("--layers", type=Path, nargs="+", required=True, metavar="CSV", help="files of layers")
    command.add_argument("--against", default="", metavar="NAMES", help="peers, separated by commas: torch, scipy")
    command.add_argument("--threads", type=int, help="default: all, for every contender")
    command.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    command.add_argument("--filter", default="", metavar="REGEX", help="only layers whose name or kind matches")
    command.add_argument("--limit", type=int, metavar="N", help="at most N layers")
    command.add_argument("--batch", type=int, metavar="N", help="this batch instead of the file's")
    command.add_argument("--strategy", metavar="NAME", help="force a strategy of ours")
    command.add_argument("--seconds", type=float, default=0.2, help="for each layer and contender (%(default)s)")
    command.add_argument("--memory", type=int, default=2048, metavar="MIB", help="skip larger layers (%(default)s)")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write all figures there")


def bench(options: argparse.Namespace) -> int:
    """Compare with other engines, layer by layer, by turns in one process."""
    import numbaconv
    from numbaconv.bench import run
    from numbaconv.bench.compare import Setting
    from numbaconv.bench.peers import PEERS, MissingError

    peers = tuple(name for name in options.against.split(",") if name)
    unknown = sorted(set(peers) - set(PEERS))
    if unknown:
        raise ValueError(f"--against {','.join(unknown)}: the peers are {', '.join(PEERS)}")
    threads = options.threads or numbaconv.get_num_threads()
    setting = Setting(peers, options.dtype, threads, options.seconds, options.strategy)
    selection = run.Selection(options.filter, options.limit, options.batch, options.memory)
    try:
        return 0 if run.run(options.layers, selection, setting, options.csv) else 1
    except MissingError as missing:
        raise ValueError(str(missing)) from None


# ---- explain ---------------------------------------------------------------------------------------------------------


def describe_explain(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("x", type=_shape, metavar="X", help="shape of the input: 1x64x56x56")
    command.add_argument("weight", type=_shape, metavar="WEIGHT", help="shape of the weights: 64x64x3x3")
    command.add_argument("-s", "--stride", type=_per_axis, default=1, help="an integer, or one for each axis: 2,1")
    command.add_argument("-p", "--padding", type=_padding, default=0, help="integers, pairs lo:hi, or a word: same")
    command.add_argument("-d", "--dilation", type=_per_axis, default=1)
    command.add_argument("-g", "--groups", type=int, default=1)
    command.add_argument("--transposed", action="store_true")
    command.add_argument("--output-padding", type=_per_axis, default=0)
    command.add_argument("--dtype", default=DTYPES[0])


def explain(options: argparse.Namespace) -> int:
    """Say what each strategy answers to a convolution, and which is chosen."""
    import numpy as np

    import numbaconv

    # Nothing is read of the arrays but shape and dtype: one number stands for all.
    x, weight = (np.broadcast_to(np.zeros((), options.dtype), shape) for shape in (options.x, options.weight))
    print(numbaconv.explain(
        x, weight, None, options.stride, options.padding, options.dilation, options.groups,
        transposed=options.transposed, output_padding=options.output_padding,
    ))  # fmt: skip
    return 0


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("x"))


def _per_axis(text: str) -> int | tuple[int, ...]:
    numbers = tuple(int(n) for n in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers


def _padding(text: str) -> Any:
    if text.replace("_", "").isalpha():
        return text
    if ":" in text:
        return tuple(tuple(int(n) for n in pair.split(":")) for pair in text.split(","))
    return _per_axis(text)


# ---- info ------------------------------------------------------------------------------------------------------------


def describe_info(command: argparse.ArgumentParser) -> None:
    """It has no arguments."""


def info(options: argparse.Namespace) -> int:
    """Print what decides speed here: versions, threads, the machine as the planner sees it, the cache."""
    import numbaconv

    numbaconv.show_config()
    return 0


Command = tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]

COMMANDS: dict[str, Command] = {
    "demo": (describe_demo, demo),
    "bench": (describe_bench, bench),
    "explain": (describe_explain, explain),
    "info": (describe_info, info),
}
