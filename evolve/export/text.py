"""The text target: the program itself, its dead statements left out, with its provenance."""

from __future__ import annotations

from collections.abc import Mapping

from primitives.abstract import live_program
from primitives.program import Program
from primitives.text import to_text


def emit(program: Program, name: str, provenance: Mapping[str, str]) -> str:
    """A program file: comments, which a reader of programs skips, and the text form."""
    header = [f"# {name}", *(f"# {key}: {value}" for key, value in provenance.items())]
    return "\n".join(header) + "\n" + to_text(live_program(program))
