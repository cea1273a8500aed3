"""The page of a report: facts, pictures and code, put together by a template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evolve.errors import BadInput
from evolve.export import catalog
from evolve.judge.sweeps import BATCH, LR_DECAY
from evolve.library.conclusion import found_sentence, quality
from evolve.library.exported import provenance_of
from evolve.library.kept_sweeps import TIME
from evolve.library.numbers import signed
from evolve.report.facts import facts
from evolve.search.log import RunLog
from evolve.summary import front, on_most_seeds
from primitives.abstract import analyse, live_program
from primitives.program import Program
from primitives.text import from_text

#: The frameworks whose code a report shows, with the name that people know.
FRAMEWORKS = {"torch": "PyTorch", "optax": "Optax (JAX)", "keras": "Keras"}
#: Steps of the ancestry whose changes are shown at once; the others can be unfolded.
STEPS = 12


def page(log: RunLog) -> str:
    """The report as one HTML page: no script, and nothing that is fetched.

    Raises:
        BadInput: if the packages that draw are not installed.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"a report needs {error.name}, which is not installed; pip install matplotlib jinja2"
        ) from None
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    environment.filters |= {"signed": _signed, "percent": _percent, "text": _text}
    return environment.get_template("page.html").render(**context(log))


def context(log: RunLog) -> dict[str, Any]:
    """What the template shows."""
    found = facts(log)
    champion, baseline = found["champion"], found["baseline"]
    better = bool(champion and not champion["is_start"])
    text = champion["simplified"] or champion["live_program"] if better else None
    program = None if text is None else live_program(from_text(text))
    return {
        **found,
        "better": better,
        "sentence": found_sentence(found, found["start"]),
        "quality": list(quality(found, found["start"])) if better else [],
        "program": text,
        "front": front(found["hall_of_fame"]),
        "memory": None if program is None else _memory(program, baseline),
        "code": {} if program is None else _code(program),
        "steps_shown": STEPS,
        "svg": _pictures(found, program),
        "sweeps": _sweeps(found["sweeps"]),
        "times": _times(found["sweeps"]),
    }


def _memory(program: Program, baseline: dict[str, Any]) -> list[dict[str, Any]]:
    """Numbers kept for each weight, and bytes in float32, beside the start's."""
    both = {"found": program, "start": from_text(baseline["live_program"])}
    slots = {name: analyse(each).trees for name, each in both.items()}
    return [
        {"name": name, "slots": count, "bytes": 4 * count, "all": 4 * (2 + count)}
        for name, count in slots.items()
    ]


def _code(program: Program) -> dict[str, str]:
    """The program as code of each framework, installed or not; `evolve export` measures it too."""
    notes = provenance_of(program, "champion")
    return {
        name: catalog.emit(target, program, "champion", notes)
        for target, name in FRAMEWORKS.items()
    }


def _sweeps(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sweeps over trainings, each with its picture."""
    from evolve.report import plots

    draw = {LR_DECAY: plots.rates, BATCH: plots.batches}
    return [
        {**sweep, "svg": draw[sweep["sweep"]](sweep)} for sweep in found if sweep["sweep"] in draw
    ]


def _times(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The times of a step, where they were measured."""
    return [row for sweep in found if sweep["sweep"] == TIME for row in sweep["programs"]]


def _pictures(found: dict[str, Any], program: Program | None) -> dict[str, str]:
    """The pictures that there is something for, by name."""
    from evolve.report import plots

    last = found["progress"][-1]["until"] if found["progress"] else 0
    compared = [
        {"where": f"{row['task']} {row['rung']}", **row["comparison"]}
        for row in found["heldout"] or []
        if row["comparison"] and row["comparison"]["error"] is not None
    ]
    ancestors, points = found["ancestry"], found["overfitting"]
    made: dict[str, Callable[[], str | None]] = {
        "formula": lambda: plots.formula(_formula(program)) if program else None,
        "gains": lambda: plots.gains(compared, found["start"]) if compared else None,
        "fitness": lambda: plots.fitness(found["bests"], last) if found["bests"] else None,
        "counts": lambda: plots.counts(found["progress"]) if last else None,
        "front": lambda: _front(found),
        "ancestry": lambda: plots.ancestry(ancestors) if len(ancestors) > 1 else None,
        "overfitting": lambda: plots.overfitting(points) if points else None,
    }
    drawn = {name: draw() for name, draw in made.items()}
    return {name: svg for name, svg in drawn.items() if svg is not None}


def _front(found: dict[str, Any]) -> str | None:
    from evolve.report import plots

    entries = on_most_seeds(found["hall_of_fame"])
    chosen = [entry["id"] for entry in front(found["hall_of_fame"])]
    return plots.front(entries, chosen) if entries else None


def _formula(program: Program) -> list[str]:
    """The lines of the exported LaTeX, each a formula of its own."""
    text = catalog.emit("latex", program, "champion", {})
    body = text[text.index("\\begin{align*}") :].splitlines()[1:-1]
    return [line.strip().removesuffix("\\\\").replace("&", "").strip() for line in body]


def _signed(value: float | None) -> str:
    return "–" if value is None else signed(value).replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _text(value: Any) -> str:
    return "–" if value is None else str(value)
