"""Layers over the convolutions and their gradients, with PyTorch's names, and what a small network needs to train.

Each layer's `forward` keeps what its `backward` needs: the gradient for its result goes in, the gradient for its input
comes out, and those of its parameters stay with them, for an optimiser's `step`.
"""

from __future__ import annotations

from numbaconv.nn import init
from numbaconv.nn.adaptive import (
    DeformConv1d,
    DeformConv2d,
    DeformConv3d,
    DynamicConv1d,
    DynamicConv2d,
    DynamicConv3d,
    LocallyConnected1d,
    LocallyConnected2d,
    LocallyConnected3d,
)
from numbaconv.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    LazyConv1d,
    LazyConv2d,
    LazyConv3d,
    LazyConvTranspose1d,
    LazyConvTranspose2d,
    LazyConvTranspose3d,
)
from numbaconv.nn.loss import cross_entropy, mse_loss
from numbaconv.nn.module import Module, Parameter
from numbaconv.nn.network import Flatten, Linear, ReLU, Sequential
from numbaconv.nn.optimisers import SGD, Adam

__all__ = [
    "SGD",
    "Adam",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DeformConv1d",
    "DeformConv2d",
    "DeformConv3d",
    "DynamicConv1d",
    "DynamicConv2d",
    "DynamicConv3d",
    "Flatten",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "Linear",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "LocallyConnected3d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "cross_entropy",
    "init",
    "mse_loss",
]
