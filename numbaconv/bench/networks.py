"""The convolutions of ResNet-50 and MobileNetV2 for one image of 224x224: each different layer once, with its count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from numbaconv.bench.layers import Layer, square

# (width of the 3x3, blocks, stride of the first); He et al. 2015, the stride in the 3x3 as every framework has it.
RESNET50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))

# (expansion, channels, blocks, stride of the first); Sandler et al. 2018, table 2.
MOBILENET_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def resnet50() -> Iterator[Layer]:
    """All 53 convolutions, in order."""
    yield _layer("first", 3, 64, 224, 7, 2)
    channels, size = 64, 56
    for width, blocks, first_stride in RESNET50:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            yield _layer("1x1", channels, width, size, 1)
            yield _layer("3x3" if stride == 1 else "3x3 strided", width, width, size, 3, stride)
            yield _layer("1x1", width, 4 * width, size // stride, 1)
            if block == 0:
                yield _layer("1x1" if stride == 1 else "1x1 strided", channels, 4 * width, size, 1, stride)
            channels, size = 4 * width, size // stride


def mobilenet_v2() -> Iterator[Layer]:
    """All 52 convolutions, in order."""
    yield _layer("first", 3, 32, 224, 3, 2)
    channels, size = 32, 112
    for expansion, width, blocks, first_stride in MOBILENET_V2:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            wide = channels * expansion
            if expansion > 1:
                yield _layer("1x1", channels, wide, size, 1)
            yield _layer("depthwise", wide, wide, size, 3, stride, wide)
            yield _layer("1x1", wide, width, size // stride, 1)
            channels, size = width, size // stride
    yield _layer("1x1", channels, 1280, size, 1)


def unique(network: Callable[[], Iterator[Layer]]) -> list[Layer]:
    """The different layers of a network, in order of their first place, with their counts."""
    return [replace(layer, count=count) for layer, count in Counter(network()).items()]


NETWORKS = {"ResNet-50": resnet50, "MobileNetV2": mobilenet_v2}


def _layer(kind: str, into: int, out: int, size: int, kernel: int, stride: int = 1, groups: int = 1) -> Layer:
    step = f" /{stride}" if stride > 1 else ""
    what = f"{out}" if groups == out else f"{into} -> {out}"
    depthwise = " dw" if groups == out else ""
    name = f"{kernel}x{kernel}{depthwise}{step}  {what}  @ {size}x{size}"
    return square(name, kind, (into, out), size, kernel, stride, groups)
