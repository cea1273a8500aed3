"""Numbers as people read them."""

from __future__ import annotations


def signed(value: float) -> str:
    """Four digits behind the point; of what these would make zero, two that count."""
    if value and abs(value) < 5e-5:
        return f"{value:+.1e}"
    return f"{value:+.4f}"


def loss(value: float) -> str:
    """Five digits that count."""
    return f"{value:.5g}"


def percent(value: float, error: float) -> str:
    """A mean and its standard error, with a digit of the error that counts."""
    digits = 1 if error >= 5e-4 or not error else 2 if error >= 5e-5 else 3
    return f"{value:+.{digits}%} ± {error:.{digits}%}"


def with_error(value: float, error: float) -> str:
    """A mean and its standard error, with as many digits as these need."""
    if error and error < 5e-5:
        return f"{value:+.2e} ± {error:.1e}"
    return f"{value:+.4f} ± {error:.4f}"
