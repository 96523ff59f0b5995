"""The memory that a call takes beyond input, output and prepared weights."""

import threading
import tracemalloc

from .cases import LAYERS, Suite, arrays, plan


class Memory(Suite):
    """Float32, two threads."""

    param_names = ["layer"]
    params = [list(LAYERS)]

    def setup(self, layer):
        self.x = arrays(layer)[0]
        self.plan = plan(layer)

    def peakmem_plan(self, layer):
        """The whole process, interpreter and compiler included."""
        self.plan(self.x)

    def track_extra_bytes(self, layer):
        """Scratch and temporaries at their highest, the result not counted."""
        peaks = []

        def first_call_of_a_thread():  # a new thread has no scratch yet that would hide what this layer needs
            tracemalloc.start()
            y = self.plan(self.x)
            peaks.append(tracemalloc.get_traced_memory()[1] - y.nbytes)
            tracemalloc.stop()

        thread = threading.Thread(target=first_call_of_a_thread)
        thread.start()
        thread.join()
        return peaks[0]

    track_extra_bytes.unit = "bytes"
