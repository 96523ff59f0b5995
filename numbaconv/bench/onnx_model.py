"""A layer as an ONNX model in memory: one Conv or ConvTranspose with constant weights."""

from __future__ import annotations

from numbaconv.bench.layers import Array, Layer

OPSET, FORMAT = 17, 8  # of 2022: operators of this kind have not changed since, and every engine reads them


def serialized(layer: Layer, w: Array, b: Array) -> bytes:
    """The model's bytes; its input is ``x``, its output ``y``."""
    from onnx import helper, numpy_helper

    lows, highs = zip(*layer.padding, strict=True)
    extra = {"output_padding": layer.output_padding} if layer.transposed else {}
    node = helper.make_node(
        "ConvTranspose" if layer.transposed else "Conv",
        ["x", "w", "b"],
        ["y"],
        strides=layer.stride,
        pads=(*lows, *highs),
        dilations=layer.dilation,
        group=layer.groups,
        **extra,
    )
    constants = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")]
    kind = constants[0].data_type
    into = helper.make_tensor_value_info("x", kind, layer.x_shape)
    out = helper.make_tensor_value_info("y", kind, layer.problem(str(w.dtype)).y_shape)
    graph = helper.make_graph([node], "layer", [into], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT)
    return bytes(model.SerializeToString())
