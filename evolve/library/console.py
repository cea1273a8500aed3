"""Where commands print."""

from __future__ import annotations

from rich.console import Console as RichConsole


class Console(RichConsole):
    """Rich's console, but a reader that has gone (`evolve inspect RUN | head`) is no failure."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
