"""Functions of matrices, in PyTorch.

An array with two axes or more is a matrix: its first axis counts the rows, all others together
the columns. One with fewer is a column. The mean of nothing is 0.
"""

import torch


def _row_mean(x):
    """One number for each row."""
    mean = torch.mean if x.numel() else torch.sum
    return mean(x, dim=tuple(range(1, x.dim())), keepdim=True) if x.dim() > 1 else x


def _column_mean(x):
    """One number for each column."""
    mean = torch.mean if x.numel() else torch.sum
    return mean(x, dim=0, keepdim=True) if x.dim() else x


def _matrix_sign(x):
    """U V' of each matrix U S V', by Newton-Schulz, with mean square 1; the sign of vectors."""
    if x.dim() < 2 or not x.numel():
        return torch.where(x.isnan(), x, x.sign())
    m = x.reshape(x.shape[0], -1)
    tall = m.shape[0] > m.shape[1]
    m = m.T if tall else m
    m = m / (torch.sqrt(torch.sum(m * m)) + 1e-8)
    for _ in range(5):
        gram = m @ m.T
        m = 3.4445 * m + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ m
    m = m * max(m.shape) ** 0.5
    return (m.T if tall else m).reshape(x.shape)


def _matrix_cube(x):
    """X X' X of each matrix X, by its larger side; the cube of vectors."""
    if x.dim() < 2 or not x.numel():
        return x * x * x
    m = x.reshape(x.shape[0], -1)
    cube = (m @ m.T) @ m if m.shape[0] <= m.shape[1] else m @ (m.T @ m)
    return (cube / max(m.shape)).reshape(x.shape)
