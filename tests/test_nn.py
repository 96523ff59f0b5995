"""Layers: their gradients are derivatives, their numbers, names and text PyTorch's, and what they refuse they name."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from numbaconv import nn

RNG = np.random.default_rng
LAYERS = [
    ("Conv1d", (4, 6, 3), {"padding": "same", "dilation": 2}, (9,)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "groups": 2}, (7, 8)),
    ("Conv2d", (4, 6, 3), {"padding": (1, 2), "padding_mode": "reflect", "bias": False}, (5, 6)),
    ("Conv1d", (4, 6, 4), {"padding": "same", "padding_mode": "replicate"}, (7,)),
    ("Conv2d", (4, 6, 3), {"padding": 2, "padding_mode": "circular", "stride": 2}, (5, 6)),
    ("Conv2d", (4, 6, 1), {"bias": False, "padding": "valid"}, (5, 5)),
    ("Conv3d", (2, 3, 2), {"padding": 1, "stride": 2}, (4, 5, 4)),
    ("ConvTranspose1d", (4, 6, 4), {"stride": 3, "padding": 1, "output_padding": 1}, (6,)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "groups": 2, "dilation": (1, 2)}, (4, 3)),
    ("ConvTranspose3d", (2, 3, 2), {"stride": 2, "bias": False}, (2, 3, 2)),
]
every_layer = pytest.mark.parametrize(
    ("name", "sizes", "options", "size"), LAYERS, ids=[f"{n}-{'-'.join(o)}" for n, _, o, _ in LAYERS]
)


def layer_of(name, sizes, options):
    return getattr(nn, name)(*sizes, **options, dtype="float64", rng=1)


def assert_derivatives(forward, backward, x, parameters):
    """The gradients against differences of sum(forward(x) * dy) along a random direction of each array."""
    rng = RNG(2)
    dy = rng.normal(size=forward(x).shape)
    dx = backward(dy)
    for array, gradient in [(x, dx), *((p.data, p.grad) for p in parameters)]:
        direction, step = rng.normal(size=array.shape), 1e-5
        assert gradient.shape == array.shape
        here = array.copy()
        array[...] = here + step * direction
        above = (forward(x) * dy).sum()
        array[...] = here - step * direction
        below = (forward(x) * dy).sum()
        array[...] = here
        np.testing.assert_allclose((above - below) / (2 * step), (gradient * direction).sum(), rtol=1e-6, atol=1e-7)


@every_layer
@pytest.mark.parametrize("batch", [(2,), ()], ids=["batch", "alone"])
def test_gradients_are_derivatives(name, sizes, options, size, batch):
    layer = layer_of(name, sizes, options)
    assert_derivatives(layer, layer.backward, RNG(0).normal(size=(*batch, sizes[0], *size)), layer.parameters())


@every_layer
def test_as_torch(name, sizes, options, size):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(*sizes, **options, dtype=torch.float64)
    ours = layer_of(name, sizes, options)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = RNG(0).normal(size=(2, sizes[0], *size))
    tx = torch.tensor(x, requires_grad=True)
    y, ty = ours(x), theirs(tx)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-11, atol=1e-12)
    dy = RNG(1).normal(size=y.shape)
    ty.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(ours.backward(dy), tx.grad.numpy(), rtol=1e-11, atol=1e-12)
    for (ours_name, parameter), (their_name, their) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert ours_name == their_name
        np.testing.assert_allclose(parameter.grad, their.grad.numpy(), rtol=1e-11, atol=1e-12)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in layer_of(name, sizes, options).state_dict().items()})


@every_layer
@pytest.mark.parametrize("batch", [(2,), ()], ids=["batch", "alone"])
def test_channels_last(name, sizes, options, size, batch):
    """The same layer, but for where the channels of its arrays are."""
    order = f"N{'DHW'[-len(size) :]}C"
    first = layer_of(name, sizes, options)
    for last in (
        layer_of(name, sizes, options | {"dimension_numbers": order}),
        getattr(nn, f"Lazy{name}")(*sizes[1:], **options, dimension_numbers=order, dtype="float64", rng=1),
    ):
        x = RNG(0).normal(size=(*batch, sizes[0], *size))
        y = first(x)
        z = last(np.moveaxis(x, -len(size) - 1, -1))
        assert f"dimension_numbers={order}" in repr(last) and last.weight.shape == first.weight.shape
        np.testing.assert_allclose(np.moveaxis(z, -1, -len(size) - 1), y, rtol=1e-11, atol=1e-12)
        dx = first.backward(y)
        dz = last.backward(z)
        np.testing.assert_allclose(np.moveaxis(dz, -1, -len(size) - 1), dx, rtol=1e-10, atol=1e-11)
        for a, b in zip(last.parameters(), first.parameters(), strict=True):
            np.testing.assert_allclose(a.grad, b.grad, rtol=1e-10, atol=1e-11)


def test_channels_last_of_an_output_size():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, dimension_numbers="NHWC", dtype="float64", rng=0)
    x = RNG(0).normal(size=(2, 4, 5, 2))
    assert layer(x, output_size=(8, 9)).shape == (2, 8, 9, 3)
    assert_derivatives(lambda a: layer(a, output_size=(8, 9)), layer.backward, x, layer.parameters())


def test_what_layers_take_no_order_of():
    with pytest.raises(TypeError, match="one string for x and result, as 'NHWC'; got"):
        nn.Conv2d(2, 3, 3, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    with pytest.raises(ValueError, match="4 distinct letters"):
        nn.Conv2d(2, 3, 3, dimension_numbers="NWC")


@every_layer
def test_lazy_layers(name, sizes, options, size):
    lazy = getattr(nn, f"Lazy{name}")(*sizes[1:], **options, dtype="float64", rng=1)
    known = layer_of(name, sizes, options)
    assert repr(lazy) == "Lazy" + repr(known).replace(f"({sizes[0]}, ", "(0, ", 1)
    with pytest.raises(RuntimeError, match="call it once"):
        list(lazy.parameters())
    again = pickle.loads(pickle.dumps(lazy))
    x = RNG(0).normal(size=(2, sizes[0], *size))
    np.testing.assert_array_equal(lazy(x), known(x))
    assert type(lazy) is type(known)
    assert repr(lazy) == repr(known)
    np.testing.assert_array_equal(lazy.backward(known(x)), known.backward(known(x)))
    again.load_state_dict(known.state_dict())  # its in_channels come from the arrays
    assert type(again) is type(known)
    np.testing.assert_array_equal(again(x), known(x))


def test_output_size():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, dtype="float64", rng=0)
    x = RNG(0).normal(size=(2, 2, 4, 5))
    assert layer(x, output_size=(8, 9)).shape == (2, 3, 8, 9)
    assert_derivatives(lambda a: layer(a, output_size=(8, 9)), layer.backward, x, layer.parameters())


@pytest.mark.parametrize(
    ("name", "padding"), [("Conv2d", ((2, 0), (-1, 1))), ("Conv2d", "full"), ("ConvTranspose2d", "same")]
)
def test_paddings_that_torch_has_not(name, padding):
    layer = getattr(nn, name)(2, 3, 3, stride=2, padding=padding, dtype="float64", rng=0)
    assert f"padding={padding}" in repr(layer)
    assert_derivatives(layer, layer.backward, RNG(0).normal(size=(2, 2, 5, 6)), layer.parameters())


def network(rng=0, dtype="float64"):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, dtype=dtype, rng=rng),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 3, 3, stride=2, dtype=dtype, rng=rng), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(27, 5, dtype=dtype, rng=rng),
    )


def torch_network(torch):
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Sequential(torch.nn.Conv2d(4, 3, 3, stride=2), torch.nn.ReLU()),
        torch.nn.Flatten(),
        torch.nn.Linear(27, 5),
    ).double()


def test_network_gradients():
    net = network()
    assert_derivatives(net, net.backward, RNG(0).normal(size=(3, 1, 8, 8)), net.parameters())


@pytest.mark.parametrize(
    ("name", "options"), [("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}), ("Adam", {"weight_decay": 0.01})]
)
def test_training_as_torch(name, options):
    """Five steps from the same weights end at the same weights."""
    torch = pytest.importorskip("torch")
    theirs, ours = torch_network(torch), network()
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    step, their_step = (
        getattr(nn, name)(ours.parameters(), **options),
        getattr(torch.optim, name)(theirs.parameters(), **options),
    )
    x, target = RNG(0).normal(size=(6, 1, 8, 8)), RNG(1).integers(0, 5, 6)
    for _ in range(5):
        loss, gradient = nn.cross_entropy(ours(x), target)
        ours.backward(gradient)
        step.step()
        their_step.zero_grad()
        their_loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(target))
        their_loss.backward()
        their_step.step()
        np.testing.assert_allclose(loss, their_loss.item(), rtol=1e-9)
    for key, array in ours.state_dict().items():
        np.testing.assert_allclose(array, theirs.state_dict()[key].numpy(), rtol=1e-7, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("target", [np.array([1, 0]), np.array([3, 3])])
def test_cross_entropy(target):
    x = RNG(0).normal(size=(2, 4)) * 5 + [[0], [1000]]  # the second row would overflow exp
    _, gradient = nn.cross_entropy(x, target)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-4
        slope = (nn.cross_entropy(x + step, target)[0] - nn.cross_entropy(x - step, target)[0]) / 2e-4
        assert abs(slope - gradient[i]) < 1e-6


def test_checkpoints(tmp_path):
    one, other = network(rng=0, dtype="float32"), network(rng=1, dtype="float32")
    x = RNG(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "net.npz", **one.state_dict())
    with np.load(tmp_path / "net.npz") as arrays:
        other.load_state_dict(arrays)
    np.testing.assert_array_equal(one(x), other(x))
    copy = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one(x), copy(x))
    assert len(pickle.dumps(copy)) == len(pickle.dumps(one))  # inputs that were kept are not pickled
    assert copy(x).dtype == np.float32


def test_bad_state_changes_nothing():
    layer = nn.Conv1d(2, 3, 3, rng=0)
    before = {name: array.copy() for name, array in layer.state_dict().items()}
    weight, bias = np.zeros((3, 2, 3)), np.zeros(3)
    for error, state in (
        (KeyError, {"weight": weight}),
        (KeyError, {"weight": weight, "bias": bias, "scale": bias}),
        (ValueError, {"weight": weight, "bias": np.zeros(4)}),
        (TypeError, {"weight": weight, "bias": bias + 0j}),
    ):
        with pytest.raises(error, match="bias"):
            layer.load_state_dict(state)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_eval_keeps_nothing():
    net = network().eval()
    y = net(np.ones((1, 1, 8, 8)))
    with pytest.raises(RuntimeError, match="training=False"):
        net.backward(y)
    np.testing.assert_array_equal(net.train()(np.ones((1, 1, 8, 8))), y)


def test_first_weights():
    """Uniform within 1/sqrt(fan in), reproducible by rng, float32."""
    layer = nn.Conv2d(16, 32, 3, groups=2, rng=0)
    reach = (8 * 9) ** -0.5
    for parameter in layer.parameters():
        assert parameter.dtype == np.float32
        assert 0.9 * reach < abs(parameter.data).max() <= np.float32(reach)
    np.testing.assert_array_equal(layer.weight, nn.Conv2d(16, 32, 3, groups=2, rng=0).weight)
    assert (layer.weight.data != nn.Conv2d(16, 32, 3, groups=2, rng=1).weight.data).any()


@pytest.mark.parametrize(
    ("name", "options", "std"),
    [
        ("xavier_uniform_", {"gain": 2.0}, 2 * (2 / (40 * 9 + 60 * 9)) ** 0.5),
        ("xavier_normal_", {}, (2 / (40 * 9 + 60 * 9)) ** 0.5),
        ("kaiming_uniform_", {"a": 0.5}, (2 / 1.25 / 360) ** 0.5),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, (2 / 540) ** 0.5),
    ],
)
def test_init_spread(name, options, std):
    w = getattr(nn.init, name)(np.empty((60, 40, 3, 3)), **options, rng=0)
    np.testing.assert_allclose(w.std(), std, rtol=0.02)
    assert abs(w.mean()) < std / 30
    if "uniform" in name:
        assert abs(w).max() <= std * 3**0.5


@pytest.mark.parametrize("shape", [(4, 3, 3), (20, 2, 3)])
def test_orthogonal(shape):
    w = nn.init.orthogonal_(np.empty(shape), gain=2.0, rng=0).reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


@pytest.mark.parametrize(("shape", "groups"), [((6, 2, 3), 3), ((4, 6, 3, 4), 1), ((6, 4, 1, 2, 3), 2)])
def test_dirac_and_gains_as_torch(shape, groups):
    torch = pytest.importorskip("torch")
    expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    np.testing.assert_array_equal(nn.init.dirac_(np.empty(shape), groups), expected)
    for gain in (("linear",), ("sigmoid",), ("tanh",), ("relu",), ("selu",), ("leaky_relu",), ("leaky_relu", 0.3)):
        assert nn.init.calculate_gain(*gain) == pytest.approx(torch.nn.init.calculate_gain(*gain))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            {"padding_mode": "symmetric"},
            "padding_mode must be 'zeros' or 'reflect' or 'replicate' or 'circular'; got 'sym",
        ),
        ({"groups": 4}, "groups must divide out_channels=6; got groups=4"),
        ({"groups": 3}, "groups must divide in_channels=4; got groups=3"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"padding": "sane"}, "padding must be .*'sane'"),
        ({"padding": (1, 2, 3)}, "padding must be an int or 2 ints"),
        ({"kernel_size": (3,)}, "kernel_size must be"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
    ],
)
def test_refusals(options, named):
    with pytest.raises(ValueError, match=named):
        nn.Conv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **options})


def test_refused_types():
    with pytest.raises(TypeError, match="dtype must be float16, float32 or float64; got int32"):
        nn.Conv2d(1, 1, 1, dtype="int32")
    with pytest.raises(TypeError, match="weight must be an array or a Parameter"):
        nn.init.normal_([1.0, 2.0])
    with pytest.raises(ValueError, match="x must have 3 or 4 dimensions; got 2"):
        nn.LazyConv2d(1, 1)(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="needs a forward"):
        nn.Conv2d(1, 1, 1).backward(np.ones((1, 1, 1, 1)))
