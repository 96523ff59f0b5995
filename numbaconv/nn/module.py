"""`Module`: what all layers have in common, from the names of their parameters to how they print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import Array


@dataclass(slots=True, eq=False)
class Parameter:
    """An array that is learnt, and the gradient that the last `backward` left for it.

    NumPy's functions, and those of numbaconv, take it in place of its ``data``, which they read without a copy.
    """

    data: Array
    grad: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the data."""
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the data; `keep` casts gradients to it."""
        return self.data.dtype

    def keep(self, grad: Array | None) -> None:
        """Replace the gradient: nothing is summed over calls, so that nothing needs to be set to zero."""
        self.grad = None if grad is None else grad.astype(self.data.dtype, copy=False)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self.data, dtype, copy=copy)


class Module:
    """A layer, or a stack of them: attributes that are a `Parameter` or a `Module` are its own, in their order.

    While ``training`` is true, `forward` keeps a reference to what `backward` will need, usually the input; edit that
    in between, and the gradients are of the edited array. After `eval` nothing is kept, and threads may share it.
    """

    training = True
    _kept: Any = None

    def forward(self, x: npt.ArrayLike) -> Array:
        """The result for ``x``; calling the layer is the same."""
        raise NotImplementedError

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        """The gradient for the input of the last `forward`, given that for its result; parameters keep theirs."""
        raise NotImplementedError

    def __call__(self, x: npt.ArrayLike, *args: Any, **options: Any) -> Array:
        return self.forward(x, *args, **options)

    def keep(self, value: Any) -> None:
        """Remember ``value`` for `backward`, if there is to be one."""
        self._kept = value if self.training else None

    def kept(self) -> Any:
        """What `forward` remembered."""
        if self._kept is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it, with training=True; "
                f"here training={self.training}"
            )
        return self._kept

    # ---- parameters ------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, by the names of their attributes."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside; names are joined by dots, and this one's is ``prefix``."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Those of this module alone."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Those of all modules inside too, by PyTorch's names: ``weight``, ``0.bias``, ..."""
        for prefix, module in self.named_modules():
            for name, parameter in module.own_parameters():
                yield f"{prefix}.{name}" if prefix else name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """The parameters without their names, for an optimiser."""
        for _, parameter in self.named_parameters():
            yield parameter

    def state_dict(self) -> dict[str, Array]:
        """The arrays by name, not copied: ``numpy.savez(path, **module.state_dict())`` is a checkpoint."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy arrays into the parameters of the same names: a dict of arrays or of CPU tensors, or an ``.npz`` file.

        Raises
        ------
        KeyError
            A name is missing, or is not one of this module's.
        ValueError, TypeError
            An array of another shape, or whose kind of dtype does not cast. Nothing is changed then.
        """
        arrays = {name: np.asarray(state[name]) for name in state}
        for prefix, module in self.named_modules():
            lead = f"{prefix}." if prefix else ""
            module.meet({name[len(lead) :]: a.shape for name, a in arrays.items() if name.startswith(lead)})
        own = dict(self.named_parameters())
        if own.keys() != arrays.keys():
            raise KeyError(
                f"state must have the names {sorted(own)}; missing are {sorted(own.keys() - arrays.keys())}, unknown "
                f"{sorted(arrays.keys() - own.keys())}"
            )
        for name, array in arrays.items():
            if array.shape != own[name].shape:
                raise ValueError(f"{name} must have shape {own[name].shape}; got {array.shape}")
            if not np.can_cast(array.dtype, own[name].dtype, "same_kind"):
                raise TypeError(f"{name} has dtype {array.dtype}, which does not cast to {own[name].dtype} (same_kind)")
        for name, array in arrays.items():
            own[name].data[...] = array

    def meet(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Learn the shapes of the arrays about to be loaded; only lazy layers need to."""

    def train(self, mode: bool = True) -> Self:
        """Set ``training`` here and in all modules inside."""
        for _, module in self.named_modules():
            module.training, module._kept = bool(mode), None
        return self

    def eval(self) -> Self:
        """``train(False)``: keep no inputs."""
        return self.train(False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    # ---- printing --------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses."""
        return ""

    def __repr__(self) -> str:
        own = self.extra_repr()
        inside = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        body = own if not inside else "\n  " + "\n  ".join([own] * bool(own) + inside) + "\n"
        return f"{type(self).__name__}({body})"
