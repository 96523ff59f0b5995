"""First values of weights: fillers with the names and formulas of ``torch.nn.init``, and a ``rng`` in each.

The first axis of a weight is taken for its outputs: fan in = shape[1]*taps, fan out = shape[0]*taps. Each filler
writes into the array or `Parameter` that it is given, and returns it.

    Xavier      Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010
    Kaiming     He et al., "Delving Deep into Rectifiers", 2015
    orthogonal  Saxe et al., "Exact solutions to the nonlinear dynamics of learning ...", 2013, arXiv:1312.6120
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Any, TypeVar

import numpy as np

from numbaconv.arrays import Array
from numbaconv.nn.module import Parameter

Rng = np.random.Generator | int | None
Weight = TypeVar("Weight", Array, Parameter)

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor that keeps the variance through a nonlinearity; ``param`` is the slope of 'leaky_relu', 0.01 by default.

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        return sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ValueError(f"nonlinearity must be one of {', '.join((*GAINS, 'leaky_relu'))}; got {nonlinearity!r}")
    return GAINS[nonlinearity]


def uniform_(weight: Weight, a: float = 0.0, b: float = 1.0, rng: Rng = None) -> Weight:
    """Uniform between ``a`` and ``b``."""
    return _fill(weight, np.random.default_rng(rng).uniform(a, b, _shape(weight)))


def normal_(weight: Weight, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> Weight:
    """Normal, of this mean and standard deviation."""
    return _fill(weight, np.random.default_rng(rng).normal(mean, std, _shape(weight)))


def xavier_uniform_(weight: Weight, gain: float = 1.0, rng: Rng = None) -> Weight:
    """Uniform, of standard deviation gain*sqrt(2/(fan in + fan out))."""
    reach = sqrt(3) * gain * sqrt(2 / sum(_fans(weight)))
    return uniform_(weight, -reach, reach, rng)


def xavier_normal_(weight: Weight, gain: float = 1.0, rng: Rng = None) -> Weight:
    """Normal, of standard deviation gain*sqrt(2/(fan in + fan out))."""
    return normal_(weight, 0.0, gain * sqrt(2 / sum(_fans(weight))), rng)


def kaiming_uniform_(
    weight: Weight, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: Rng = None
) -> Weight:
    """Uniform, of standard deviation gain/sqrt(fan); ``a`` is the slope of 'leaky_relu'."""
    reach = sqrt(3) * calculate_gain(nonlinearity, a) / sqrt(_fan(weight, mode))
    return uniform_(weight, -reach, reach, rng)


def kaiming_normal_(
    weight: Weight, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: Rng = None
) -> Weight:
    """Normal, of standard deviation gain/sqrt(fan); ``a`` is the slope of 'leaky_relu'."""
    return normal_(weight, 0.0, calculate_gain(nonlinearity, a) / sqrt(_fan(weight, mode)), rng)


def orthogonal_(weight: Weight, gain: float = 1.0, rng: Rng = None) -> Weight:
    """Rows (or columns, if they are fewer) of the flattened weight orthogonal, of length ``gain``.

    >>> import numpy as np
    >>> w = orthogonal_(np.empty((4, 2, 3)), rng=0).reshape(4, 6)
    >>> np.allclose(w @ w.T, np.eye(4))
    True
    """
    shape = _shape(weight, least=2)
    rows, columns = shape[0], prod(shape[1:])
    q, r = np.linalg.qr(np.random.default_rng(rng).normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1, 1)  # so that all orthogonal matrices are equally likely (Mezzadri, 2007)
    return _fill(weight, gain * (q if rows >= columns else q.T).reshape(shape))


def dirac_(weight: Weight, groups: int = 1) -> Weight:
    """A convolution that passes as many channels of each group as it can unchanged.

    >>> import numpy as np
    >>> dirac_(np.empty((2, 2, 3)))
    array([[[0., 1., 0.],
            [0., 0., 0.]],
    <BLANKLINE>
           [[0., 0., 0.],
            [0., 1., 0.]]])
    """
    outer, inner, *kernel = shape = _shape(weight, least=3)
    if groups < 1 or outer % groups:
        raise ValueError(f"groups must divide the first axis of the weight, {outer}; got {groups}")
    values = np.zeros(shape)
    middle: tuple[int, ...] = tuple(k // 2 for k in kernel)
    for first in range(0, outer, outer // groups):
        for c in range(min(outer // groups, inner)):
            values[(first + c, c, *middle)] = 1
    return _fill(weight, values)


def _shape(weight: Any, least: int = 0) -> tuple[int, ...]:
    if not isinstance(weight, np.ndarray | Parameter):
        raise TypeError(f"weight must be an array or a Parameter, to be written to; got {type(weight).__name__}")
    if len(weight.shape) < least:
        raise ValueError(f"weight must have at least {least} dimensions; got shape {weight.shape}")
    return weight.shape


def _fill(weight: Weight, values: Array) -> Weight:
    (weight.data if isinstance(weight, Parameter) else weight)[...] = values
    return weight


def _fans(weight: Any) -> tuple[int, int]:
    """(fan in, fan out)."""
    outer, inner, *kernel = _shape(weight, least=2)
    return inner * prod(kernel), outer * prod(kernel)


def _fan(weight: Any, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out'; got {mode!r}")
    return _fans(weight)[mode == "fan_out"]
