"""How fast are real layers with the planner's choice? With prepared weights, and as a plain call."""

from .cases import LAYERS, SMOKE, Suite, arrays, call, plan

DTYPES = ["float32", "float64"]


class Layers(Suite):
    """Two threads, batch as the layer has it."""

    param_names = ["layer", "dtype"]
    params = [list(LAYERS), DTYPES]

    def setup(self, layer, dtype):
        self.x = arrays(layer, dtype)[0]
        self.plan = plan(layer, dtype)
        self.call = call(layer, dtype)

    def time_plan(self, layer, dtype):
        self.plan(self.x)

    def time_call(self, layer, dtype):
        self.call()


class Threads(Suite):
    """The ratio of the rows of one and two threads is the scaling."""

    param_names = ["layer", "threads"]
    params = [["r50_3x3_56", "r50_1x1_7", "mbv2_dw3x3_56", "pix2pix_up4x4s2_32"], [1, 2]]

    def setup(self, layer, threads):
        self.x = arrays(layer)[0]
        self.plan = plan(layer, "float32", threads)

    def time_plan(self, layer, threads):
        self.plan(self.x)


class Smoke:
    """One small layer, for a look whether the suite runs at all; compares nothing."""

    version = "1"

    def setup(self):
        self.x = arrays(SMOKE)[0]
        self.plan = plan(SMOKE)

    def time_plan(self):
        self.plan(self.x)
