"""Slots that are narrower than the weights: their shapes, for an array of some shape."""

from __future__ import annotations


def _rows_of(shape):
    """One number for each row."""
    return (*shape[:1], *(1 for _ in shape[1:]))


def _columns_of(shape):
    """One number for each column."""
    return (*(1 for _ in shape[:1]), *shape[1:])


def _one_of(shape):
    """One number."""
    return ()


def _copies(number, arrays):
    """A number for each array, where it was computed once for all."""
    return number if isinstance(number, list) else [number for _ in arrays]
