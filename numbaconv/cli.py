"""The command line: each command is a function that reads its arguments and calls down."""

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


# ---- accuracy --------------------------------------------------------------------------------------------------------


def describe_accuracy(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("--markdown", metavar="FILE", help="put the table between its markers in FILE")


def accuracy(options: argparse.Namespace) -> int:
    """Measure the errors of direct summation and of Winograd's variants, by channels."""
    from numbaconv.bench import accuracy, tables

    text = accuracy.table()
    print(text)
    if options.markdown:
        tables.replace_between_markers(
            Path(options.markdown), "python -m numbaconv accuracy --markdown docs/accuracy.md", text
        )
    return 0


# ---- filters ---------------------------------------------------------------------------------------------------------


def describe_filters(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("--seconds", type=float, default=0.5, help="for each row and contender (%(default)s)")
    command.add_argument("--markdown", metavar="FILE", help="put the table between its markers in FILE")


def filters(options: argparse.Namespace) -> int:
    """Time blurs, lines and banks of filters against SciPy and OpenCV."""
    from numbaconv.bench import filters, tables
    from numbaconv.bench.peer import require

    require("scipy", "peers")
    require("cv2", "peers")
    text = filters.run(options.seconds, lambda name: print(name, file=sys.stderr))
    print(text)
    if options.markdown:
        tables.replace_between_markers(
            Path(options.markdown), "python -m numbaconv filters --markdown docs/signal.md", text
        )
    return 0


# ---- bench -----------------------------------------------------------------------------------------------------------


def describe_bench(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("--layers", type=Path, nargs="+", required=True, metavar="CSV", help="files of layers")
    command.add_argument("--against", default="", metavar="NAMES", help="peers, by commas: torch,onnxruntime,...")
    command.add_argument("--threads", type=_integers, metavar="N,N", help="for every contender; default: all")
    command.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    command.add_argument("--filter", default="", metavar="REGEX", help="only layers whose name or kind matches")
    command.add_argument("--limit", type=int, metavar="N", help="at most N layers")
    command.add_argument("--batch", type=int, metavar="N", help="this batch instead of the file's")
    command.add_argument("--strategy", metavar="NAME", help="force a strategy of ours")
    command.add_argument("--seconds", type=float, default=0.2, help="for each layer and contender (%(default)s)")
    command.add_argument("--memory", type=int, default=2048, metavar="MIB", help="skip larger layers (%(default)s)")
    command.add_argument("--regret", action="store_true", help="time our other strategies as well")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write all figures there")
    command.add_argument("--plot", type=Path, metavar="PNG", help="draw the ratios of all layers, and a roofline")


def bench(options: argparse.Namespace) -> int:
    """Compare with other engines, layer by layer, by turns in one process."""
    import numbaconv
    from numbaconv.bench import ceiling, run
    from numbaconv.bench.compare import Setting
    from numbaconv.bench.peer import require
    from numbaconv.bench.peers import checked

    threads = options.threads or (numbaconv.get_num_threads(),)
    selection = run.Selection(options.filter, options.limit, options.batch, options.memory)
    peers = checked(options.against)
    if options.plot:
        require("matplotlib", "plot")
        if not peers:
            raise ValueError("--plot draws ratios to peers: name some with --against")
    settings = [
        Setting(
            peers,
            options.dtype,
            n,
            options.seconds,
            ceiling.measure(options.dtype, n),
            options.strategy,
            options.regret,
        )
        for n in threads
    ]
    return 0 if run.run(options.layers, selection, settings, options.csv, options.plot) else 1


# ---- report ----------------------------------------------------------------------------------------------------------


def describe_report(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("--layers", type=Path, nargs="+", required=True, metavar="CSV", help="files of layers")
    command.add_argument("--against", default="torch,onnxruntime,openvino,ncnn,scipy,jax", metavar="NAMES")
    command.add_argument("--threads", type=_integers, default=(1, 2), metavar="N,N")
    command.add_argument(
        "--minutes", type=float, default=10, help="to measure (%(default)g); 0 writes what was measured"
    )
    command.add_argument("--csv", type=Path, help="the figures; measures what it lacks (the output's name with .csv)")
    command.add_argument("--output", type=Path, default=Path("docs/performance.md"), metavar="MD", help="(%(default)s)")


def report(options: argparse.Namespace) -> int:
    """Measure a sample of layers in all settings, and write docs/performance.md with its charts."""
    from numbaconv.bench import document
    from numbaconv.bench.peer import require
    from numbaconv.bench.peers import checked

    peers = checked(options.against)
    require("matplotlib", "plot")
    figures = options.csv or options.output.with_suffix(".csv")
    order = document.Order(options.layers, peers, options.threads, options.minutes, figures, options.output)
    return 0 if document.run(order) else 1


# ---- tune ------------------------------------------------------------------------------------------------------------


def describe_tune(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("--layers", type=Path, nargs="+", required=True, metavar="CSV", help="files of layers")
    command.add_argument("--filter", default="", metavar="REGEX", help="only layers whose name or kind matches")
    command.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    command.add_argument("--threads", type=int, help="default: all")
    command.add_argument("--seconds", type=float, default=0.1, help="for each strategy of a layer (%(default)s)")
    command.add_argument("--name", default="default", help="the set of wisdom to put it into (%(default)s)")


def tune(options: argparse.Namespace) -> int:
    """Measure the strategies for layers, and keep the fastest as wisdom."""
    import numbaconv
    from numbaconv.bench import layers

    problems = []
    for layer in layers.chosen(options.layers, options.filter):
        try:
            problems.append(layer.problem(options.dtype))
        except ValueError as error:
            print(f"{layer}: {error}", file=sys.stderr)
    if not problems:
        raise ValueError(f"no layer of the files matches --filter {options.filter!r}")
    print(numbaconv.tune(problems, seconds=options.seconds, num_threads=options.threads, name=options.name))
    return 0


# ---- wisdom ----------------------------------------------------------------------------------------------------------


def describe_wisdom(command: argparse.ArgumentParser) -> None:
    """Its arguments."""
    command.add_argument("action", choices=("list", "export", "import", "forget"))
    text = "what to export, to standard output, or to forget: its name; what to import: a file"
    command.add_argument("what", nargs="?", metavar="NAME|FILE", help=text)


def wisdom(options: argparse.Namespace) -> int:
    """List what is known of this machine, export, import or forget it."""
    import numbaconv
    from numbaconv import wisdom

    name = options.what or wisdom.DEFAULT
    if options.action == "list":
        for known, size in wisdom.sizes().items():
            print(f"{known}: {size} entries")
    elif options.action == "export":
        print(numbaconv.export_wisdom(name))
    elif options.action == "forget":
        numbaconv.forget_wisdom(name)
    elif options.what is None:
        raise ValueError("wisdom import takes a file that `wisdom export` wrote")
    else:
        print(f"imported {numbaconv.import_wisdom(Path(options.what).read_text(encoding='utf-8'))}")
    return 0


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
    command.add_argument("--accuracy", default="bounded", metavar="WORD", help="bounded or strict (%(default)s)")


def explain(options: argparse.Namespace) -> int:
    """Say what each strategy answers to a convolution, and which is chosen."""
    import numpy as np

    import numbaconv

    # Nothing is read of the arrays but shape and dtype: one number stands for all.
    x, weight = (np.broadcast_to(np.zeros((), options.dtype), shape) for shape in (options.x, options.weight))
    print(numbaconv.explain(
        x, weight, None, options.stride, options.padding, options.dilation, options.groups,
        transposed=options.transposed, output_padding=options.output_padding, accuracy=options.accuracy,
    ))  # fmt: skip
    return 0


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("x"))


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(","))


def _per_axis(text: str) -> int | tuple[int, ...]:
    numbers = _integers(text)
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
    "report": (describe_report, report),
    "accuracy": (describe_accuracy, accuracy),
    "filters": (describe_filters, filters),
    "tune": (describe_tune, tune),
    "wisdom": (describe_wisdom, wisdom),
    "explain": (describe_explain, explain),
    "info": (describe_info, info),
}
