"""The README stays true: its command reference, its own-task example, its shell commands.

`python tests/test_readme.py` writes the command reference anew.
"""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from evolve.cli import parser
from primitives.text import to_text
from primitives.zoo import zoo
from proxy_tasks.evaluation import Evaluator
from proxy_tasks.status import FINISHED

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
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
    """The command reference that stands in the README."""
    return README.read_text().split(BEGIN)[1].split(END)[0].strip()


def test_the_command_reference_is_up_to_date() -> None:
    assert section() == reference().strip(), "run: python tests/test_readme.py"


def test_every_command_shown_is_understood() -> None:
    commands = "run|resume|inspect|funnel|tasks|simplify|identify|explain|compare|export"
    shown = re.findall(rf"^(?:\$ )?(evolve (?:{commands})\b[^#\n]*)", README.read_text(), re.M)
    assert len(shown) >= 5
    for line in shown:
        parser().parse_args(shlex.split(line)[1:])


def test_the_own_task_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(# rings\.py.*?)```", README.read_text(), re.S)
    assert len(source.splitlines()) <= 30
    (tmp_path / "rings.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    evaluator = Evaluator()
    program = to_text(zoo("adamw"))
    request = {"program": program, "tasks": ["rings:rings"], "rung": 1, "seeds": [0]}
    (facts,) = evaluator.prepare(request)["tasks"].values()
    answer = evaluator.evaluate({**request, "split": "validation", "hurdles": None})
    assert answer["outcome"] == FINISHED
    assert answer["losses"]["rings:rings"][0][-1] < facts["untrained"][0]


def test_makefile_targets_named_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = re.findall(r"\bmake (\w+)", (ROOT / document).read_text())
        assert named and set(named) <= targets


if __name__ == "__main__":
    text = README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + "\n" + reference() + "\n" + END + rest.split(END)[1])
