"""ONNX, where it is installed: its own tests of the quantised operators, and ONNX Runtime on many more shapes."""

from __future__ import annotations

import numpy as np
import pytest

from numbaconv.quantized import conv_integer, plan_qlinear_conv, qlinear_conv

pytest.importorskip("onnx")
from onnx import TensorProto, helper
from onnx.backend.test.case import node
from onnx.backend.test.case.node import convinteger, qlinearconv  # noqa: F401  # importing makes their test cases

OPERATORS = {"ConvInteger": conv_integer, "QLinearConv": qlinear_conv}
ORDER = {"ConvInteger": ("x", "w", "x_zero_point", "w_zero_point")}  # QLinearConv's inputs are in ONNX's order
NODE_TESTS = {
    case.name: case for case in node._NodeTestCases if case.model.graph.node[0].op_type in OPERATORS
}  # the two modules', whatever else has been imported

# x, w, attributes
LAYERS = {
    "1x1": ((1, 64, 14, 14), (32, 64, 1, 1), {}),
    "3x3": ((2, 16, 13, 11), (24, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    "strided, pads of four sizes": ((1, 8, 15, 16), (8, 8, 3, 5), {"pads": [0, 1, 2, 3], "strides": [2, 3]}),
    "dilated": ((1, 4, 12, 12), (4, 4, 3, 3), {"dilations": [2, 3]}),
    "groups": ((1, 12, 9, 9), (8, 3, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "depthwise": ((1, 32, 10, 10), (32, 1, 3, 3), {"group": 32, "auto_pad": "SAME_UPPER"}),
    "same upper": ((1, 3, 10, 11), (4, 3, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((1, 3, 10, 11), (4, 3, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((1, 3, 10, 11), (4, 3, 4, 3), {"auto_pad": "VALID"}),
    "1-D": ((2, 5, 40), (6, 5, 7), {"pads": [3, 2]}),
    "3-D": ((1, 3, 5, 6, 7), (4, 3, 2, 3, 3), {"pads": [1, 1, 0, 0, 1, 2]}),
    "more than float32 holds": ((1, 512, 7, 7), (16, 512, 3, 3), {"pads": [1, 1, 1, 1]}),
}


@pytest.mark.parametrize("name", NODE_TESTS)
def test_its_own_tests(name):
    case = NODE_TESTS[name]
    operator = case.model.graph.node[0]
    attributes = {a.name: helper.get_attribute_value(a) for a in operator.attribute}
    for inputs, (expected,) in case.data_sets:
        if operator.op_type == "ConvInteger":
            y = conv_integer(**dict(zip(ORDER["ConvInteger"], inputs, strict=False)), **attributes)
        else:
            y = qlinear_conv(*inputs, **attributes)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)


def test_there_are_such_tests():
    assert {case.model.graph.node[0].op_type for case in NODE_TESTS.values()} == set(OPERATORS)


def run(operator, inputs, result, attributes):
    """ONNX Runtime's result."""
    onnxruntime = pytest.importorskip("onnxruntime")
    types = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32,
             "float32": TensorProto.FLOAT}  # fmt: skip
    names = [f"i{i}" for i in range(len(inputs))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)], "one",
        [helper.make_tensor_value_info(n, types[a.dtype.name], a.shape) for n, a in zip(names, inputs, strict=True)],
        [helper.make_tensor_value_info("y", types[result], None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def arrays(name, x_dtype, w_dtype):
    x_shape, w_shape, attributes = LAYERS[name]
    rng = np.random.default_rng(len(name))
    x, w = (
        rng.integers(np.iinfo(d).min, np.iinfo(d).max, s, d, endpoint=True)
        for d, s in ((x_dtype, x_shape), (w_dtype, w_shape))
    )
    return rng, x, w, attributes


@pytest.mark.parametrize("w_dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", LAYERS)
def test_conv_integer_as_onnx_runtime(name, w_dtype):
    _, x, w, attributes = arrays(name, "uint8", w_dtype)
    zeros = np.uint8(131), np.array(7, w_dtype)
    theirs = run("ConvInteger", [x, w, *map(np.asarray, zeros)], "int32", attributes)
    np.testing.assert_array_equal(conv_integer(x, w, *zeros, **attributes), theirs)


@pytest.mark.parametrize("dtypes", ["uint8 uint8", "uint8 int8", "int8 int8"])
@pytest.mark.parametrize("each", [False, True], ids=["one scale", "a scale for each filter"])
@pytest.mark.parametrize("name", LAYERS)
def test_qlinear_conv_as_onnx_runtime(name, each, dtypes):
    x_dtype, w_dtype = dtypes.split()
    rng, x, w, attributes = arrays(name, x_dtype, w_dtype)
    if w_dtype == "int8":  # without VNNI it saturates sums of two products of uint8 and int8 at 16 bits
        w >>= 1
    filters = len(w)
    w_scale = rng.uniform(0.01, 0.02, filters if each else ()).astype("float32")
    w_zero = np.full(w_scale.shape, 0 if w_dtype == "int8" else 128, w_dtype)
    y_scale = np.float32(0.02 * 0.015 * x.std() * w.std() * np.sqrt(w[0].size) / 30)
    b = rng.integers(-5000, 5000, filters, "int32")
    zeros = np.array([120, 100], "uint8") if x_dtype == "uint8" else np.array([-8, -28], "int8")
    inputs = (x, np.float32(0.02), zeros[0], w, w_scale, w_zero, y_scale, zeros[1], b)
    y = qlinear_conv(*inputs, **attributes)
    np.testing.assert_array_equal(plan_qlinear_conv(x.shape, *inputs[1:], **attributes)(x), y)
    theirs = run("QLinearConv", [np.asarray(a) for a in inputs], x_dtype, attributes)
    assert y.dtype == theirs.dtype and np.ptp(y.astype(int)) > 80  # so that it says something
    # It scales in float32: next to a tie it may round to the other side. There, and only there, do results differ.
    of_filters = (-1, *[1] * (x.ndim - 2))
    scale = np.reshape(np.float64(inputs[1]) * w_scale / y_scale, of_filters)
    exact = (conv_integer(x, w, inputs[2], w_zero, **attributes) + b.reshape(of_filters)) * scale
    near = np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 4 * 2.0**-24 * np.maximum(np.abs(exact), 1)
    np.testing.assert_array_equal(y[~near], theirs[~near])
    assert (np.abs(y.astype(int) - theirs) <= 1).all()
