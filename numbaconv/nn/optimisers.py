"""Steps down the gradient, by PyTorch's formulas: g is ``grad + weight_decay*data``, t counts the steps from 1.

    SGD     v = momentum*v + g;                                   data -= lr*v
    Adam    m = b1*m + (1-b1)*g;  s = b2*s + (1-b2)*g**2;         data -= lr * m/(1-b1**t) / (sqrt(s/(1-b2**t)) + eps)

Adam: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015. ``lr`` may be changed between steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from numbaconv.arrays import Array
from numbaconv.nn.module import Parameter


class Optimiser:
    """The parameters that it changes, and its learning rate; a parameter without a gradient is left alone."""

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        for i, parameter in enumerate(self.parameters):
            if not isinstance(parameter, Parameter):
                raise TypeError(f"parameters[{i}] must be a Parameter; got {type(parameter).__name__}")
        self.lr, self.weight_decay = _at_least_0("lr", lr), _at_least_0("weight_decay", weight_decay)

    def gradients(self) -> Iterator[tuple[int, Parameter, Array]]:
        """(number, parameter, g) of each that has a gradient."""
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                yield i, parameter, parameter.grad + self.weight_decay * parameter.data


class SGD(Optimiser):
    """Stochastic gradient descent with momentum.

    Examples
    --------
    >>> import numpy as np
    >>> p = Parameter(np.array([1.0]), grad=np.array([2.0]))
    >>> SGD([p], lr=0.25).step()
    >>> p.data
    array([0.5])
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum = _at_least_0("momentum", momentum)
        self._velocity = [np.zeros_like(p.data) for p in self.parameters]

    def step(self) -> None:
        """Change every parameter once."""
        for i, parameter, g in self.gradients():
            self._velocity[i] = self.momentum * self._velocity[i] + g
            parameter.data -= self.lr * self._velocity[i]


class Adam(Optimiser):
    """Steps of a size that the gradient's own spread decides."""

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        b1, b2 = betas
        if not (0 <= b1 < 1 and 0 <= b2 < 1):
            raise ValueError(f"betas must be two numbers from 0 to below 1; got {betas!r}")
        self.betas, self.eps = (b1, b2), _at_least_0("eps", eps)
        self._moments = [(np.zeros_like(p.data), np.zeros_like(p.data), 0) for p in self.parameters]

    def step(self) -> None:
        """Change every parameter once."""
        b1, b2 = self.betas
        for i, parameter, g in self.gradients():
            m, s, t = self._moments[i]
            m, s, t = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g * g, t + 1
            self._moments[i] = m, s, t
            parameter.data -= self.lr * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + self.eps)


def _at_least_0(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0; got {value!r}")
    return float(value)
