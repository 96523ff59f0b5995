"""Layers whose kernels adapt: as the same formulas in PyTorch, and what layers have, from text to pickles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from test_deformable import in_torch
from test_nn import assert_derivatives

from numbaconv import nn

RNG = np.random.default_rng
SIZES = (7, 6, 5)
GEOMETRY = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
every_rank = pytest.mark.parametrize("rank", [1, 2, 3])


def layer_of(kind, rank, *sizes, **options):
    return getattr(nn, f"{kind}{rank}d")(*sizes, **options, dtype="float64", rng=1)


def in_torch_of(layer):
    torch = pytest.importorskip("torch")
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in layer.state_dict().items()}
    return torch, leaves


def assert_gradients(torch, layer, leaves, y, ty, inputs, dy):
    """Results, and what each `backward` left for parameters and inputs."""
    np.testing.assert_allclose(y, ty.detach(), rtol=1e-11, atol=1e-12)
    ty.backward(torch.tensor(dy))
    dx = layer.backward(dy)
    for got, leaf in zip(dx if isinstance(dx, tuple) else (dx,), inputs, strict=True):
        np.testing.assert_allclose(got, leaf.grad, rtol=1e-11, atol=1e-12)
    for name, parameter in layer.named_parameters():
        np.testing.assert_allclose(parameter.grad, leaves[name].grad, rtol=1e-10, atol=1e-12, err_msg=name)


@every_rank
def test_dynamic_as_torch(rank):
    layer = layer_of("DynamicConv", rank, 4, 6, 3, kernels=3, hidden=5, temperature=0.7, **GEOMETRY)
    torch, leaves = in_torch_of(layer)
    x = RNG(0).normal(size=(3, 4, *SIZES[:rank]))
    tx = torch.tensor(x, requires_grad=True)
    linear = torch.nn.functional.linear
    hidden = torch.relu(linear(tx.mean(dim=tuple(range(2, rank + 2))), leaves["attention.0.weight"],
                               leaves["attention.0.bias"]))  # fmt: skip
    shares = torch.softmax(linear(hidden, leaves["attention.2.weight"], leaves["attention.2.bias"]) / 0.7, 1)
    weight = torch.einsum("nk,ko...->no...", shares, leaves["weight"])
    bias = shares @ leaves["bias"]
    convolve = getattr(torch.nn.functional, f"conv{rank}d")
    ty = torch.stack([convolve(tx[n], weight[n], bias[n], **GEOMETRY) for n in range(3)])
    y = layer(x)
    assert_gradients(torch, layer, leaves, y, ty, [tx], RNG(2).normal(size=y.shape))


def test_dynamic_of_other_inputs():
    layer = nn.DynamicConv2d(4, 6, 3, padding=1, bias=False, rng=0)
    assert layer.bias is None and layer.hidden == 1 and layer.weight.shape == (4, 6, 4, 3, 3)
    x = RNG(0).integers(0, 9, (2, 4, 5, 5))
    assert layer(x.astype(np.uint8)).dtype == layer(x.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(layer(x[0].astype(np.float32)), layer(x)[0], rtol=1e-4, atol=1e-4)
    alone = layer_of("DynamicConv", 2, 2, 3, 3, padding="same", temperature=1)
    assert_derivatives(alone, alone.backward, RNG(0).normal(size=(2, 5, 4)), alone.parameters())
    alone.temperature = 1e-6  # the largest takes all
    shares = alone.attention(RNG(0).normal(size=(1, 2)))
    assert np.isfinite(alone(RNG(0).normal(size=(2, 5, 4)))).all() and shares.shape == (1, 4)


@every_rank
def test_local_as_its_derivatives(rank):
    layer = layer_of("LocallyConnected", rank, 4, 6, SIZES[:rank], 3, **GEOMETRY)
    assert_derivatives(layer, layer.backward, RNG(0).normal(size=(2, 4, *SIZES[:rank])), layer.parameters())


def test_local_as_torch():
    layer = layer_of("LocallyConnected", 2, 4, 6, (7, 6), 3, padding=1)
    torch, leaves = in_torch_of(layer)
    x = RNG(0).normal(size=(2, 4, 7, 6))
    tx = torch.tensor(x, requires_grad=True)
    columns = torch.nn.functional.unfold(tx, 3, padding=1)
    ty = torch.einsum("okp,nkp->nop", leaves["weight"].reshape(6, 36, 42), columns).reshape(2, 6, 7, 6) + leaves["bias"]
    y = layer(x)
    assert_gradients(torch, layer, leaves, y, ty, [tx], RNG(2).normal(size=y.shape))


@every_rank
@pytest.mark.parametrize("masked", [False, True])
def test_deform_as_torch(rank, masked):
    layer = layer_of("DeformConv", rank, 4, 6, 2, **GEOMETRY)
    torch, leaves = in_torch_of(layer)
    size, taps = [n // 2 + 1 for n in SIZES[:rank]], 2**rank
    arrays = [(3, 4, *SIZES[:rank]), (3, 2 * rank * taps, *size), (3, 2 * taps, *size)][: 3 if masked else 2]
    inputs = [RNG(i).normal(size=shape) for i, shape in enumerate(arrays)]
    tensors = [*(torch.tensor(array, requires_grad=True) for array in inputs), None][:3]
    ty = in_torch(torch, tensors[0], tensors[1], leaves["weight"], tensors[2], (2, 1, 1), 2, 2)
    ty = ty + leaves["bias"].reshape(-1, *(1,) * rank)
    y = layer(*inputs)
    dy = RNG(9).normal(size=y.shape)
    if not masked:
        assert layer.backward(dy).mask is None
        tensors.pop()
        whole, layer.backward = layer.backward, lambda dy: whole(dy)[:2]
    assert_gradients(torch, layer, leaves, y, ty, tensors, dy)


LAYERS = [
    (nn.DynamicConv2d, (4, 6, 3), {"kernels": 3}, ["weight", "bias", "attention.0.weight", "attention.0.bias",
                                                   "attention.2.weight", "attention.2.bias"]),
    (nn.LocallyConnected2d, (4, 6, 5, 3), {"bias": False}, ["weight"]),
    (nn.DeformConv2d, (4, 6, 3), {}, ["weight", "bias"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sizes", "options", "names"), LAYERS, ids=[kind.__name__ for kind, *_ in LAYERS])
def test_state_and_pickles(kind, sizes, options, names):
    layer, other = (kind(*sizes, **options, rng=seed) for seed in (0, 1))
    assert list(layer.state_dict()) == names
    x = RNG(0).normal(size=(2, 4, 5, 5)).astype("float32")
    inputs = (x, RNG(1).normal(size=(2, 18, 3, 3)).astype("float32"))[: 2 if kind is nn.DeformConv2d else 1]
    y = layer(*inputs)
    assert y.dtype == np.float32 and y.shape == (2, 6, 3, 3)
    assert not np.array_equal(other(*inputs), y)
    other.load_state_dict(layer.state_dict())
    for same in (other, pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(same(*inputs), y)
        assert repr(same) == repr(layer)
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        layer.eval().backward(y)


def test_refusals():
    with pytest.raises(ValueError, match="temperature must be a number above 0; got 0"):
        nn.DynamicConv2d(4, 6, 3, temperature=0)
    with pytest.raises(ValueError, match="kernels must be at least 1; got 0"):
        nn.DynamicConv2d(4, 6, 3, kernels=0)
    with pytest.raises(
        ValueError, match=r"x must have 4 dimensions, or 3 without N, and 4 channels; got shape \(5, 5\)"
    ):
        nn.DynamicConv2d(4, 6, 3)(np.ones((5, 5)))
    with pytest.raises(ValueError, match="no output along height"):
        nn.LocallyConnected2d(4, 6, 2, 3)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 4, 5, 5\); got \(1, 4, 6, 5\)"):
        nn.LocallyConnected2d(4, 6, 5, 3)(np.ones((1, 4, 6, 5)))
    with pytest.raises(ValueError, match="offset must have 4 dimensions and a multiple of 18 channels, 2 for each tap"):
        nn.DeformConv2d(4, 6, 3)(np.ones((1, 4, 5, 5)), np.ones((1, 17, 3, 3)))
    with pytest.raises(TypeError, match="dtype of DeformConv2d must be float32 or float64; got float16"):
        nn.DeformConv2d(4, 6, 3, dtype="float16")
