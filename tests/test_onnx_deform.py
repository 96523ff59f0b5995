"""Deformable convolution against ONNX's own reference of DeformConv."""

from __future__ import annotations

import numpy as np
import pytest

from numbaconv import deform_conv2d

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")


@pytest.mark.parametrize(("groups", "parts", "stride", "padding"), [(1, 1, 1, 0), (1, 2, 2, 1), (1, 4, 1, 1)])
def test_onnx_reference(groups, parts, stride, padding):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 7, 6)), rng.standard_normal((3, 4 // groups, 3, 2))
    out = [(n + 2 * padding - k) // stride + 1 for n, k in zip((7, 6), (3, 2), strict=True)]
    offset = rng.standard_normal((2, 2 * parts * 6, *out))
    mask, b = rng.random((2, parts * 6, *out)), rng.standard_normal(3)
    node = onnx.helper.make_node(
        "DeformConv", ["X", "W", "O", "B", "M"], ["Y"], strides=[stride] * 2, pads=[padding] * 4, group=groups,
        offset_group=parts, kernel_shape=[3, 2],
    )  # fmt: skip
    x, w, offset, b, mask = (a.astype(np.float32) for a in (x, w, offset, b, mask))
    (expected,) = reference.ReferenceEvaluator(node).run(None, {"X": x, "W": w, "O": offset, "B": b, "M": mask})
    y = deform_conv2d(x, offset, w, b, stride, padding, mask=mask, groups=groups, offset_groups=parts)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
