"""The configuration of a run: its log depends on that, the budget and the version alone."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from evolve.errors import BadInput, nearest
from primitives.functions import BY_NAME, LANGUAGES, PAPER
from primitives.program import Program
from proxy_tasks.task import memory_share

EQUAL_MEMORY, LOSS = "equal-memory", "loss"
OBJECTIVES = (EQUAL_MEMORY, LOSS)
EVOLUTION, RANDOM = "evolution", "random"
METHODS = (EVOLUTION, RANDOM)
#: What an optimizer may keep from step to step, whatever the search starts from (arXiv
#: 2302.06675, section 2.1: `m` and `v` in the signature). Mutations add no slot of their own.
SLOTS = 2
_NOT_FINITE = (float("inf"), float("-inf"))


@dataclass(frozen=True, kw_only=True)
class Config:
    """A run's configuration; equal configurations and budgets give equal logs.

    Attributes:
        seed: of every random choice of the search.
        tasks: names of proxy tasks; the fitness is the mean over them.
        start: text of the program that the search begins with, its constants as given.
        objective: `equal-memory`: the model is as large as the start program's memory
            (weights, gradients, slots) allows, and a program competes with those of as
            many slots; `loss`: one model, and one population, for all.
        population: programs kept (arXiv 2302.06675: 1000).
        tournament: members drawn to choose a parent, the fittest wins (paper: 2).
        elite_share: share of the parents that are elite, the best of their length; the
            others are drawn from the population by tournament.
        complexity_cost: of a live statement, in fitness, when parents are chosen.
        constants_share: share of the trained programs that differ from their parent in
            constants alone; the others come from the paper's three mutations, a third each.
        structures: of how many structures of each niche, the best, the constants may be
            tuned.
        optimism: what tuning is expected to bring a structure of which one program was
            trained, in fitness; less by the square root of how many were.
        on_edges: share of the insertions that are made where their value is read; the
            others at a random place, for a random variable (the paper's). As many of the
            deletions undo such an insertion.
        probe: whether children take some steps on recorded gradients first: those that
            step like their parent, or quite otherwise, are passed over. Without, nothing
            can be fitted.
        fitting: whether children are given steps as large as their parent's, and lose the
            statements that change no step.
        structure_tries: how many programs of one structure the paper's mutations may train
            between two new bests.
        patience: how many programs are trained without a new best before the search begins
            again from the start program (arXiv 2302.06675, section 2.2: restarts).
        replicates: on how many seeds (initial weights and batches) a program is trained:
            first, and while it is ahead of the best so far, then, and so on.
        hurdle_slack: how far, at a quarter of the steps and at the end of the
            first seed, a loss may lie above the population's median, as a
            share of what the baseline gains by training.
        tune_start: whether the constants of the start program are tuned before the search.
        method: `evolution`; or `random`, the control in which children are random programs.
        language: `paper`: mutations draw from the paper's functions; `extended`: from those
            that see rows and columns too.
        without: functions of the table that no mutation uses.
        in_flight: trainings in flight, and half as many proposals. Part of the
            configuration, because it decides which results a child can know of; more
            workers than this idle.
        time_limit: seconds after which one evaluation counts as hanging.
        judge_tasks: names of the tasks on which the champion is chosen when the budget is
            spent; for a search on other tasks than the default ones they are those.
        closing_share: the share of a run that its closing may take (tournament, larger
            rungs, name), in training steps; 0 means no closing, and no champion.
    """

    seed: int = 0
    tasks: tuple[str, ...] = ("text_transformer",)
    start: str = ""
    objective: str = EQUAL_MEMORY
    population: int = 200
    tournament: int = 2
    elite_share: float = 0.5
    complexity_cost: float = 0.005
    constants_share: float = 0.4
    structures: int = 64
    optimism: float = 0.05
    on_edges: float = 0.75
    probe: bool = True
    fitting: bool = True
    structure_tries: int = 2
    patience: int = 2000
    replicates: tuple[int, ...] = (1, 2, 4, 8, 16)
    hurdle_slack: tuple[float, float] = (0.035, 0.05)
    tune_start: bool = True
    method: str = EVOLUTION
    language: str = PAPER
    without: tuple[str, ...] = ()
    in_flight: int = 16
    time_limit: float = 60.0
    judge_tasks: tuple[str, ...] = ("text_transformer", "digits_vit")
    closing_share: float = 0.5

    def __post_init__(self) -> None:
        counts = ("population", "tournament", "structure_tries", "patience", "in_flight")
        for name in (*counts, "structures"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("elite_share", "constants_share", "on_edges"):
            fits = 0 <= getattr(self, name) <= 1
            _require(fits, name, getattr(self, name), "a share from 0 to 1")
        for name in ("seed", "complexity_cost", "optimism"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.time_limit > 0, "time_limit", self.time_limit, "more than 0 seconds")
        growing = self.replicates == tuple(sorted(set(self.replicates)))
        _require(
            bool(self.replicates) and growing and self.replicates[0] >= 1,
            "replicates",
            self.replicates,
            "growing numbers, 1 or more",
        )
        closing_fits = 0 <= self.closing_share < 1
        _require(closing_fits, "closing_share", self.closing_share, "a share from 0 to below 1")
        chosen = {"objective": OBJECTIVES, "method": METHODS, "language": tuple(LANGUAGES)}
        for name, choices in chosen.items():
            value = getattr(self, name)
            _require(value in choices, name, value, "one of " + ", ".join(choices))
        known = set(self.without) <= BY_NAME.keys()
        _require(known, "without", self.without, "names of functions")
        slack_fits = len(self.hurdle_slack) == 2 and min(self.hurdle_slack) >= 0
        _require(slack_fits, "hurdle_slack", self.hurdle_slack, "two numbers, 0 or more")
        for name in ("tasks", "judge_tasks"):
            names = getattr(self, name)
            _require(bool(names), name, names, "at least one task")
            _require(len(set(names)) == len(names), name, names, "different tasks")

    def niches(self, slots: int) -> int:
        """How many populations there are, by live slots, if the start has so many slots.

        One for each number of them, and one for more.
        """
        return slots + 2 if self.objective == EQUAL_MEMORY else 1

    def share(self, slots: float, start: float) -> float:
        """How many times the weights of the start program's model a program's may have.

        `slots` and `start` are what the program and the start program remember, in numbers
        for each weight: their live slots, if these are trees.
        """
        return memory_share(slots, start) if self.objective == EQUAL_MEMORY else 1.0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Config:
        """The inverse of `to_json`; also reads what a user wrote.

        Raises:
            BadInput: for an unknown field, a value of the wrong type or range.
        """
        fields = {field.name: field for field in dataclasses.fields(Config)}
        values = {}
        for key, value in data.items():
            if key not in fields:
                raise BadInput(f"unknown setting '{key}'{nearest(key, fields)}")
            values[key] = _typed(key, value, fields[key].default)
        return Config(**values)

    def difference(self, other: dict[str, Any]) -> list[str]:
        """The settings in `other` that differ, one line each: `name: here -> there`."""
        mine = self.to_json()
        theirs = Config.from_json({**mine, **other}).to_json()
        return [f"{k}: {mine[k]!r} -> {theirs[k]!r}" for k in mine if mine[k] != theirs[k]]


def with_slots(program: Program) -> Program:
    """With slots that lie idle, up to `SLOTS`: SGD keeps no momentum, but a child of it may."""
    slots = list(program.slots)
    taken = {*slots, *(statement.target for statement in program.statements)}
    names = (f"{letter}{number or ''}" for number in count() for letter in "mv")
    while len(slots) < SLOTS:
        slots.append(next(name for name in names if name not in taken))
    return Program(program.statements, tuple(slots), program.narrow)


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        BadInput: if it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"the config file '{path}' cannot be read ({error.strerror})") from None
    except ValueError as error:  # of TOML, of UTF-8, or of a number with thousands of digits
        raise BadInput(f"the config file '{path}' is not TOML ({error})") from None
    except RecursionError:
        raise BadInput(f"the config file '{path}' is nested too deeply") from None


def _typed(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(_typed(key, item, default[0] if default else "") for item in value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default) or value in _NOT_FINITE or value != value:
        raise BadInput(
            f"the setting '{key}' is {value!r}; it must be a {_type_name(default)} like {default!r}"
        )
    return value


def _type_name(value: Any) -> str:
    return {
        int: "whole number",
        float: "number",
        str: "text",
        tuple: "list",
        bool: "true or false",
    }[type(value)]


def _require(holds: bool, name: str, value: Any, what: str) -> None:
    if not holds:
        raise BadInput(f"the setting '{name}' is {value!r}; it must be {what}")
