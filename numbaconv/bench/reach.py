"""The goals: what is measured, how much it should be, and how much it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from numbaconv.bench.compare import PLAIN, PLAN, Comparison
from numbaconv.bench.layers import Layer
from numbaconv.bench.report import Ratio, Table, by, mean
from numbaconv.bench.tables import geometric_mean

Value = tuple[float, str] | None  # and what it is of; None where nothing was measured
Sizes = Mapping[str, int] | None

TINY = Layer("8x8x8x8", "tiny", (8, 8, 8, 8), (8, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
ENGINES = ("torch", "onnxruntime", "openvino", "ncnn")
NOISE = 0.95  # a layer this much slower may not be slower
DIRECT = tuple(f"{PLAN} {name}" for name in ("direct", "im2col", "pointwise"))  # the sum as it is, all of its terms
LARGE_FLOPS, PARALLEL_FLOPS = 1e9, 50e6


@dataclass(frozen=True)
class Goal:
    """``value`` of the results of one dtype and number of threads, and of all, as the speed-up needs both."""

    work: str
    measure: str
    target: float
    value: Callable[[Sequence[Comparison], Sequence[Comparison], Sizes], Value]
    dtype: str = "float32"
    at_most: bool = False

    def reached(self, value: float) -> bool:
        """Whether it is."""
        return value <= self.target if self.at_most else value >= self.target


def table(results: Sequence[Comparison], sizes: Sizes = None) -> Table:
    """A line a goal, a column for each number of threads."""
    threads = sorted({result.threads for result in results})
    rows = []
    for goal in GOALS:
        groups = [[r for r in results if (r.dtype, r.threads) == (goal.dtype, n)] for n in threads]
        values = [goal.value(group, results, sizes) for group in groups]
        limit = f"{'at most' if goal.at_most else 'at least'} {goal.target:g}"
        rows.append([goal.work, goal.measure, limit, *(_cell(goal, value) for value in values)])
    return ["work", "measure", "goal", *(f"{n} thread{'s'[: n > 1]}" for n in threads)], rows


def _cell(goal: Goal, value: Value) -> str:
    if value is None:
        return "-"
    number, of = value
    return f"{number:.2f}{of and f' ({of})'}: {'reached' if goal.reached(number) else 'not reached'}"


# ---- values ----------------------------------------------------------------------------------------------------------


def _over(ratio: Ratio, keep: Callable[[Comparison], bool]) -> Callable[..., Value]:
    """The geometric mean of a ratio over the layers to keep."""

    def value(group: Sequence[Comparison], everything: Sequence[Comparison], sizes: Sizes) -> Value:
        kept = [result for result in group if keep(result)]
        found = mean(kept, ratio, sizes)
        return None if found is None else (found, _layers(sum(ratio(result) is not None for result in kept)))

    return value


def _lowest_class(group: Sequence[Comparison], everything: Sequence[Comparison], sizes: Sizes) -> Value:
    means = {kind: mean(found, _over_engines) for kind, found in by(filter(_is_2d, group), lambda r: r.kind).items()}
    known = [(value, f"lowest: {kind}") for kind, value in means.items() if value is not None]
    return min(known, default=None)


def _lowest_to_torch(group: Sequence[Comparison], everything: Sequence[Comparison], sizes: Sizes) -> Value:
    ratios = [ratio for r in filter(_is_2d, group) if (ratio := _over_torch(r)) is not None]
    below = sum(ratio < NOISE for ratio in ratios)
    return (min(ratios), f"lowest; {below} of {len(ratios)} below") if ratios else None


def _share_of_peak(group: Sequence[Comparison], everything: Sequence[Comparison], sizes: Sizes) -> Value:
    shares = []
    for result in group:
        times = [result.times[name].best for name in DIRECT if name in result.times]
        if times and result.flops >= LARGE_FLOPS:
            shares.append(result.flops / min(times) * 1e-9 / result.ceiling.peak)
    return (geometric_mean(shares), _layers(len(shares))) if shares else None


def _regret(group: Sequence[Comparison], everything: Sequence[Comparison], sizes: Sizes) -> Value:
    found = mean(filter(in_files, group), Comparison.regret, sizes)
    return None if found is None else (found, "")


def _worst_regret(group: Sequence[Comparison], everything: Sequence[Comparison], sizes: Sizes) -> Value:
    regrets = [(regret, r.layer) for r in group if (regret := r.regret()) is not None]
    return max(regrets, default=None)


def _speed_up(group: Sequence[Comparison], everything: Sequence[Comparison], sizes: Sizes) -> Value:
    alone = {r.problem: r.times[PLAN].best for r in everything if r.threads == 1 and r.flops >= PARALLEL_FLOPS}
    gains = [alone[r.problem] / r.times[PLAN].best for r in group if r.threads == 2 and r.problem in alone]
    return (geometric_mean(gains), _layers(len(gains))) if gains else None


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _call_to_torch(result: Comparison) -> float | None:
    ratio = result.ratio("torch", PLAIN)
    return None if ratio is None else 1 / ratio


def _over_torch(result: Comparison) -> float | None:
    return result.ratio("torch")


def _plain_over_torch(result: Comparison) -> float | None:
    return result.ratio("torch", PLAIN)


def _over_engines(result: Comparison) -> float | None:
    return result.over_best(among=ENGINES)


def _over_two(result: Comparison) -> float | None:
    return result.over_best(among=ENGINES[:2])


# ---- layers ----------------------------------------------------------------------------------------------------------


def in_files(result: Comparison) -> bool:
    """Whether it is of the files, not the tiny problem."""
    return result.kind != TINY.kind


def _is_2d(result: Comparison) -> bool:
    return result.function == "conv2d" and in_files(result)


def _is_tiny(result: Comparison) -> bool:
    return result.kind == TINY.kind


def _is_winograds(result: Comparison) -> bool:
    (_, channels, *size), _ = result.shapes
    return result.kind == "3x3s1" and min(size) >= 14 and channels >= 32


def _is(function: str) -> Callable[[Comparison], bool]:
    return lambda result: result.function.startswith(function) and in_files(result)


# What is asked of a machine with 2 cores, batch 1.
GOALS = (
    Goal("conv2d", "plan over PyTorch", 2.0, _over(_over_torch, _is_2d)),
    Goal("conv2d", "plan over the best of the four engines", 1.25, _over(_over_engines, _is_2d)),
    Goal("conv2d, every class", "plan over the best of the four engines", 1.0, _lowest_class),
    Goal("conv2d, every layer", "plan over PyTorch", NOISE, _lowest_to_torch),
    Goal(
        "3x3, maps from 14x14, from 32 channels",
        "plan over the best of the four",
        1.1,
        _over(_over_engines, _is_winograds),
    ),
    Goal("conv2d", "plain call over PyTorch", 1.5, _over(_plain_over_torch, _is_2d)),
    Goal("conv2d", "both gradients over PyTorch's", 1.5, _over(Comparison.gradients, _is_2d)),
    Goal("conv1d", "plan over the best of PyTorch and ONNX Runtime", 1.4, _over(_over_two, _is("conv1d"))),
    Goal("conv3d", "plan over the best of PyTorch and ONNX Runtime", 1.4, _over(_over_two, _is("conv3d"))),
    Goal("transposed", "plan over the best of PyTorch and ONNX Runtime", 1.4, _over(_over_two, _is("conv_transpose"))),
    Goal("everything in float64", "plan over PyTorch", 2.0, _over(_over_torch, in_files), "float64"),
    Goal("direct sums from 1 GFLOP, the best of three", "share of the measured peak", 0.9, _share_of_peak),
    Goal("automatic choice", "its time over the best strategy's, mean", 1.03, _regret, at_most=True),
    Goal("automatic choice", "its time over the best strategy's, worst", 1.25, _worst_regret, at_most=True),
    Goal("8x8x8x8, 3x3", "plain call's time over PyTorch's", 0.5, _over(_call_to_torch, _is_tiny), at_most=True),
    Goal("layers from 50 MFLOP", "speed-up by the second thread", 1.8, _speed_up),
)
