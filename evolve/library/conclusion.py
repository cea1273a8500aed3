"""What a run came to, in plain words: the last lines that `evolve run` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evolve.budget import duration
from evolve.errors import quoted
from evolve.library.numbers import percent
from evolve.library.tasks import resuming
from evolve.library.verdict import constants, failure, simplified
from evolve.programs import is_known
from evolve.understand.words import described
from primitives.abstract import analyse
from primitives.functions import COLUMN, PER_ARRAY, ROW, SCALAR, TREE
from primitives.text import from_text
from primitives.zoo import entry

_NOTHING = "Nothing was trained to its end yet, so there is no result; it needs more time."


def conclusion(s: dict[str, Any], start: str) -> Iterator[str]:
    """The lines.

    Arguments:
        s: the summary of the run's log.
        start: the name of the program that the search began with.
    """
    yield (
        f"In {duration(s['seconds'])} {s['generated']:,} programs were generated and "
        f"{s['evaluated']:,} of them trained."
    )
    champion, baseline = s["champion"], s["baseline"]
    if champion is None or baseline is None:
        yield _NOTHING
    elif champion["is_start"]:
        yield f"No program was found that trains better than {start} with tuned constants."
    else:
        yield from _found(s, start)
    if s["discovery"] is False:
        yield "This is not a discovery: the run began with a program of that family."
    yield from _next(s, champion is not None)


def _found(s: dict[str, Any], start: str) -> Iterator[str]:
    champion = s["champion"]
    text = champion["simplified"] or champion["live_program"]
    identity = champion["identity"]
    if identity is not None:
        yield f"The best of them, #{champion['id']}, {_what(identity, text)}."
    else:
        yield f"The best of them so far is #{champion['id']}."
    yield _memory(text, s["baseline"]["live_program"], start)
    yield from quality(s, start)
    yield ""
    yield text.rstrip()
    if simplified(s) is not None:
        yield ""
        found = f"evolve inspect {quoted(s['run'])}"
        yield f"(simplified, its constants tuned; as it was found: {found})"


def found_sentence(s: dict[str, Any], start: str) -> str:
    """What a run found, in one sentence."""
    champion, baseline = s["champion"], s["baseline"]
    if champion is None or baseline is None:
        return _NOTHING
    if champion["is_start"]:
        return f"No program was found that trains better than {start} with tuned constants."
    text = champion["simplified"] or champion["live_program"]
    what = "" if champion["identity"] is None else f" It {_what(champion['identity'], text)}."
    so_far = "" if s["closed"] else " so far"
    return (
        f"Among {s['evaluated']:,} programs that were trained, #{champion['id']} is the "
        f"best{so_far}.{what}"
    )


def _what(identity: dict[str, Any], text: str) -> str:
    family = identity["family"]
    if family is None:
        near = identity["nearest"]
        found = "is no known optimizer" + (f" (the most similar one is {near})" if near else "")
        return f"{found}. Its step is {described(from_text(text))}"
    meaning = entry(family).description
    meaning = meaning[0].lower() + meaning[1:]
    extra = f", with {', '.join(identity['extra'])}" if identity["extra"] else ""
    return f"is {family}{constants(identity)}{extra}: {meaning}"


def _memory(text: str, start_text: str, start: str) -> str:
    own, other = (analyse(from_text(t)).kinds for t in (text, start_text))
    each = "for each array of weights"
    if not own:
        return f"It remembers nothing from step to step; {start} remembers {_slots(other)} {each}."
    return f"From step to step it remembers {_slots(own)} {each}; {start} {_slots(other)}."


#: What a slot of each kind holds for an array: one, and more.
_HELD = {
    TREE: ("array", "arrays"),
    ROW: ("number for each row", "numbers for each row"),
    COLUMN: ("number for each column", "numbers for each column"),
    PER_ARRAY: ("number", "numbers"),
    SCALAR: ("number for all arrays", "numbers for all arrays"),
}


def _slots(kinds: Sequence[str]) -> str:
    """What slots hold, in words."""
    counts = {kind: kinds.count(kind) for kind in _HELD if kind in kinds}
    found = [f"{count} {_HELD[kind][count > 1]}" for kind, count in counts.items()]
    return " and ".join(found) or "no arrays"


def quality(s: dict[str, Any], start: str) -> Iterator[str]:
    """How well a run's champion does on held-out data, in words."""
    if s["heldout"] is None:
        yield "How well it does on data held out from the search was not measured yet."
    for row in s["heldout"] or []:
        scale = row["rung"].removeprefix("x")
        where = "" if scale == "1" else f", with {scale} times the compute,"
        yield f"On held-out data of {row['task']}{where} {_compared(row, start)}."
    for text in s["left_out"]:
        yield f"Left for later: {text}"


def _compared(row: dict[str, Any], start: str) -> str:
    comparison = row["comparison"]
    if comparison is None or comparison["error"] is None:
        return f"there is {failure(row) or 'no comparison'}"
    mean, error = comparison["mean"], comparison["error"]
    seeds = f"{comparison['pairs']} fresh seeds, better on {comparison['wins']}"
    chance = "" if comparison["p"] is None else f", p = {comparison['p']:.1g}"
    if abs(mean) <= 2 * error:
        return (
            f"it is level with {start}, all of whose constants are tuned: {percent(mean, error)} "
            f"({seeds}{chance})"
        )
    word = "more" if mean > 0 else "less"
    numbers = f"{percent(abs(mean), error).removeprefix('+')} {word}"
    return f"it gains {numbers} from training than tuned {start}\n({seeds}{chance})"


def _next(s: dict[str, Any], found: bool) -> Iterator[str]:
    folder, tasks = quoted(s["run"]), s["provenance"]["config"]["tasks"]
    commands = {
        f"evolve inspect {folder}": "everything that was found",
        resuming(s["run"], tasks, "30m"): "go on searching",
    }
    if found:
        program = f"./{folder}" if is_known(s["run"]) else folder
        commands[f"evolve export {program} --to torch -o found.py"] = "the optimizer, for PyTorch"
    width = max(map(len, commands))
    yield ""
    yield "Next you can type:"
    for command, what in commands.items():
        yield f"  {command:<{width}}  # {what}"
