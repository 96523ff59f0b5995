"""The planner's choices on invented machines, written down, so that an edit of a cost shows as a diff of this table.

``python test_planner.py`` prints the table as it is now.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import conv, problems, transposed
from hypothesis import given, settings
from hypothesis import strategies as st

import numbaconv
from numbaconv import planner
from numbaconv.machine import Machine
from numbaconv.strategies import NAMES, strategies

MACHINES = {
    "avx2": Machine(cores=2, vector_bytes=32, registers=16, l1=32 * 1024, l2=512 * 1024, l3=16 * 2**20),
    "avx512": Machine(cores=2, vector_bytes=64, registers=32, l1=48 * 1024, l2=1024 * 1024, l3=32 * 2**20),
}

# name: (layer, choice on AVX2, choice on AVX-512)
LAYERS = {
    "resnet stem": (conv((1, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3), "direct", "im2col"),
    "resnet 56 3x3": (conv((1, 64, 56, 56), (64, 64, 3, 3), padding=1), "winograd", "winograd"),
    "resnet 56 3x3 s2": (conv((1, 128, 56, 56), (128, 128, 3, 3), stride=2, padding=1), "winograd", "winograd"),
    "resnet 14 3x3": (conv((1, 256, 14, 14), (256, 256, 3, 3), padding=1), "winograd", "winograd"),
    "resnet 7 3x3": (conv((1, 512, 7, 7), (512, 512, 3, 3), padding=1), "winograd", "winograd"),
    "resnet 56 1x1": (conv((1, 64, 56, 56), (256, 64, 1, 1)), "pointwise", "pointwise"),
    "resnet 7 1x1": (conv((1, 2048, 7, 7), (512, 2048, 1, 1)), "pointwise", "pointwise"),
    "resnet shortcut 1x1 s2": (conv((1, 256, 56, 56), (512, 256, 1, 1), stride=2), "im2col", "im2col"),
    "resnext 3x3 g32": (conv((1, 128, 56, 56), (128, 4, 3, 3), padding=1, groups=32), "groupwise", "groupwise"),
    "mobilenet 3x3": (conv((1, 96, 56, 56), (96, 1, 3, 3), padding=1, groups=96), "depthwise", "depthwise"),
    "mobile 3x3 s2": (conv((1, 96, 56, 56), (96, 1, 3, 3), padding=1, stride=2, groups=96), "groupwise", "depthwise"),
    "mobilenet 7 3x3": (conv((1, 960, 7, 7), (960, 1, 3, 3), padding=1, groups=960), "groupwise", "groupwise"),
    "efficientnet 5x5": (conv((1, 240, 28, 28), (240, 1, 5, 5), padding=2, groups=240), "groupwise", "depthwise"),
    "convnext 7x7": (conv((1, 96, 56, 56), (96, 1, 7, 7), padding=3, groups=96), "depthwise", "depthwise"),
    "replknet 31x31": (conv((1, 128, 56, 56), (128, 1, 31, 31), padding=15, groups=128), "fft", "fft"),
    "grey 3x3": (conv((1, 1, 1024, 1024), (1, 1, 3, 3), padding=1), "depthwise", "depthwise"),
    "grey 15x15": (conv((1, 1, 512, 512), (1, 1, 15, 15), padding=7), "fft", "depthwise"),
    "grey 63x63": (conv((1, 1, 512, 512), (1, 1, 63, 63), padding=31), "fft", "fft"),
    "blur 31x31 of 16 channels": (conv((1, 16, 256, 256), (16, 16, 31, 31), padding=15), "fft", "fft"),
    "grey 1x31": (conv((1, 1, 512, 512), (1, 1, 1, 31), padding=(0, 15)), "depthwise", "depthwise"),
    "tall 3x1": (conv((1, 64, 56, 56), (64, 64, 3, 1), padding=(1, 0)), "winograd", "winograd"),
    "grey 31x1": (conv((1, 1, 512, 512), (1, 1, 31, 1), padding=(15, 0)), "depthwise", "depthwise"),
    "patches 16x16 s16": (conv((1, 3, 224, 224), (768, 3, 16, 16), stride=16), "im2col", "im2col"),
    "to one channel 1x1": (conv((1, 64, 128, 128), (1, 64, 1, 1)), "direct", "direct"),
    "fully connected": (conv((1, 2048, 1, 1), (1000, 2048, 1, 1)), "dot", "dot"),
    "classifier of 64 images": (conv((64, 512, 1, 1), (100, 512, 1, 1)), "dot", "dot"),
    "atrous 3x3 d12": (conv((1, 256, 33, 33), (256, 256, 3, 3), padding=12, dilation=12), "winograd", "winograd"),
    "speech 1-D k10 s5": (conv((1, 1, 16000), (512, 1, 10), stride=5), "im2col", "im2col"),
    "fir 1-D of 500 taps": (conv((1, 1, 100000), (1, 1, 500)), "fft", "fft"),
    "fir 1-D of 60 taps": (conv((1, 1, 100000), (1, 1, 60)), "fft", "direct"),
    "tcn 1-D of 128 taps": (conv((1, 64, 10000), (64, 64, 128)), "fft", "fft"),
    "video 3x3x3": (conv((1, 64, 8, 28, 28), (64, 64, 3, 3, 3), padding=1), "winograd", "winograd"),
    "tiny": (conv((1, 8, 8, 8), (8, 8, 3, 3), padding=1), "direct", "depthwise"),
    "decoder k2 s2": (transposed((1, 128, 28, 28), (128, 64, 2, 2), stride=2), "subpixel", "subpixel"),
    "decoder k4 s2": (transposed((1, 256, 16, 16), (256, 128, 4, 4), stride=2, padding=1), "winograd", "winograd"),
    "vocoder 1-D k16 s8": (transposed((1, 256, 100), (256, 128, 16), stride=8, padding=4), "winograd", "winograd"),
}  # fmt: skip


def choice(case, machine):
    return planner.chosen(planner.ask(case.problem().folded(), MACHINES[machine]))


@pytest.mark.parametrize("name", LAYERS)
def test_choice(name):
    case, *written = LAYERS[name]
    assert [choice(case, machine) for machine in MACHINES] == written


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", LAYERS)
def test_every_cost_is_a_time(name, machine):
    """Positive seconds, or a refusal, never both."""
    problem = LAYERS[name][0].problem().folded()
    for answer in planner.ask(problem, MACHINES[machine]):
        assert (answer.cost is None) != (answer.why_not is None)
        assert answer.cost is None or 0 < answer.cost < 3600


@pytest.mark.parametrize("name", LAYERS)
def test_costs_are_cycles_of_the_clock(name):
    """So that a measured clock changes no choice between them; only the last resort is timed by the wall."""
    problem, usual = LAYERS[name][0].problem().folded(), MACHINES["avx512"]
    twice = replace(usual, clock=2 * usual.clock, bandwidth=2 * usual.bandwidth)
    for slow, fast in zip(planner.ask(problem, usual), planner.ask(problem, twice), strict=True):
        if slow.cost is not None and slow.strategy != "generic":
            assert fast.cost == pytest.approx(slow.cost / 2), slow.strategy


def test_weights_that_no_cache_holds_cost_winograd():
    """Its transformed weights are four times as many as those that direct summation reads."""
    problem = conv((1, 256, 28, 28), (256, 256, 3, 3), padding=1).problem().folded()
    ratios = []
    for l2, l3 in ((2**26, 2**28), (2**20, 2**21)):
        answers = planner.ask(problem, replace(MACHINES["avx512"], l2=l2, l3=l3))
        costs = {answer.strategy: answer.cost for answer in answers}
        ratios.append(costs["winograd"] / costs["direct"])
    assert ratios[0] < ratios[1]


def test_plans_are_remembered_frozen_and_printed_on_one_line():
    for case, *_ in LAYERS.values():
        problem = case.problem()
        plan = planner.plan(problem)
        assert plan is planner.plan(problem)
        text = str(plan)
        assert text.startswith("(") and text.endswith(")") and "\n" not in text and " at 0x" not in text
        with pytest.raises(AttributeError):
            plan.problem = problem


@pytest.mark.parametrize("strategy", [s.name for s in strategies() if not s.sums_directly])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_strategies_of_other_sums_leave_to_others_is_summed_directly(strategy, kernel, dtype):
    """Two of them that hand a problem to each other would never end."""
    for channels, pixels in ((16, 112), (64, 56), (128, 28), (256, 14)):
        case = conv((1, channels, pixels, pixels), (channels, channels, kernel, kernel), padding=kernel // 2)
        problem = case.problem(dtype)
        answers = planner.ask(problem.folded(), planner.machines.host())
        if next(answer.why_not for answer in answers if answer.strategy == strategy) is None:
            child = planner.plan(problem, strategy).direct
            assert child is None or strategies()[NAMES.index(child.strategy)].sums_directly


def test_equal_costs_go_to_the_first_of_the_table():
    answers = [planner.Answer(name, 1.0, None) for name in NAMES]
    assert planner.chosen(answers) == NAMES[0]


def test_a_name_that_is_not_in_the_table():
    with pytest.raises(ValueError, match="fastest") as error:
        planner.plan(conv((1, 1, 5), (1, 1, 3)).problem(), "fastest")
    assert all(name in str(error.value) for name in NAMES)


def assert_explains(table, problem):
    title, plan, *lines = table.splitlines()
    assert title == str(problem) and plan.startswith("  plan (")
    assert [line[2:].split()[0] for line in lines] == [strategy.name for strategy in strategies()]
    assert sum(line.startswith("* ") for line in lines) == 1
    assert all(line.startswith(("* ", "  ")) for line in lines)


@pytest.mark.parametrize("name", LAYERS)
def test_explain(name):
    case = LAYERS[name][0]
    x, w = (np.broadcast_to(np.float32(0), shape) for shape in (case.x, case.w))
    assert_explains(numbaconv.explain(x, w, **case.geometry, transposed=case.transposed), case.problem())


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(sorted(MACHINES)), st.sampled_from(["float32", "float64", "int16", "complex64"]))
def test_any_problem_is_planned_and_explained(case, machine, dtype):
    problem = case.problem(dtype)
    assert_explains(str(planner.explain(problem, MACHINES[machine])), problem)


if __name__ == "__main__":
    for name, (case, *_) in LAYERS.items():
        options = "".join(f", {key}={value!r}" for key, value in case.geometry.items())
        layer = f"{'transposed' if case.transposed else 'conv'}({case.x}, {case.w}{options})"
        print(f'    "{name}": ({layer}, ' + ", ".join(f'"{choice(case, machine)}"' for machine in MACHINES) + "),")
