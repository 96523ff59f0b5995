"""Losses: each returns its value and the gradient for its first argument, with which `backward` begins.

cross_entropy = -mean over n of log(exp(x[n, t[n]]) / sum over c of exp(x[n, c]))
mse_loss      =  mean of (x - t)**2
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import Array, as_array


def cross_entropy(x: npt.ArrayLike, target: npt.ArrayLike) -> tuple[float, Array]:
    """Of scores (N, classes) and class numbers (N,); the gradient is (softmax - one hot)/N.

    >>> import numpy as np
    >>> loss, gradient = cross_entropy(np.zeros((1, 4)), [2])
    >>> round(loss, 4), gradient
    (1.3863, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    scores, classes = as_array("x", x), as_array("target", target)
    if scores.ndim != 2 or classes.shape != scores.shape[:1] or not len(scores):
        raise ValueError(f"x must be (N, classes) and target (N,), N > 0; got {scores.shape} and {classes.shape}")
    if classes.dtype.kind not in "iu" or classes.min() < 0 or classes.max() >= scores.shape[1]:
        raise ValueError(f"target must be integers from 0 to {scores.shape[1] - 1}; got {classes!r}")
    rows = np.arange(len(scores))
    shifted = scores - scores.max(axis=1, keepdims=True)  # the same ratio, without overflow
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    gradient = np.exp(shifted) / total
    gradient[rows, classes] -= 1
    return float((np.log(total[:, 0]) - shifted[rows, classes]).mean()), gradient / len(scores)


def mse_loss(x: npt.ArrayLike, target: npt.ArrayLike) -> tuple[float, Array]:
    """Of two arrays of one shape; the gradient is 2*(x - target)/size.

    >>> import numpy as np
    >>> mse_loss(np.array([1.0, 3.0]), [1.0, 1.0])
    (2.0, array([0., 2.]))
    """
    data, wanted = as_array("x", x), as_array("target", target)
    if data.shape != wanted.shape or not data.size:
        raise ValueError(f"x and target must have one shape and not be empty; got {data.shape} and {wanted.shape}")
    difference = data - wanted
    return float(np.mean(difference**2)), difference * (2 / difference.size)
