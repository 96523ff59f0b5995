"""What the docstrings of the public functions share, written once: `documented` fills it in for each rank."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from string import Template
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

SPATIAL = "DHW"
SIZES = {"1": "L", "2": "H, W", "3": "D, H, W"}
KERNELS = {"1": "k", "2": "kh, kw", "3": "kd, kh, kw"}

OPTIONS = """
strategy : str, optional
    Forces a strategy by name ("direct", ...); see `explain`.
accuracy : {'bounded', 'strict'}, optional
    'strict' keeps to direct summation, whose error is at most (K + 2)/2 * eps * (|x| conv |weight| + |bias|) for
    K products. By default, 'bounded', faster sums are allowed where they stay within that bound on ordinary data.
num_threads : int, optional
    For this call; by default `get_num_threads()`."""

TAIL = """
activation : str or tuple, optional
    Applied to each sum: 'relu', 'relu6', 'leaky_relu', 'elu', 'sigmoid', 'silu', 'tanh', 'gelu' (exact), 'gelu_tanh'
    or 'hardswish', as PyTorch defines them; or a name with parameters: ('leaky_relu', slope), by default 0.01,
    ('elu', alpha), by default 1, ('clip', lo, hi). NaN passes through. Of a few units of the last place.
epilogue : callable, optional
    Your own scalar function, from `numba.njit` or plain Python, which is compiled, in tenths of a second for each new
    function object: value -> value, or (value, channel) -> value. It comes last, and sees values of the dtype that
    sums have. Where weight has an ``N``, channel is n*O + o.
out_dtype : dtype, optional
    Of the result: float16, bfloat16 (ml_dtypes), float32 or float64, by default the promoted dtype of x and weight.
    Sums are rounded once, to nearest, ties to even (float64 to float16 and bfloat16 by way of float32). Where x and
    weight are integers, any integer dtype too: 'int32' for int8 and uint8, as elsewhere. bool is then counted.
