"""Does the planner choose well? Each strategy on the layers that it accepts, and the price of the wrong choices."""

from time import perf_counter

from .cases import LAYERS, Suite, arrays, plan

# A literal, as parameters must not depend on the installed version; tests/test_benchmarks.py compares it with NAMES.
STRATEGIES = [
    "trimmed", "winograd", "fft", "groupwise", "depthwise", "channelwise", "mirrored", "direct", "dot", "im2col",
    "pointwise", "spread", "subpixel", "transposed", "exchanged", "reduction", "kernelwise", "pixelwise", "split",
    "integers", "generic",
]  # fmt: skip
SLOW = 100_000_000  # `generic` is the last resort: on larger layers its time says nothing and takes minutes


class Strategies(Suite):
    """Prepared weights, float32, two threads."""

    param_names = ["strategy", "layer"]
    params = [STRATEGIES, list(LAYERS)]

    def setup(self, strategy, layer):
        self.x = arrays(layer)[0]
        self.plan = accepted(strategy, layer)
        if self.plan is None:
            raise NotImplementedError  # asv's word for: skip

    def time_plan(self, strategy, layer):
        self.plan(self.x)


class Regret(Suite):
    """Time of the automatic choice over the time of the best strategy: 1 is perfect."""

    param_names = ["layer"]
    params = [list(LAYERS)]
    rounds = 1

    def track_regret(self, layer):
        x = arrays(layer)[0]
        plans = [made for strategy in STRATEGIES if (made := accepted(strategy, layer)) is not None]
        best = {}
        for _ in range(7):
            for made in plans:
                best[made] = min(best.get(made, 1e9), seconds(made, x))
        chosen = str(plan(layer))
        mine = min(time for made, time in best.items() if str(made) == chosen)
        return mine / min(best.values())

    track_regret.unit = "x"


def accepted(strategy, layer):
    """The plan, or None where the strategy refuses or would take too long."""
    if strategy == "generic" and plan(layer).problem.macs > SLOW:
        return None
    try:
        return plan(layer, strategy=strategy)
    except ValueError:
        return None


def seconds(made, x):
    """The best of a few calls."""
    times = []
    for _ in range(3):
        start = perf_counter()
        made(x)
        times.append(perf_counter() - start)
    return min(times)
