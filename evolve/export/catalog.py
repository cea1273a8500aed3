"""The targets by name, and provenance."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from evolve.export.source import Style
from primitives.program import Program

#: The key under which the provenance holds what `replay` measured.
DIFFERENCE = "largest difference from the reference interpreter in 20 steps"

#: Each target, with the framework that it needs and the extra that installs it.
TARGETS: dict[str, tuple[str, str] | None] = {
    "optax": ("optax", "optax"),
    "torch": ("torch", "torch"),
    "keras": ("keras", "keras"),
    "numpy": None,
    "latex": None,
    "text": None,
}


def emit(
    target: str,
    program: Program,
    name: str,
    provenance: Mapping[str, str],
    style: Style | None = None,
) -> str:
    """The program written for a target."""
    module = importlib.import_module(f"evolve.export.{target}")
    if style is None:
        return module.emit(program, name, provenance)
    return module.emit(program, name, provenance, style)
