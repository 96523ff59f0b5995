"""OpenVINO: the ONNX model compiled for this processor, and one request whose tensors are reused."""

from __future__ import annotations

from numbaconv.bench import onnx_model
from numbaconv.bench.layers import Array, Call, Layer
from numbaconv.bench.peer import RefusedError


def make(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """A request of one stream of so many threads; each call writes the request's own memory."""
    import openvino

    if x.dtype != "float32":
        raise RefusedError(f"OpenVINO computes {x.dtype} in float32 on CPUs")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",  # by default bfloat16 where the processor has it
        "ENABLE_CPU_PINNING": False,  # pinned threads would tie the whole process to their cores
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(onnx_model.serialized(layer, w, b)), "CPU", settings)
    request = request.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def call() -> Array:
        request.infer()
        y: Array = request.get_output_tensor().data
        return y

    return call
