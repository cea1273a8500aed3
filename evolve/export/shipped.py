"""The optimizers that the package `discovered` ships, written by the exporters.

`python -m evolve.export.shipped` writes them again from the program files in
`discovered/programs`. Their signatures are those of each framework's own Lion.
"""

from __future__ import annotations

import sys
from pathlib import Path

from evolve.export import catalog, replay
from evolve.export.lowering import DECAY, lower
from evolve.export.source import Style
from primitives.program import Program
from primitives.text import from_text

FOLDER = Path(__file__).parents[2] / "discovered"

_DETAILS = """
A step is about as large as the learning rate in every weight, so the learning rate is 3 to
10 times smaller than AdamW's and the weight decay as much larger; for language models
(b1, b2) = (0.95, 0.98). See `discovered.conversion`. A NaN in a gradient gives NaN in that
weight."""


def styles() -> dict[str, Style]:
    """The signature of Lion in each framework."""
    shared = {"details": _DETAILS, "own_peak": False, "package": "discovered"}
    return {
        "optax": Style(
            title="Lion for Optax: the sign of an average, with two decay rates and one slot.",
            defaults={"weight_decay": "1e-3"},
            **shared,  # type: ignore[arg-type]
        ),
        "torch": Style(
            title="Lion for PyTorch: the sign of an average, with two decay rates and one slot.",
            defaults={"lr": "1e-4", "weight_decay": "0.0"},
            **shared,  # type: ignore[arg-type]
        ),
        "keras": Style(
            title="Lion for Keras 3: the sign of an average, with two decay rates and one slot.",
            defaults={"learning_rate": "0.001", "weight_decay": "None"},
            **shared,  # type: ignore[arg-type]
        ),
    }


def program(folder: Path = FOLDER) -> tuple[Program, dict[str, str]]:
    """Lion's program, and the provenance in the comments of its file."""
    text = (folder / "programs" / "lion.txt").read_text()
    comments = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    pairs = [line.partition(": ")[::2] for line in comments if ": " in line]
    return from_text(text), dict(pairs)


def sources(folder: Path = FOLDER) -> dict[str, str]:
    """The source of each shipped module, by the name of its file.

    The largest differences are those noted in the program file: another
    processor may round otherwise, and the files shall be the same everywhere.
    """
    lion, notes = program(folder)
    written = {}
    for target, style in styles().items():
        provenance = {key: notes[key] for key in ("source", "reference")}
        provenance |= {"program": "discovered/programs/lion.txt"}
        provenance[catalog.DIFFERENCE] = notes[f"largest difference, {target}"]
        provenance["written by"] = "python -m evolve.export.shipped"
        written[f"{target}.py"] = catalog.emit(target, lion, name(target), provenance, style)
    return written


def name(target: str) -> str:
    """What the optimizer is called: a function in Optax, a class elsewhere."""
    return "lion" if target == "optax" else "Lion"


def measured(target: str, folder: Path = FOLDER) -> float:
    """The largest difference of a shipped module from the reference."""
    source = (folder / f"{target}.py").read_text()
    lion = program(folder)[0]
    decay = lower(lion).hyperparameters[-1]
    assert decay.name == DECAY
    return replay.largest_difference(target, source, name(target), lion, weight_decay=decay.default)


def write(folder: Path = FOLDER) -> None:
    """Write every shipped module."""
    for file, source in sources(folder).items():
        (folder / file).write_text(source)


if __name__ == "__main__":
    write()
    for target in styles():
        print(f"{target}: {measured(target):.1e}", file=sys.stdout)
