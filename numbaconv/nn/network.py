"""What stands between and after convolutions: `ReLU`, `Flatten`, `Linear`, and `Sequential` to stack them all."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import Array, as_array
from numbaconv.nn import init
from numbaconv.nn.module import Module, Parameter
from numbaconv.problem import per_axis


class Sequential(Module):
    """Layers one after the other; names and text are those of ``torch.nn.Sequential``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv.nn import Conv2d
    >>> network = Sequential(Conv2d(1, 4, 3), ReLU(), Flatten(), Linear(4 * 6 * 6, 10))
    >>> network(np.ones((2, 1, 8, 8))).shape
    (2, 10)
    >>> [name for name, _ in network.named_parameters()]
    ['0.weight', '0.bias', '3.weight', '3.bias']
    """

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(f"layers[{i}] must be a Module; got {type(layer).__name__}")
        self.layers = layers

    def named_children(self) -> Iterator[tuple[str, Module]]:
        for i, layer in enumerate(self.layers):
            yield str(i), layer

    def __getitem__(self, i: SupportsIndex) -> Module:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def forward(self, x: npt.ArrayLike) -> Array:
        y = as_array("x", x)
        for layer in self.layers:
            y = layer(y)
        return y

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        gradient = as_array("grad_output", grad_output)
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient


class ReLU(Module):
    """max(x, 0), element by element; NaN stays."""

    def forward(self, x: npt.ArrayLike) -> Array:
        y: Array = np.maximum(as_array("x", x), 0)
        self.keep(y)
        return y

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        y = self.kept()
        return np.where(y <= 0, y.dtype.type(0), as_array("grad_output", grad_output))


class Flatten(Module):
    """(N, ...) to (N, product of the rest)."""

    def forward(self, x: npt.ArrayLike) -> Array:
        data = as_array("x", x)
        self.keep(data.shape)
        return data.reshape(len(data), prod(data.shape[1:]))

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        return as_array("grad_output", grad_output).reshape(self.kept())

    def extra_repr(self) -> str:
        return "start_dim=1, end_dim=-1"


class Linear(Module):
    """x @ weight.T + bias over the last axis, as ``torch.nn.Linear``, first weights included."""

    def __init__(
        self,
        in_features: SupportsIndex,
        out_features: SupportsIndex,
        bias: bool = True,
        dtype: npt.DTypeLike | None = None,
        *,
        rng: init.Rng = None,
    ) -> None:
        (self.in_features,) = per_axis("in_features", in_features, 1, least=1)
        (self.out_features,) = per_axis("out_features", out_features, 1, least=1)
        dtype, rng = np.dtype(np.float32 if dtype is None else dtype), np.random.default_rng(rng)
        self.weight = Parameter(np.empty((self.out_features, self.in_features), dtype))
        self.bias = Parameter(np.empty(self.out_features, dtype)) if bias else None
        init.kaiming_uniform_(self.weight, a=5**0.5, rng=rng)
        if self.bias is not None:
            init.uniform_(self.bias, -(self.in_features**-0.5), self.in_features**-0.5, rng=rng)

    def forward(self, x: npt.ArrayLike) -> Array:
        data = as_array("x", x)
        if data.shape[-1:] != (self.in_features,):
            raise ValueError(f"x must have {self.in_features} features along its last axis; got shape {data.shape}")
        self.keep(data)
        y: Array = data @ self.weight.data.T
        return y if self.bias is None else y + self.bias.data

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        rows = self.kept().reshape(-1, self.in_features)
        given = as_array("grad_output", grad_output)
        dy = given.reshape(-1, self.out_features)
        self.weight.keep(dy.T @ rows)
        if self.bias is not None:
            self.bias.keep(dy.sum(axis=0))
        dx: Array = given @ self.weight.data
        return dx

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"
