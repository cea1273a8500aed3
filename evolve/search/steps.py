"""What a search does next, and what passes between it and its workers."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple

#: A child as a worker proposes it; see `proposal`.
Child = dict[str, Any]


class Step(Enum):
    """What a search does next."""

    BEGIN = auto()  # the start program becomes a row
    DRAFT = auto()
    ACCEPT = auto()
    MORE_SEEDS = auto()  # a program that is ahead is trained on further seeds
    COMMIT = auto()
    NOTHING = auto()  # all is committed, and nothing more is to be begun


class Draft(NamedTuple):
    """A child to be.

    Attributes:
        number: of the draft; its randomness is a function of that and the run's seed.
        parent: the parent's number.
        program: its text.
        constants: whether the child is to differ in constants alone.
        seed: of the worker's choices.
    """

    number: int
    parent: int
    program: str
    constants: bool
    seed: int
