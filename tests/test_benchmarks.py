"""The benchmarks measure the search that a user runs."""

from pathlib import Path
from typing import Any

import pytest
from fakes import untrained

from evolve.cli import parser
from evolve.command import run
from evolve.search.log import RunLog
from evolve.session import configured, run_setup
from evolve.workers import Setup
from tests.benchmarks import free, search_bench


def default(tmp_path: Path) -> tuple[dict[str, Any], Setup]:
    """What `evolve run` without any flag writes into its log and tells its workers."""
    arguments = parser().parse_args(["run"])
    config = configured(run._settings(arguments))
    with RunLog.create(tmp_path / "run", {"config": config.to_json()}) as log:
        return log.meta("config"), run_setup(log, config)


def test_the_bench_runs_the_default_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, setup = default(tmp_path)

    def prepared(config: Any, given: Setup) -> dict[str, Any]:
        assert given.request == setup.request
        facts = {"fingerprint": "f", "weights": 1, "steps": 100, "flops": None, "stretch": None}
        return {name: {**facts, "untrained": values} for name, values in untrained(config).items()}

    monkeypatch.setattr(free, "prepared", prepared)
    with free.search() as (driver, _):
        assert driver.log.meta("config") == settings
        free.run(driver, 20)
        assert driver.state.evaluated == 20
    assert search_bench._config().to_json() == settings
    assert search_bench._setup().request == setup.request


def test_another_search_is_seen_to_be_another(tmp_path: Path) -> None:
    assert search_bench._config(elite_share=0.0).to_json() != default(tmp_path)[0]
