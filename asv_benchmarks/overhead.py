"""What does a call cost where there is nothing to compute? Import, argument checks, plan look-up, launch."""

import numpy as np

import numbaconv

CALLS = 1000  # in each timed call, as asv_runner times single calls and one takes microseconds


class Overhead:
    """Milliseconds of a thousand calls are microseconds of one."""

    version = "1"
    timeout = 300
    rounds = 2
    param_names = ["size"]
    params = [["1x1x1x1", "8x8x8x8"]]

    def setup(self, size):
        n, c, h, w = map(int, size.split("x"))
        kernel = min(3, h)
        self.x = np.ones((n, c, h, w), np.float32)
        self.w = np.ones((c, c, kernel, kernel), np.float32)
        self.plan = numbaconv.plan_conv2d(self.x.shape, self.w, None, 1, kernel // 2)
        self.out = self.plan(self.x)
        numbaconv.conv2d(self.x, self.w, None, 1, kernel // 2)

    def time_1000_plan_calls(self, size):
        for _ in range(CALLS):
            self.plan(self.x)

    def time_1000_plan_calls_into_out(self, size):
        for _ in range(CALLS):
            self.plan(self.x, out=self.out)

    def time_1000_calls(self, size):
        padding = self.w.shape[-1] // 2
        for _ in range(CALLS):
            numbaconv.conv2d(self.x, self.w, None, 1, padding)


class Import:
    """Each in a new process."""

    version = "1"

    def timeraw_import_numpy(self):
        return "import numpy"

    def timeraw_import_numbaconv(self):
        return "import numbaconv"
