"""Fixtures that several tests share, and the table at the end of `make soak`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings
from runs import folder as folder
from runs import reference as reference

Cli = Callable[..., tuple[int, str, str]]

# No test judges how long something takes: the machine may be doing anything else.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs remember timings in the user's cache; tests leave that alone.

    The many workers that the tests start compile each task once for all of them, and for all
    processes of pytest-xdist, each of which has a folder beside the others'.
    """
    folder = tmp_path_factory.mktemp("cache")
    compiled = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        compiled = compiled.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(compiled / "jax"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        yield


Tried = Callable[[str, int], None]


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Note how often something was tried, for the table of promises."""
    return lambda what, count: request.node.user_properties.append((what, count))


PROMISE = "promise"


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers(PROMISE):
            item.user_properties.append((PROMISE, mark.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Of each promise the tests that tried to break it, and what they tried."""
    if os.environ.get("EVOLVE_LONG") != "1":
        return
    tests: dict[int, Counter[str]] = {}
    tries: dict[int, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            facts = [*getattr(report, "user_properties", ())]
            for number in {value for name, value in facts if name == PROMISE}:
                tests.setdefault(number, Counter())[outcome] += 1
                found = tries.setdefault(number, Counter())
                found.update({name: value for name, value in facts if name != PROMISE})
    terminalreporter.section("promises")
    for number, outcomes in sorted(tests.items()):
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        more = "; ".join(f"{count:,} {what}" for what, count in tries[number].items())
        terminalreporter.write_line(f"{number:3}  {told:24} {more}")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process: `(exit code, standard output, standard error)`."""
    from evolve.cli import main

    def call(*arguments: str | os.PathLike[str]) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call