accumulate_dtype : dtype, optional
    Of the sums: 'float32' or 'float64', no narrower than x, weight and the result; by default the narrowest of these
    two that holds them. Of integers, an integer dtype that holds x and weight and that no sum may leave, as on a
    machine with such an accumulator; by default 64 bits.

    Integers take the activations 'relu', 'relu6' and ('clip', lo, hi) of whole numbers, which come before the result
    must fit its dtype, so that a clip saturates; and, where the result is an integer, a residual. No epilogue."""

READING = """
padding_mode : {'zeros', 'constant', 'reflect', 'symmetric', 'replicate', 'circular'}
    What lies in the padding. 'zeros' are skipped: their terms are left out. All others are true terms of the sum:
    ``padding_value``; the input mirrored without or with its edge (NumPy's 'reflect', 'symmetric'), its edge ('edge'),
    or the input from its other end ('wrap'). Padding may be wider than the input; negative padding crops. No padded
    copy is made.
padding_value : number
    Of mode 'constant'.
prologue : callable, optional
    Your own scalar function, from `numba.njit` or plain Python, which is compiled, in tenths of a second for each new
    function object: value -> value, or (value, channel) -> value, applied to each element of ``x`` as it is read, in
    the dtype that sums have. Neither zeros nor ``padding_value`` pass through it."""

RESIDUAL = """
residual : array_like, optional
    Of the shape of the result, and of its dtype or one that casts safely: the result is
    ``epilogue(activation(sum + residual))``, each step done while the outputs are in the cache."""

LAYOUT = """
dimension_numbers : str or tuple of 3 str, optional
    The order of axes of x, weight and result, as `jax.lax.conv_general_dilated` takes it: $numbers.
    N and C are images and channels of x and result; O and I count, in weights, channels of the result$of_groups_o
    and of x$of_groups_i; all other letters are spatial axes, the same ones in all three. What counts spatial axes
    (stride, padding, ...) counts them as they stand in the weights' letters. One string is for x and result; weights
    are then as by default, $default_weights, spatial axes in the order of that string. Without ``N``, an axis less, x
    and the result have the other letters. Arrays are read and written as they lie, not through transposed copies. Not
    with an ``N`` of weights."""

OUT = """
out : ndarray, optional
    Where to write: of exactly the shape and dtype of the result, any strides, overlapping no operand, though it may be
    the residual itself, where one is taken."""

FOLLOWED = RESIDUAL + TAIL

RAISES = """
Raises
------
ValueError
    Shapes, geometry or ``out`` that do not fit; the message says what would.
TypeError
    Dtypes that are not numbers or of two kinds (float x with integer weight), masked arrays, unknown keywords.
OverflowError
    An integer result or sum that its dtype cannot hold.

See Also
--------
plan_$name : The same with the weights packed once for many calls."""

FORWARD = f"""
y[n, o, p] = bias[o] + sum over c, t of  weight[o, c, t] * x[n, c, p*stride + t*dilation - lo]

Parameters
----------
x : array_like, (N, C, $sizes) or (C, $sizes)
    Input; without ``N`` the result has none either.
weight : array_like, (O, C/groups, $kernel) or (N, O, C/groups, $kernel)
    Filters; with an ``N`` of their own, other ones for each image.
bias : array_like, (O,), or (N, O) where weight has an ``N``, optional
    Added to each output channel; cast to the dtype of the result.
stride : $ints
    Step between outputs, at least 1.
padding : $ints, $pairs (lo, hi), or str
    Zeros around the input, or what ``padding_mode`` says; negative numbers crop it. Zeros are skipped, so NaN and inf
    spread no further than the kernel reaches. Or one of:

        'valid'       none
        'same'        as many as give ceil(size/stride) outputs, the odd one at the high side
                      (torch at stride 1, TensorFlow's SAME and ONNX's SAME_UPPER at larger strides)
        'same_lower'  the odd one at the low side (ONNX's SAME_LOWER)
        'full'        dilation*(kernel-1) at both sides
        'causal'      dilation*(kernel-1) at the low side only; 1-D
dilation : $ints
    Step between kernel taps, at least 1.
groups : int
    Channels are split into this many independent groups; must divide C and O.{LAYOUT}{READING}{OUT}{FOLLOWED}{OPTIONS}

Returns
-------
ndarray, (N, O, ...) or (O, ...)
    Of size ``(size + lo + hi - dilation*(kernel-1) - 1) // stride + 1`` along each axis, C-contiguous, of the
    promoted dtype of x and weight: bool, integer, float16, bfloat16, float32/64 or complex64/128. Integers are exact;
    float16 and bfloat16 are summed in float32 and rounded once. An integer or bool x meets float weights; x of another
    dtype than the sums' is converted as it is read.
{RAISES}"""

TRANSPOSED = f"""
y[n, o, i*stride + t*dilation - lo] += weight[c, o, t] * x[n, c, i]   for all c, i, t;  then bias[o] is added

With a ``padding_mode`` other than 'zeros', i runs over all integers: outputs near the ends also get what the input,
continued by that mode, would add to them (flax's CIRCULAR of `ConvTranspose`).

Parameters
----------
x : array_like, (N, C, $sizes) or (C, $sizes)
    Input; without ``N`` the result has none either.
weight : array_like, (C, O/groups, $kernel) or (N, C, O/groups, $kernel)
    Filters; note the order, C first. With an ``N`` of their own, other ones for each image.
bias : array_like, (O,), or (N, O) where weight has an ``N``, optional
    Added to each output channel; cast to the dtype of the result.
stride : $ints
    Step between the outputs that neighbouring inputs reach, at least 1.
padding : $ints, $pairs (lo, hi), or str
    What is cut off the result (torch's meaning); negative numbers extend it. 'valid' cuts nothing, 'same' gives
    ``size*stride`` outputs (Keras), as the gradient of a forward 'same'.
output_padding : $ints
    Added to the size of the result at the high side; less than stride or dilation.
groups : int
    Channels are split into this many independent groups; must divide C and O.
dilation : $ints
    Step between kernel taps, at least 1.
output_size : $ints, or the shape of the result, optional
    Chooses ``output_padding``.{LAYOUT}{READING}{OUT}{FOLLOWED}{OPTIONS}

Returns
-------
ndarray, (N, O, ...) or (O, ...)
    Of size ``(size-1)*stride - lo - hi + dilation*(kernel-1) + output_padding + 1`` along each axis (torch's
    formula), C-contiguous, of the promoted dtype of x and weight. Integers are exact; float16 and bfloat16 are summed
    in float32 and rounded once.
{RAISES}"""

PLAN = """
Parameters
----------
input_shape : tuple of int, (N, C, $sizes) or (C, $sizes)
    Shape of the inputs to come, in the order of ``dimension_numbers`` where these are given.
dtype : dtype, optional
    Dtype of the inputs to come, by default that of ``weight``; the two are promoted as in `$planned`.
residual : bool
    Whether each call gives a residual: then ``plan(x, residual=...)``, of the shape of the result, and else never.
weight, bias and all others
    As in `$planned`, but for ``out``. Weights and bias are copied: later edits of yours do not matter.

Returns
-------
PreparedConv
    Callable, immutable, shareable by threads, picklable; has ``problem``, ``strategy``, ``input_shape`` and
    ``output_shape``, and prints its plan.

Raises
------
ValueError, TypeError
    As `$planned`; a call raises them for an ``x`` of another shape, or whose dtype does not cast safely."""

GRADIENT = f"""
grad_output : array_like
    Gradient for the result of `$forward`, of its shape.
stride, padding, $others, dimension_numbers
    As in `$forward`: each array, and each gradient, lies as the one that it belongs to.{OUT}{OPTIONS}

Returns
-------
ndarray
    Of the shape asked for, C-contiguous, of the promoted dtype of the two arrays. Integers are exact. The parts in
    which a sum is added up do not depend on the number of threads, so neither does any bit of the result.

Raises
------
ValueError
    Shapes and geometry that `$forward` refuses too; a ``grad_output`` or an ``out`` that does not fit them.
TypeError
    Dtypes that are not numbers or of two kinds (float with integer), masked arrays, unknown keywords.
OverflowError
    An integer result that its dtype cannot hold."""

INPUT_GRADIENT = f"""
Takes what `torch.nn.grad` takes, in its order. Pixels that no output reads have gradient zero.

Parameters
----------
input_size : tuple of int
    Shape of the input of `$forward`, with or without ``N``.
weight : array_like
    Filters, as given to `$forward`.{GRADIENT}"""

WEIGHT_GRADIENT = f"""
Takes what `torch.nn.grad` takes, in its order.

Parameters
----------
x : array_like
    Input, as given to `$forward`.
weight_size : tuple of int
    Shape of the filters of `$forward`.{GRADIENT}"""


def documented(function: Function) -> Function:
    """Replace ``$forward`` and its kin in a docstring by the texts above; the function's name holds its rank."""
    if function.__doc__ is None:  # python -OO
        return function
    name = function.__name__
    rank = next(letter for letter in name if letter.isdigit())
    forward = name.partition("_input")[0].partition("_weight")[0]
    axes, transposed = SPATIAL[-int(rank) :], "transpose" in name
    words = {
        "name": name,
        "forward": forward,
        "others": "output_padding, groups, dilation" if "transpose" in forward else "dilation, groups",
        "planned": name.removeprefix("plan_"),
        "sizes": SIZES[rank],
        "kernel": KERNELS[rank],
        "ints": "int" if rank == "1" else f"int or {rank} ints",
        "numbers": f"('N{axes}C', '{axes}IO', 'N{axes}C')",
        "default_weights": f"'IO{axes}'" if transposed else f"'OI{axes}'",
        "of_groups_o": " / groups" if transposed else "",
        "of_groups_i": "" if transposed else " / groups",
        "pairs": "1 pair" if rank == "1" else f"{rank} pairs",
    }
    texts = {
        "forward": FORWARD,
        "transposed": TRANSPOSED,
        "plan": PLAN,
        "input": INPUT_GRADIENT,
        "weight": WEIGHT_GRADIENT,
    }
    filled = {key: Template(text.strip()).substitute(words) for key, text in texts.items()}
    function.__doc__ = Template(cleandoc(function.__doc__)).substitute(filled)
    return function
