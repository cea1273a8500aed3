# PYTHON_ARGCOMPLETE_OK
"""The command line: `evolve run | resume | inspect | funnel | simplify | ...`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from evolve.errors import BadInput, EvolveError, printable


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence and exit code 2, as for every other bad input."""
        raise BadInput(f"{message}; see '{self.prog} --help'")


def parser() -> argparse.ArgumentParser:
    """The whole command line; every default stands in the help."""
    top = _Parser(
        prog="evolve",
        description="Search for optimizers: mutate AdamW, train the children, keep the better.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="begin a search"))
    _add_resume(commands.add_parser("resume", help="go on with a run"))
    _add_inspect(commands.add_parser("inspect", help="show what a run found"))
    _add_report(commands.add_parser("report", help="write a page to look at about a run"))
    _add_funnel(
        commands.add_parser("funnel", help="compare the champion and the start on larger tasks")
    )
    _add_explain(commands.add_parser("explain", help="show what each statement of a program does"))
    _add_compare(commands.add_parser("compare", help="programs against each other, each tuned"))
    _add_simplify(commands.add_parser("simplify", help="shrink a program, with evidence"))
    _add_identify(commands.add_parser("identify", help="name the optimizer that a program is"))
    _add_export(commands.add_parser("export", help="write a program as an optimizer"))
    tasks = commands.add_parser("tasks", help="list the proxy tasks")
    tasks.add_argument("--json", action="store_true", help="print JSON (default: a table)")
    return top


def _add_run(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--budget",
        default="30m",
        metavar="B",
        help="how long: 30m, 2h, 20000evals (programs trained), 300000programs or 9000000steps "
        "(default: 30m)",
    )
    p.add_argument("--seed", type=int, metavar="N", help="of every random choice (default: 0)")
    p.add_argument("--out", metavar="DIR", help="the run folder (default: runs/1, runs/2, ...)")
    p.add_argument(
        "--tasks",
        metavar="A,B",
        help="names from 'evolve tasks', or package.module:object (default: text_transformer)",
    )
    _add_objective(p)
    p.add_argument(
        "--start",
        metavar="PROGRAM",
        help="the start program: an optimizer's name, RUN#ID, a run folder or a file "
        "(default: adamw)",
    )
    p.add_argument(
        "--language",
        metavar="LANGUAGE",
        help="paper, or extended: with functions that see the rows and columns of weights "
        "(default: paper)",
    )
    p.add_argument(
        "--in-flight",
        metavar="N",
        help="so many trainings may be asked for at a time, which is the most workers that can be "
        "busy; what is found depends on it (default: 16)",
    )
    _add_session(p)


def _add_resume(p: argparse.ArgumentParser) -> None:
    p.add_argument("run", metavar="RUN", help="a run folder")
    p.add_argument(
        "--budget", metavar="ADDED", help="go on for this much more (default: what is left)"
    )
    _add_session(p)


def _add_session(p: argparse.ArgumentParser) -> None:
    _add_workers(p)
    p.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="a Ray cluster that this machine is part of (default: Ray on this machine)",
    )
    p.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file of settings (default: none); see evolve/search/README.md",
    )
    p.add_argument("--quiet", action="store_true", help="no progress (default: progress)")


def _add_workers(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--workers",
        default="auto",
        metavar="auto|0|N",
        help="Ray workers; auto is one for each core, 0 one child process without Ray "
        "(default: auto)",
    )


def _add_objective(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--objective",
        metavar="OBJECTIVE",
        help="equal-memory (a program with less state trains a larger model) or loss "
        "(default: equal-memory)",
    )


def _add_inspect(p: argparse.ArgumentParser) -> None:
    p.add_argument("run", metavar="RUN", help="a run folder; it may be running")
    p.add_argument("--top", type=int, metavar="K", help="so many of the fittest (default: 5)")
    p.add_argument(
        "--id", type=int, metavar="ID", help="one program and its ancestry (default: the summary)"
    )
    p.add_argument("--json", action="store_true", help="print JSON (default: text)")


def _add_report(p: argparse.ArgumentParser) -> None:
    p.add_argument("run", metavar="RUN", help="a run folder; it may be running")
    p.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the file to write (default: RUN/report.html, anew each time)",
    )
    p.add_argument(
        "--force", action="store_true", help="write over an existing FILE (default: refuse)"
    )


