"""What the studies of the search found, as program files that `evolve export` takes, and a table.

`python -m evolve.studies.found_programs` writes `discovered/programs/UNIT.txt` for the champion of
each unit of the study, from its digest in `discovered/study`: the simplified program, and above it
where it comes from, the raw program, the steps between them and what it is worth. And it writes the
study's table into `discovered/README.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evolve.studies import extended
from evolve.studies.rediscovery import earlier, read
from evolve.studies.table import compared, comparisons, table
from evolve.studies.table import found as shown
from primitives.functions import PAPER

ROOT = Path(__file__).parents[2]
PROGRAMS, README = ROOT / "discovered" / "programs", ROOT / "discovered" / "README.md"


def main() -> None:
    for unit, digest in every().items():
        (PROGRAMS / f"{unit}.txt").write_text(text(unit, digest))
    README.write_text(written(README.read_text()))


def every() -> dict[str, dict[str, Any]]:
    """The digests of all runs whose champions are kept, by unit."""
    return {**earlier(), **read(), **extended.read()}


def written(text: str) -> str:
    """The page with the tables of the study, and of the seeds before it."""
    study = table(read()) if read() else "None has run so far."
    return replaced(replaced(text, "study", study), "earlier", shown(earlier()))


def replaced(text: str, name: str, content: str) -> str:
    """A text with other content between the two comments that say where a part begins and ends."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content}\n{end}{after}"


def text(unit: str, digest: dict[str, Any]) -> str:
    """The file of a unit's champion."""
    simplified = digest["champion"]["simplified"] or digest["champion"]["live_program"]
    return "".join(f"# {line}".rstrip() + "\n" for line in _header(unit, digest)) + simplified


def _header(unit: str, digest: dict[str, Any]) -> Iterator[str]:
    champion, settings = digest["champion"], digest["settings"]
    identity, config = champion["identity"] or {}, digest["provenance"]["config"]
    parameters = (f"{name} {value:g}" for name, value in (identity.get("parameters") or {}).items())
    yield ", ".join([identity.get("family") or "no known optimizer", *parameters])
    language = "" if config["language"] == PAPER else f" --language {config['language']}"
    yield f"found by: evolve run{language} --budget {digest['budget']} --seed {config['seed']}"
    if unit.startswith("again-"):
        yield "its best programs were judged anew, by a later version"
    if settings:
        yield f"with: {', '.join(f'{key} = {value}' for key, value in settings.items())}"
    yield f"at commit: {digest['commit']}"
    at = digest["champion_found_at"]["generated"]
    yield f"program: #{champion['id']}, after {at:,} of {digest['generated']:,} generated"
    yield f"better than the tuned start on held-out data by: {_worth(digest)}"
    yield "raw program, its dead statements removed:"
    yield from (f"    {line}" for line in champion["live_program"].splitlines())
    yield "simplified:"
    for step in (champion["chain"] or {}).get("steps", []):
        yield f"    {step['kind']}: {step['how']}"


def _worth(digest: dict[str, Any]) -> str:
    held = comparisons(digest)
    texts = (f"{task} at {rung} {compared(one)}" for (task, rung), one in held.items())
    return ", ".join(texts) or "not compared"


if __name__ == "__main__":
    main()
