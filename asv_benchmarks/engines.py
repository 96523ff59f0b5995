"""How fast are the same layers in other engines? Those that are installed; `bench` compares them more carefully."""

from functools import lru_cache

from .cases import LAYERS, THREADS, Suite, arrays, geometry, plan

OURS = "numbaconv"
# A literal, as parameters must not depend on the installed version; tests/test_benchmarks.py compares it with PEERS.
ENGINES = [OURS, "torch", "onnxruntime", "openvino", "ncnn", "scipy", "jax"]


class Engines(Suite):
    """Float32, two threads; prepared as far as the engine can."""

    param_names = ["engine", "layer"]
    params = [ENGINES, list(LAYERS)]

    def setup(self, engine, layer):
        self.call = call(engine, layer)
        if self.call is None:
            raise NotImplementedError  # asv's word for: skip

    def time_call(self, engine, layer):
        self.call()


@lru_cache(1)
def call(engine, layer):
    """The call of the engine, made and called once; None where it is not installed or refuses the layer."""
    x, w, b = arrays(layer)
    if engine == OURS:
        made = plan(layer)
        return lambda: made(x)
    try:
        from numbaconv.bench.peer import MissingError, RefusedError
        from numbaconv.bench.peers import PEERS
    except ImportError:  # a version of the library from before them
        return None
    try:
        PEERS[engine].check()
        made = PEERS[engine].make(as_layer(layer), x, w, b, THREADS)
    except (MissingError, RefusedError):
        return None
    made()
    return made


def as_layer(name):
    """The layer as `bench` describes it."""
    from numbaconv.bench.layers import Layer

    function, x_shape, w_shape, *_ = LAYERS[name]
    rank, transposed, words = len(x_shape) - 2, "transpose" in function, geometry(name)
    return Layer(
        name,
        function,
        x_shape,
        w_shape,
        stride=(words["stride"],) * rank,
        padding=((words["padding"],) * 2,) * rank,
        dilation=(1,) * rank,
        groups=words["groups"],
        transposed=transposed,
        output_padding=(0,) * rank if transposed else (),
    )
