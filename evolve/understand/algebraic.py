"""The algebraic and limit steps of a simplification; `main` is a child process of its own.

sympy can take for ever on a small expression, so the parent gives the child a time
limit. The child prints every step as soon as it is found, one JSON object a line:
what was found before the limit counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from evolve.understand.child import ask, read, was_ended
from primitives.abstract import analyse, live_program
from primitives.algebra.reading import CannotRead, Expressions, expressions
from primitives.algebra.rules import Rewrite, identities, saturated, without_eps
from primitives.algebra.writing import write
from primitives.program import Program, ProgramError
from primitives.text import from_text, to_text

ALGEBRAIC, LIMIT = "algebraic", "limit"


class Found(NamedTuple):
    """A shorter program.

    Attributes:
        kind: of the step, `algebraic` or `limit`.
        how: it was found.
        assumptions: on which it is equal.
        program: the shorter program.
        divisors: for a limit, programs whose updates are what is divided by.
    """

    kind: str
    how: str
    assumptions: tuple[str, ...]
    program: Program
    divisors: tuple[Program, ...] = ()


def steps(program: Program) -> Iterator[Found]:
    """Shorter and shorter programs, each from the one before it."""
    while True:
        found = _shortest(program, ALGEBRAIC, identities) or _shortest(program, LIMIT, _limits)
        if found is None:
            return
        yield found
        program = found.program


def cost(program: Program) -> tuple[int, int]:
    """Live slots, then live statements: what a simplification makes smaller."""
    analysis = analyse(program)
    return len(analysis.slots), analysis.statements


def _limits(what: Expressions) -> Iterator[Rewrite]:
    """A limit often pays only after the identities that it makes possible."""
    for rewrite in (*without_eps(what), *saturated(what)):
        yield rewrite
        for further in identities(rewrite.what):
            yield rewrite._replace(what=further.what)


def _shortest(
    program: Program, kind: str, rules: Callable[[Expressions], Iterable[Rewrite]]
) -> Found | None:
    """The shortest program that the rules come to, if it is shorter."""
    best, found = cost(program), None
    try:
        for rewrite in rules(expressions(program)):
            candidate = written(rewrite.what)
            if candidate is not None and cost(candidate) < best:
                best = cost(candidate)
                divisors = tuple(_divisors(program, rewrite))
                found = Found(kind, rewrite.how, rewrite.assumptions, candidate, divisors)
    except (CannotRead, NotImplementedError):  # the latter: sympy knows no way
        return None
    return found


def _divisors(program: Program, rewrite: Rewrite) -> Iterator[Program]:
    what = expressions(program)
    for divisor in rewrite.divisors:
        yield live_program(write(what._replace(update=divisor)))


def written(what: Expressions) -> Program | None:
    """A program that computes the expressions; None if the language has none."""
    try:
        return live_program(write(what))
    except ProgramError:
        return None


def as_json(found: Found) -> dict[str, Any]:
    """A step as plain data."""
    divisors = [to_text(divisor) for divisor in found.divisors]
    return {**found._asdict(), "program": to_text(found.program), "divisors": divisors}


def from_json(data: dict[str, Any]) -> Found:
    """The inverse of `as_json`."""
    divisors = tuple(from_text(text) for text in data["divisors"])
    assumptions = tuple(data["assumptions"])
    return Found(data["kind"], data["how"], assumptions, from_text(data["program"]), divisors)


def found_by_child(program: Program, seconds: float) -> list[Found]:
    """The steps that a child process finds in so many seconds."""
    done = ask("evolve.understand.algebraic", program, seconds)
    if was_ended(done):  # what was found before is sound all the same
        print(f"evolve: the algebra was ended after {seconds:g} s", file=sys.stderr)
    elif done.returncode:
        why = done.stderr.strip().splitlines()[-1:]
        print(f"evolve: the algebra ended early ({' '.join(why)})", file=sys.stderr)
    whole = [line for line in done.stdout.splitlines(keepends=True) if line.endswith("\n")]
    return [from_json(json.loads(line)) for line in whole]


def main() -> None:
    """Read a program from standard input, print its steps."""
    for found in steps(read()):
        print(json.dumps(as_json(found)), flush=True)


if __name__ == "__main__":
    main()
