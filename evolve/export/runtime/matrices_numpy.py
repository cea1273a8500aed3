"""Functions of matrices, in NumPy.

An array with two axes or more is a matrix: its first axis counts the rows, all others together
the columns. One with fewer is a column. The mean of nothing is 0.
"""

import numpy as np


def _row_mean(x):
    """One number for each row."""
    mean = np.mean if x.size else np.sum
    return mean(x, axis=tuple(range(1, x.ndim)), keepdims=True) if x.ndim > 1 else x


def _column_mean(x):
    """One number for each column."""
    mean = np.mean if x.size else np.sum
    return mean(x, axis=0, keepdims=True) if x.ndim else x


def _matrix_sign(x):
    """U V' of each matrix U S V', by Newton-Schulz, with mean square 1; the sign of vectors."""
    if x.ndim < 2 or not x.size:
        return np.sign(x)
    m = x.reshape(x.shape[0], -1)
    tall = m.shape[0] > m.shape[1]
    m = m.T if tall else m
    m = m / (np.sqrt(np.sum(m * m)) + 1e-8)
    for _ in range(5):
        gram = m @ m.T
        m = 3.4445 * m + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ m
    m = m * max(m.shape) ** 0.5
    return (m.T if tall else m).reshape(x.shape)


def _matrix_cube(x):
    """X X' X of each matrix X, by its larger side; the cube of vectors."""
    if x.ndim < 2 or not x.size:
        return x * x * x
    m = x.reshape(x.shape[0], -1)
    cube = (m @ m.T) @ m if m.shape[0] <= m.shape[1] else m @ (m.T @ m)
    return (cube / max(m.shape)).reshape(x.shape)
