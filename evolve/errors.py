"""What goes wrong, by exit code."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from pathlib import Path


class EvolveError(Exception):
    """An internal failure: exit code 1."""

    exit_code = 1


class Told(EvolveError):
    """What its sentence tells whole, so that a notebook shows no traceback."""

    def _render_traceback_(self) -> list[str]:  # as IPython calls it
        return [f"{type(self).__name__}: {self}"]


class BadInput(Told):
    """What the user gave cannot be used: exit code 2.

    The message is one sentence: what is wrong, the value met, the remedy.
    """

    exit_code = 2


class RunBusy(Told):
    """Another driver works on the run folder: exit code 3."""

    exit_code = 3


class PoolError(EvolveError):
    """The machinery that evaluates programs failed, twice: exit code 1."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `names`, or nothing."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def printable(text: str) -> str:
    """A text without what would command a terminal, as it may come from a stranger's file."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def quoted(path: Path | str) -> str:
    """A path as it can be pasted into a shell, in double quotes where it needs any."""
    text = str(path)
    if shlex.quote(text) == text:
        return text
    return '"' + re.sub(r'(["\\$`])', r"\\\1", text) + '"'
