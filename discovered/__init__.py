"""What was found: program files with provenance, and optimizers to use.

    from discovered import lion        # Optax
    from discovered.torch import Lion  # PyTorch
    from discovered.keras import Lion  # Keras 3

Nothing here imports the search. The modules `optax`, `torch` and `keras` were
written by the exporters (`python -m evolve.export.shipped`); do not edit them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from discovered.optax import lion as lion

__all__ = ["lion"]


def __getattr__(name: str) -> Any:
    """Optax and JAX are imported when `lion` is first asked for."""
    if name == "lion":
        from discovered.optax import lion

        return lion
    raise AttributeError(f"module 'discovered' has no attribute '{name}'")
