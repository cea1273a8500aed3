"""Fixtures that several tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs remember timings in the user's cache; tests leave that alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process: `(exit code, standard output, standard error)`."""
    from evolve.cli import main

    def call(*arguments: str | os.PathLike[str]) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call
