"""`python -m evolve.studies.proxy_tables` writes the tables of `proxy_tasks/README.md`.

From what `calibration` and `way` measured: `discovered/calibration.jsonl` and
`discovered/way.jsonl`.
"""

from __future__ import annotations

from evolve.studies import calibration as calibration
from evolve.studies import way as way
from evolve.studies.found_programs import ROOT, replaced

README = ROOT / "proxy_tasks" / "README.md"
CALIBRATION, WAY = (ROOT / "discovered" / f"{name}.jsonl" for name in ("calibration", "way"))


def written(readme: str) -> str:
    """The text with its tables as they should be."""
    rows = calibration.read(CALIBRATION)
    text = replaced(
        readme, "calibration", f"{calibration.table(rows)}\n\n{calibration.choice(rows)}"
    )
    return replaced(text, "way", way.table(calibration.read(WAY)))


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