def _add_funnel(p: argparse.ArgumentParser) -> None:
    p.add_argument("run", metavar="RUN", help="a run folder; its search must have ended")
    p.add_argument(
        "--rung",
        default="x10",
        metavar="x10|x100",
        help="how many times the compute of the run's tasks (default: x10)",
    )
    _add_workers(p)
    p.add_argument("--json", action="store_true", help="print JSON (default: text)")


def _add_program(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "program",
        metavar="PROGRAM",
        help="an optimizer's name, RUN#ID, a run folder (its champion) or a file",
    )


def _add_trials(p: argparse.ArgumentParser, default: str = "text_transformer") -> None:
    p.add_argument(
        "--tasks",
        metavar="A,B",
        help="where quality is measured (default: those of the run that PROGRAM is from, or "
        f"{default})",
    )
    _add_workers(p)


def _add_explain(p: argparse.ArgumentParser) -> None:
    _add_program(p)
    _add_trials(p)
    p.add_argument("--json", action="store_true", help="print JSON (default: a table)")


def _add_compare(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "programs",
        nargs="+",
        metavar="PROGRAM",
        help="two or more, the first being what the others are compared with",
    )
    _add_trials(p)
    _add_objective(p)
    p.add_argument(
        "--rung",
        default="x1",
        metavar="x10|x100",
        help="so many times the compute of the tasks; a comparison shows x1 too (default: x1)",
    )
    p.add_argument(
        "--sweep",
        metavar="lr,decay|batch|time",
        help="instead, the loss over learning rate and weight decay, or over batch sizes, or the "
        "time of a step; kept in the first PROGRAM that is a run folder, whose report shows it "
        "(default: no sweep)",
    )
    p.add_argument("--json", action="store_true", help="print JSON (default: a table)")


def _add_simplify(p: argparse.ArgumentParser) -> None:
    _add_program(p)
    _add_trials(p, "text_transformer,digits_vit")
    p.add_argument(
        "--continue",
        dest="further",
        metavar="500evals",
        help="then look for shorter programs, by evolution without insertions (default: not)",
    )
    p.add_argument(
        "--proven",
        action="store_true",
        help="exact, algebraic and limit steps only; nothing is trained (default: all steps)",
    )
    p.add_argument("--json", action="store_true", help="print the chain as JSON (default: text)")


def _add_identify(p: argparse.ArgumentParser) -> None:
    _add_program(p)
    p.add_argument("--json", action="store_true", help="print JSON (default: text)")


def _add_export(p: argparse.ArgumentParser) -> None:
    _add_program(p)
    p.add_argument(
        "--to",
        required=True,
        metavar="TARGET",
        help="optax, torch, keras, numpy, latex or text (default: none, it must be given)",
    )
    p.add_argument(
        "-o", "--output", metavar="FILE", help="the file to write (default: standard output)"
    )
    p.add_argument(
        "--force", action="store_true", help="write over an existing file (default: refuse)"
    )


def _command(name: str) -> Callable[[argparse.Namespace], None]:
    """The commands' modules are imported when needed, so that --help is quick."""
    if name in ("run", "resume"):
        from evolve.command import run

        return run.run if name == "run" else run.resume
    if name == "inspect":
        from evolve.command import show

        return show.inspect
    if name in ("explain", "identify"):
        from evolve.command import explain

        return explain.run_explain if name == "explain" else explain.run_identify
    if name == "compare":
        from evolve.command import compare

        return compare.run
    if name == "report":
        from evolve.command import report

        return report.report
    if name == "funnel":
        from evolve.command import funnel

        return funnel.run
    if name == "simplify":
        from evolve.command import simplify

        return simplify.run
    if name == "export":
        from evolve.command import export

        return export.export
    from evolve.command import tasks

    return tasks.tasks


#: How writing fails on a disk that is full, or has trouble.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        if "_ARGCOMPLETE" in os.environ:  # a shell asks how the line may go on
            import argcomplete

            argcomplete.autocomplete(parser())
        arguments = parser().parse_args(argv)
        _command(arguments.command)(arguments)
        sys.stdout.flush()  # a reader that has gone is noticed here, not when Python ends
    except EvolveError as error:
        print(f"evolve: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`evolve inspect RUN | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"evolve: the output cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
