"""Numbers as people read them."""

from __future__ import annotations


def signed(value: float) -> str:
    """Four digits behind the point; of what these would make zero, two that count."""
    if value and abs(value) < 5e-5:
        return f"{value:+.1e}"
    return f"{value:+.4f}"


def with_error(value: float, error: float) -> str:
    """A mean and its standard error, with as many digits as these need."""
    if error and error < 5e-5:
        return f"{value:+.2e} ± {error:.1e}"
    return f"{value:+.4f} ± {error:.4f}"
