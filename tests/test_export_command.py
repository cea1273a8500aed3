"""`evolve export`: what it writes, and what it says of bad input."""

import argparse
import importlib.util

import pytest
from export_checks import lint

from evolve.cli import main
from evolve.command.export import export
from evolve.errors import BadInput
from evolve.export import catalog, replay
from evolve.library.exported import exported, identifier
from evolve.search.log import FILE
from primitives.text import from_text, to_text
from primitives.zoo import zoo

TARGETS = ("optax", "torch", "keras", "numpy", "latex", "text")


def call(program, to, output=None, force=False):
    output = None if output is None else str(output)
    export(argparse.Namespace(program=str(program), to=to, output=output, force=force))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my program-2.txt"
    path.write_text(to_text(zoo("adamw")))
    return path


@pytest.mark.parametrize("to", TARGETS)
def test_every_target_to_the_standard_output(to, capsys):
    call("adamw", to)
    written, warned = capsys.readouterr()
    assert warned == ""
    assert "Loshchilov & Hutter 2019" in " ".join(written.split()), "provenance"
    assert tuple(catalog.TARGETS) == TARGETS
    if to in replay.ADAPTERS:
        assert f"{catalog.DIFFERENCE}: " in " ".join(written.split())
        noted = " ".join(written.split()).split(f"{catalog.DIFFERENCE}: ")[1].split()[0]
        measured = replay.largest_difference(to, written, "adamw", zoo("adamw"))
        assert float(noted) == pytest.approx(measured, rel=0.1) and measured < 1e-6


def test_to_a_file(tmp_path, file, capsys):
    out = tmp_path / "written"
    out.mkdir()
    for to in ("optax", "torch", "keras", "numpy"):
        call(file, to, out / f"{to}.py")
    assert capsys.readouterr() == ("", "")
    lint(out)
    assert "def my_program_2(" in (out / "optax.py").read_text()
    assert "class MyProgram2(" in (out / "torch.py").read_text()


def test_text_is_read_back(tmp_path):
    call("paper-program-8", "text", tmp_path / "p.txt")
    call(tmp_path / "p.txt", "text", tmp_path / "again.txt")
    first, again = ((tmp_path / f).read_text() for f in ("p.txt", "again.txt"))
    assert from_text(first) == from_text(again)


def test_unknown_target():
    with pytest.raises(BadInput) as caught:
        call("lion", "pytorch")
    assert str(caught.value) == (
        "'pytorch' is no target; the targets are optax, torch, keras, numpy, latex, text; "
        "did you mean 'torch'?"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("lion --to pytorch", "'pytorch' is no target; the targets are optax, torch, keras, numpy"),
        ("lion --to numpy -o there.py", "'there.py' exists; give another name, or --force"),
        ("there.py --to numpy", "'there.py'"),
        ("lion", "--to"),
    ],
)
def test_bad_input_on_the_command_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").write_text("precious")
    assert main(["export", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("evolve: ") and len(said.splitlines()) == 1 and message in said
    assert (tmp_path / "there.py").read_text() == "precious"
    assert main(["export", "lion", "--to", "text", "-o", "there.py", "--force"]) == 0
    assert from_text((tmp_path / "there.py").read_text()).slots == ("m",)


def test_no_program(tmp_path):
    (tmp_path / "poem.txt").write_text("Roses are red")
    with pytest.raises(BadInput, match=r"poem.txt': .*not Python syntax"):
        call(tmp_path / "poem.txt", "optax")
    with pytest.raises(BadInput, match=r"^'loin' is no known optimizer.*did you mean 'lion'"):
        call("loin", "optax")


def test_an_output_that_exists_is_kept_unless_forced(tmp_path):
    path = tmp_path / "lion.py"
    path.write_text("precious")
    with pytest.raises(BadInput) as caught:
        call("lion", "numpy", path)
    assert str(caught.value) == f"'{path}' exists; give another name, or --force to write over it"
    assert path.read_text() == "precious"
    call("lion", "numpy", path, force=True)
    assert "np.sign" in path.read_text()


def test_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be written \(No such file or directory\)$"):
        call("lion", "numpy", tmp_path / "nowhere" / "lion.py")
    with pytest.raises(BadInput, match=r"cannot be written \(Is a directory\)$"):
        call("lion", "numpy", tmp_path, force=True)


@pytest.mark.parametrize("to", ["optax", "torch", "keras"])
def test_a_framework_that_is_not_installed(to, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == to else found(n, *a)
    )
    with pytest.raises(BadInput) as caught:
        call("lion", to)
    assert str(caught.value) == (f"'{to}' needs {to}, which is not installed; pip install {to}")
    call("lion", "latex")  # needs none


def test_a_program_without_gradient_warns(tmp_path, capsys):
    path = tmp_path / "still.txt"
    path.write_text("def train(w, g, lr):\n    update = w * lr\n    return update\n")
    call(path, "numpy", tmp_path / "still.py")
    said = capsys.readouterr().err
    assert said == (
        f"evolve: warning: no gradient ever reaches the update of '{path}'; it learns nothing\n"
    )


def test_an_export_that_differs_warns(capsys, monkeypatch):
    monkeypatch.setattr(replay, "largest_difference", lambda *a: 0.25)
    assert "in 20 steps: 2.5e-01" in " ".join(exported("numpy", zoo("sgd"), "sgd")[0].split())
    call("sgd", "numpy")
    said = capsys.readouterr().err
    assert said == "evolve: warning: the export differs from the program by 2.5e-01 in 20 steps\n"


def test_a_program_that_is_never_finite_is_not_measured(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text(
        "def train(w, g, lr):\n    k = reciprocal(0.0)\n    update = g * k\n    return update\n"
    )
    call(path, "numpy", tmp_path / "p.py")
    assert "not measured" in (tmp_path / "p.py").read_text()
    lint(tmp_path)


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("paper-program-8", "paper_program_8"),
        ("a/b/My Best.v2.txt", "my_best_v2"),
        ("7up.txt", "optimizer_7up"),
        ("optax.txt", "optimizer_optax"),
        ("lambda.txt", "optimizer_lambda"),
        ("ü.txt", "optimizer"),
        ("x" * 90, "x" * 40),
    ],
)
def test_names(argument, name):
    assert identifier(argument) == name


def test_a_run_folder_is_its_champion(tmp_path, monkeypatch):
    (tmp_path / "lion").mkdir()
    (tmp_path / "lion" / FILE).touch()
    assert identifier(str(tmp_path / "lion")) == "champion"
    assert identifier(f"{tmp_path}/lion#17") == "program_17"
    monkeypatch.chdir(tmp_path)
    assert identifier("lion") == "lion"  # as everywhere: the optimizer, not the folder
    assert identifier("other#17") == "other_17"
