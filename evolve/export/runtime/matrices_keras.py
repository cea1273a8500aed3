"""Functions of matrices, in Keras.

An array with two axes or more is a matrix: its first axis counts the rows, all others together
the columns. One with fewer is a column. The mean of nothing is 0.
"""

import math

from keras import ops

from evolve.export.runtime.keras_base import _sign


def _row_mean(x):
    """One number for each row."""
    mean = ops.mean if math.prod(x.shape) else ops.sum
    return mean(x, axis=tuple(range(1, len(x.shape))), keepdims=True) if len(x.shape) > 1 else x


def _column_mean(x):
    """One number for each column."""
    mean = ops.mean if math.prod(x.shape) else ops.sum
    return mean(x, axis=0, keepdims=True) if len(x.shape) else x


def _matrix_sign(x):
    """U V' of each matrix U S V', by Newton-Schulz, with mean square 1; the sign of vectors."""
    if len(x.shape) < 2 or not math.prod(x.shape):
        return _sign(x)
    m = ops.reshape(x, (x.shape[0], -1))
    tall = m.shape[0] > m.shape[1]
    m = ops.transpose(m) if tall else m
    m = m / (ops.sqrt(ops.sum(m * m)) + 1e-8)
    for _ in range(5):
        gram = ops.matmul(m, ops.transpose(m))
        m = 3.4445 * m + ops.matmul(-4.7750 * gram + 2.0315 * ops.matmul(gram, gram), m)
    m = m * max(m.shape) ** 0.5
    return ops.reshape(ops.transpose(m) if tall else m, x.shape)


def _matrix_cube(x):
    """X X' X of each matrix X, by its larger side; the cube of vectors."""
    if len(x.shape) < 2 or not math.prod(x.shape):
        return x * x * x
    m = ops.reshape(x, (x.shape[0], -1))
    t = ops.transpose(m)
    wide = m.shape[0] <= m.shape[1]
    cube = ops.matmul(ops.matmul(m, t), m) if wide else ops.matmul(m, ops.matmul(t, m))
    return ops.reshape(cube / max(m.shape), x.shape)
