"""`evolve report`: one page that stands alone, for a run in any state."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from conftest import Cli
from fakes import FakePool, config
from test_closing import create, fresh, go_on, quick, settings_of, whole  # noqa: F401

import evolve
from evolve.budget import EVALUATIONS, Budget
from evolve.report import facts as told
from evolve.report.page import FRAMEWORKS, page
from evolve.search.log import MORE_SEEDS, RunLog
from evolve.summary import summarize

HEADINGS = (
    "How much better it is",
    "The tournament",
    "The search",
    "Better or simpler",
    "How the champion came about",
    "How far the search fooled itself",
    "How easy it is to tune",
    "Small and large batches",
    "What it costs",
    "To use it",
    "Where this comes from",
)
#: Elements that have no end.
VOID = ("meta", "br", "use", "path", "img", "link", "rect", "circle", "line")


class Reader(HTMLParser):
    """Collects tags, and whatever a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            outside = name in ("src", "href", "xlink:href") and not (value or "").startswith("#")
            if outside or name.startswith("on"):
                self.fetched.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def sound(text: str) -> None:
    """Check what holds of every report."""
    read = Reader(text)
    assert not read.fetched and "script" not in read.tags and "url(http" not in text
    assert not read.open
    assert re.findall(r"<h2>(.*?)</h2>", text) == list(HEADINGS)
    assert len(text) < 3_000_000


def test_the_report_of_a_run_that_was_judged(fresh: Any) -> None:  # noqa: F811
    folder = fresh()
    whole(folder, settings_of(judge_tasks=("a", "b")))
    with RunLog.open(folder) as log:
        text, summary = page(log), summarize(log)
    sound(text)
    assert "has not ended" not in text
    for name in FRAMEWORKS.values():
        assert f"<summary>{name}</summary>" in text
    for line in (summary["champion"]["simplified"] or "").splitlines():
        assert line.strip() in text
    scored = [r for r in summary["tournament"]["structures"] if r["score"] is not None]
    assert text.count('<tr class="champion">') == 1
    assert all(f"#{row['id']}" in text for row in scored)
    assert text.count("<svg") >= 6


def test_a_run_that_goes_on_says_so(tmp_path: Path) -> None:
    of = config(objective="equal-memory", population=30)
    create(tmp_path / "run", of)
    with RunLog.open(tmp_path / "run") as log:
        text = page(log)
    sound(text)
    assert "has not ended" in text and "there is no result" in text
    go_on(tmp_path / "run", FakePool(of), Budget(EVALUATIONS, 60))  # type: ignore[arg-type]
    with RunLog.open(tmp_path / "run") as log:
        text = page(log)
    sound(text)
    assert "<svg" in text


def test_what_is_told_of_progress_is_what_the_log_holds(tmp_path: Path) -> None:
    of = config(objective="equal-memory", population=30)
    create(tmp_path / "run", of)
    go_on(tmp_path / "run", FakePool(of), Budget(EVALUATIONS, 400))  # type: ignore[arg-type]
    with RunLog.open(tmp_path / "run") as log:
        rows = list(log.records())
        found = told.facts(log)
    last = found["progress"][-1]
    programs = [r for r in rows if r.mutation != MORE_SEEDS]
    assert last["until"] == len(rows) and last["generated"] == len(programs)
    assert last["trained"] == sum(r.source is None for r in programs)
    assert last["hits"] == sum(r.source is not None for r in rows)
    assert last["rejected"] == sum(r.rejected for r in rows)
    assert sum(last["slots"].values()) == last["trained"]
    assert len(found["progress"]) <= told.POINTS
    values = [(b["slots"], b["fitness"]) for b in found["bests"]]
    for slots in {s for s, _ in values}:
        own = [value for s, value in values if s == slots]
        assert own == sorted(own) and len(set(own)) == len(own)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a\nb\n", "a\nc\n", [("-", "b"), ("+", "c")]),
        ("", "a\n", [("+", "a")]),
        ("a\n", "a\n", []),
    ],
)
def test_changes_are_lines(before: str, after: str, expected: list[tuple[str, str]]) -> None:
    assert told.changes(before, after) == expected


def test_hostile_text_is_no_markup(tmp_path: Path) -> None:
    create(tmp_path / "run", config())
    with RunLog.open(tmp_path / "run", write=True) as log, log.transaction():
        log.set_meta("start", "<script>alert(1)</script>")
    with RunLog.open(tmp_path / "run") as log:
        assert "<script" not in page(log)


def test_the_command_and_the_library_write_the_page(tmp_path: Path, cli: Cli) -> None:
    create(tmp_path / "run", config())
    code, out, _ = cli("report", tmp_path / "run")
    assert code == 0 and out.strip() == str(tmp_path / "run" / "report.html")
    text = (tmp_path / "run" / "report.html").read_text()
    assert evolve.open(tmp_path / "run").report(tmp_path / "b.html").read_text() == text
    code, _, err = cli("report", tmp_path / "run", "-o", tmp_path / "b.html")
    assert code == 2 and "--force" in err
    assert cli("report", tmp_path / "run", "-o", tmp_path / "b.html", "--force")[0] == 0
    assert cli("report", tmp_path / "run", "-o", tmp_path / "no" / "c.html")[0] == 2
    assert cli("report", tmp_path / "nothing")[0] == 2


def test_without_the_extra_one_sentence_says_what_is_missing(tmp_path: Path, cli: Cli) -> None:
    create(tmp_path / "run", config())
    with patch.dict("sys.modules", {"jinja2": None}):
        code, _, err = cli("report", tmp_path / "run")
    assert code == 2 and "pip install matplotlib jinja2" in err
