"""The search never sees what it looks for: what it imports, and when programs are named."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("primitives", "proxy_tasks", "discovered", "evolve")
KNOWING = {
    "primitives.zoo",
    "primitives.zoo_extended",
    "evolve.understand.identify",
    "evolve.understand.likeness",
    "evolve.understand.naming",
}


def module_path(name: str) -> Path | None:
    """The file of a module of ours; None for another's, or a name inside a module."""
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if name.split(".")[0] in PACKAGES and candidate.is_file():
            return candidate
    return None


@cache
def imported(name: str) -> frozenset[str]:
    """The modules of ours that a module imports, wherever in it."""
    path = module_path(name)
    assert path is not None
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(n for n in names if module_path(n))


def reached(name: str) -> dict[str, str]:
    """Every module that a module leads to, each with the one that imports it."""
    found, waiting = {name: ""}, [name]
    while waiting:
        current = waiting.pop()
        for other in imported(current) - found.keys():
            found[other] = current
            waiting.append(other)
    return found


def modules(*packages: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in packages
        for path in sorted(ROOT.joinpath(*package.split(".")).rglob("*.py"))
    ]


#: What takes statements out of a program, and decides by trainings which may go.
REDUCING = [f"evolve.understand.{name}" for name in ("ablation", "chain", "evidence", "algebraic")]


@pytest.mark.parametrize(
    "name", [*modules("evolve.search", "evolve.workers", "evolve.judge", "proxy_tasks"), *REDUCING]
)
def test_search_and_tasks_import_neither_the_zoo_nor_names(name: str) -> None:
    found = reached(name)
    assert not KNOWING & found.keys(), {k: found[k] for k in KNOWING & found.keys()}


def test_the_rule_sees_what_breaks_it() -> None:
    """The commands may know the zoo, by way of other modules too."""
    assert reached("evolve.command.run").keys() >= KNOWING
    assert "primitives.zoo" in reached("evolve.programs")
    assert "evolve.workers.worker" in modules("evolve.workers")
    assert "evolve.search.driver" in modules("evolve.search")
