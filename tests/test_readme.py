"""The pages stay true: examples run, commands are understood, links lead somewhere.

`python tests/test_readme.py` writes the command reference of `evolve/README.md` anew.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from evolve.cli import parser
from primitives.abstract import analyse
from primitives.text import from_text, to_text
from primitives.zoo import zoo
from proxy_tasks.evaluation import Evaluator
from proxy_tasks.status import FINISHED

ROOT = Path(__file__).parent.parent
README, COMMANDS = ROOT / "README.md", ROOT / "evolve" / "README.md"
PAGES = (
    README,
    COMMANDS,
    *(
        ROOT / folder / "README.md"
        for folder in (
            "discovered",
            "discovered/study",
            "evolve/search",
            "primitives",
            "proxy_tasks",
            "proxy_tasks/examples",
        )
    ),
)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
#: The most lines of a page, tables aside.
MOST = 150
BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"


def reference() -> str:
    """The command reference in Markdown, made from the parser."""
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    parts = []
    for choice in commands._choices_actions:
        sub = commands.choices[choice.dest]
        names = [_names(action) for action in sub._actions if not action.option_strings]
        parts.append(f"**`{' '.join(['evolve', choice.dest, *names])}`**: {choice.help}.\n")
        rows = [
            f"| `{_names(action)}` | {(action.help or '').replace('|', chr(92) + '|')} |"
            for action in sub._actions
            if not isinstance(action, argparse._HelpAction)
        ]
        parts.append("\n".join(["| argument | meaning |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _names(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    name = ", ".join(action.option_strings)
    return f"{name} {metavar}".strip().replace("|", "\\|")


def section() -> str:
    """The command reference as it stands."""
    return COMMANDS.read_text().split(BEGIN)[1].split(END)[0].strip()


def test_the_command_reference_is_up_to_date() -> None:
    assert section() == reference().strip(), "run: python tests/test_readme.py"


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page that are marked with one of some languages; "" is no mark."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.S | re.M)
    return [text for language, text in found if language in languages]


@pages
def test_every_command_shown_is_understood(page: Path) -> None:
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    shown = [line for block in blocks(page, "") for line in block.splitlines()]
    shown = [
        line for line in shown if re.match(rf"\s*evolve ({'|'.join(commands.choices)})\b", line)
    ]
    assert shown or page in (ROOT / "evolve" / "search" / "README.md", COMMANDS)
    for line in shown:
        words = shlex.split(line, comments=True)[1:]
        words = ["AGAIN" if word.startswith("FIRST") else word for word in words]
        parser().parse_args(words)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            file = linked if linked.is_file() else linked / "README.md"
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            names = [re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles]
            assert anchor in names, target


@pages
def test_pages_are_short(page: Path) -> None:
    if page == COMMANDS:
        return  # a reference
    text = re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", "", page.read_text(), flags=re.S)
    lines = text.splitlines()
    tables = [line for line in lines if line.startswith("|") and page != README]
    assert len(lines) - len(tables) <= MOST


def test_every_promise_has_a_test_that_tries_to_break_it() -> None:
    found = re.findall(r"^\| (\d+) \|.*\| `(\w+)` \|$", README.read_text(), re.M)
    assert [int(number) for number, _ in found] == list(range(1, 18))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for number, name in found:
        decorators = re.search(rf"((?:^[@ \])].*\n)+)^def {name}\(", tests, re.M)
        assert decorators and f"@pytest.mark.promise({number})" in decorators[1], name


PROGRAM = re.compile(r"^def train\(w, g", re.M)


@pages
def test_programs_shown_are_programs(page: Path) -> None:
    """What is shown as a program reads back, and what is called by a name is that optimizer."""
    shown = [b for b in blocks(page, "python", "") if PROGRAM.search(b)]
    for block in shown:
        text = block[PROGRAM.search(block).start() :]  # type: ignore[union-attr]
        text = text[: text.index("\n", text.index("    return")) + 1]
        text = re.sub(r"  # .*", "", text)
        found = from_text(text)
        if "AdamW" in block:
            assert analyse(found).functional_hash == analyse(zoo("adamw")).functional_hash


USE = """
import {framework}
class model:
    @staticmethod
    def parameters():
        import torch
        return [torch.nn.Parameter(torch.ones(2))]
    @staticmethod
    def compile(optimizer, loss):
        assert optimizer.get_config()["learning_rate"] > 0
"""


@pytest.mark.parametrize("page", [README, ROOT / "discovered" / "README.md"])
def test_the_optimizers_are_used_as_shown(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    shown = [block for block in blocks(page, "python") if "from discovered" in block]
    source = "\n".join(shown)
    assert all(f"from discovered{name} import" in source for name in ("", ".torch", ".keras"))
    done = subprocess.run(
        [sys.executable, "-c", USE.format(framework="optax") + source],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "name"),
    [(README, "mytask:task"), (ROOT / "proxy_tasks" / "README.md", "rings:rings")],
)
def test_the_own_task_works(
    page: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = f"{name.partition(':')[0]}.py"
    (source,) = [block for block in blocks(page, "python") if block.startswith(f"# {file}")]
    assert len([line for line in source.splitlines() if line.strip()]) <= 20
    (tmp_path / file).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    evaluator = Evaluator()
    request = {"tasks": [name], "rung": 1, "seeds": [0], "shares": [1.0, 1.5]}
    request["program"] = to_text(zoo("adamw"))
    (facts,) = evaluator.prepare(request)["tasks"].values()
    answer = evaluator.evaluate({**request, "split": "validation", "hurdles": None})
    assert answer["outcome"] == FINISHED
    assert answer["losses"][name][0][-1] < facts["untrained"][0]
    grows = facts["widths"][1] > facts["widths"][0]
    assert grows == (page != README), "less state pays for a larger model"


def test_the_picture_is_drawn_from_the_committed_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "discovered.draw", "further-8", str(tmp_path / "road.svg")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "</svg>" in (tmp_path / "road.svg").read_text()
    assert "discovered/road.svg" in README.read_text()


def test_makefile_targets_named_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = re.findall(r"\bmake (\w+)", (ROOT / document).read_text())
        assert named and set(named) <= targets


if __name__ == "__main__":
    text = COMMANDS.read_text()
    before, rest = text.split(BEGIN)
    COMMANDS.write_text(before + BEGIN + "\n" + reference() + "\n" + END + rest.split(END)[1])
