"""The text form: it reads back to the same program, and nothing else is let in."""

import ast
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import examples, programs

from primitives.abstract import analyse
from primitives.functions import FUNCTIONS
from primitives.program import Program, ProgramError, Statement, check_name, constant
from primitives.text import from_text, to_text
from primitives.zoo import ENTRIES, NAMES, zoo

LION = """\
def train(w, g, m, lr):
    update = interp(g, m, 0.9)
    update = sign(update)
    m = interp(g, m, 0.99)
    update = update * lr
    return update, m
"""


# Round trips --------------------------------------------------------------------------------


@settings(max_examples=examples(200, 10_000))
@given(programs(max_slots=8))
def test_programs_read_back_the_same(program):
    printed = to_text(program)
    again = from_text(printed)
    assert again == program
    assert to_text(again) == printed
    ast.parse(printed)


@settings(max_examples=examples(500, 20_000))
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_constants_read_back_bit_for_bit(value):
    statement = Statement("update", "multiply", ("g", value))
    again = from_text(to_text(Program((statement,), ()))).statements[0].arguments[1]
    assert np.float32(again).tobytes() == np.float32(value).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_zoo_prints_the_same_twice(name):
    printed = to_text(zoo(name))
    assert to_text(from_text(printed)) == printed
    assert from_text(ENTRIES[name].text) == zoo(name)


def test_the_form_itself():
    assert to_text(from_text(LION)) == LION
    loose = (
        "# a comment\ndef train( w,g , m, lr ):\n  update=(g+ m)\n  m = g / 2\n\n  return update,m"
    )
    want = "def train(w, g, m, lr):\n    update = g + m\n    m = g / 2.0\n    return update, m\n"
    assert to_text(from_text(loose)) == want
    none = from_text("def train(w, g, lr):\n update = g * -1e-3\n return update\n")
    assert to_text(none) == "def train(w, g, lr):\n    update = g * -0.001\n    return update\n"
    assert none.slots == ()


def test_constants_are_rounded_to_float32():
    (statement,) = from_text("def train(w, g, lr):\n update = g * 0.1\n return update").statements
    assert statement.arguments == ("g", float(np.float32(0.1)))
    assert constant(0.1) != 0.1
    assert constant(1e-50) == 0


# Bad input ----------------------------------------------------------------------------------


def around(*lines):
    return "\n ".join(["def train(w, g, m, lr):", *lines, "return update, m"])


ASSIGN = "only assignments 'name = function(arguments)' are allowed"
RIGHT = "the right side must be one function of the language, or + - * / of two"
ARGUMENT = "an argument must be a variable or a number; give other values a name first"
PLAIN = "'train' takes plain positional arguments only; remove decorators, defaults and annotations"
ONE = "expected one function 'def train(w, g, ..., lr):' and nothing else"

BAD = {
    "syntax error": (around("update = = g"), "line 2: not Python syntax (invalid syntax)"),
    "indentation": ("def train(w, g, lr):\nupdate = g", "line 2: not Python syntax (expected an"),
    "unknown function": (
        around("update = sgn(g)"),
        "line 2: unknown function 'sgn'; did you mean 'sign'?",
    ),
    "unknown function, nothing near": (
        around("update = zzzzzz(g)"),
        "line 2: unknown function 'zzzzzz'; the functions are in primitives",
    ),
    "argument count": (
        around("m = g * lr", "update = interp(g, m)"),
        "line 3: 'interp' takes 3 arguments, not 2",
    ),
    "no arguments": (around("update = sign()"), "line 2: 'sign' takes 1 arguments, not 0"),
    "infix by name": (around("update = add(g, m)"), "line 2: 'add' is written infix: a + b"),
    "import": ("import os\n" + LION, ONE),
    "import inside": (around("import os", "update = g * lr"), f"line 2: {ASSIGN}"),
    "attribute": (around("update = g.real"), f"line 2: {RIGHT}"),
    "method": (around("update = g.__class__()"), f"line 2: {RIGHT}"),
    "attribute as argument": (around("update = sign(g.real)"), f"line 2: {ARGUMENT}"),
    "builtin": (around("update = __import__('os')"), "line 2: unknown function '__import__'"),
    "exec": (around("update = exec('1')"), "line 2: unknown function 'exec'"),
    "print": (around("print(g)"), f"line 2: {ASSIGN}"),
    "lambda": (around("update = (lambda: g)()"), f"line 2: {RIGHT}"),
    "lambda as argument": (around("update = sign(lambda: g)"), f"line 2: {ARGUMENT}"),
    "nested call": (around("update = sign(sign(g))"), f"line 2: {ARGUMENT}"),
    "nested sum": (around("update = g + m + w"), f"line 2: {ARGUMENT}"),
    "bare name": (around("update = g"), f"line 2: {RIGHT}"),
    "bare number": (around("update = 1.0"), f"line 2: {RIGHT}"),
    "power operator": (around("update = g ** 2"), f"line 2: {RIGHT}"),
    "matrix product": (around("update = g @ m"), f"line 2: {RIGHT}"),
    "comparison": (around("update = g < m"), f"line 2: {RIGHT}"),
    "unary": (around("update = -g"), f"line 2: {RIGHT}"),
    "minus a variable": (around("update = g * -m"), f"line 2: {ARGUMENT}"),
    "too small": (around("update = g * 1e-60"), "line 2: the constant 1e-60 is 0 in float32"),
    "keyword argument": (around("update = sign(x=g)"), f"line 2: {RIGHT}"),
    "starred": (around("update = interp(*g)"), "line 2: 'interp' takes 3 arguments, not 1"),
    "starred, right count": (around("update = sign(*g)"), f"line 2: {ARGUMENT}"),
    "string": (around("update = sign('g')"), f"line 2: {ARGUMENT}"),
    "bool": (around("update = g * True"), f"line 2: {ARGUMENT}"),
    "minus bool": (around("update = g * -True"), f"line 2: {ARGUMENT}"),
    "None": (around("update = g * None"), f"line 2: {ARGUMENT}"),
    "complex": (around("update = g * 1j"), f"line 2: {ARGUMENT}"),
    "walrus": (around("update = sign((x := g))"), f"line 2: {ARGUMENT}"),
    "f-string": (around("update = sign(f'{g}')"), f"line 2: {ARGUMENT}"),
    "list": (around("update = sign([g for g in m])"), f"line 2: {ARGUMENT}"),
    "augmented": (around("update += g"), f"line 2: {ASSIGN}"),
    "annotated": (around("update: int = sign(g)"), f"line 2: {ASSIGN}"),
    "two targets": (around("update = m = sign(g)"), f"line 2: {ASSIGN}"),
    "tuple target": (around("update, m = sign(g)"), f"line 2: {ASSIGN}"),
    "item target": (around("m[0] = sign(g)"), f"line 2: {ASSIGN}"),
    "late docstring": (around("update = sign(g)", "'text'"), f"line 3: {ASSIGN}"),
    "loop": (around("while 1: pass"), f"line 2: {ASSIGN}"),
    "early return": (around("return update, m", "update = sign(g)"), f"line 2: {ASSIGN}"),
    "decorator": ("@print\n" + LION, PLAIN),
    "default": (LION.replace("lr)", "lr=1)"), PLAIN),
    "keyword only": (LION.replace("m, lr", "*, m, lr"), PLAIN),
    "positional only": (LION.replace("m, lr", "m, /, lr"), PLAIN),
    "variadic": (LION.replace("m, lr", "m, *lr"), PLAIN),
    "annotation": (
        LION.replace("m, lr", "m: int, lr"),
        "line 1: what stands behind 'm' is no kind; the kinds are scalar, per_array, row, column, ",
    ),
    "kind of an input": (LION.replace("w, g", "w: tree, g"), PLAIN),
    "result annotation": (LION.replace("):", ") -> int:"), PLAIN),
    "async": ("async " + LION, ONE),
    "class": ("class train: pass", ONE),
    "other name": (LION.replace("train", "step"), ONE),
    "two functions": (LION + LION, ONE),
    "statement after": (LION + "x = 1\n", ONE),
    "empty": ("", ONE),
    "blank": ("\n \n", ONE),
    "order of arguments": (
        "def train(g, w, lr):\n update = sign(g)\n return update",
        "line 1: the arguments are (g, w, lr); they must be (w, g, <slots>, lr)",
    ),
    "no rate": (
        "def train(w, g):\n update = sign(g)\n return update",
        "line 1: the arguments are (w, g); they must be (w, g, <slots>, lr)",
    ),
    "slot twice": (
        "def train(w, g, m, m, lr):\n return update, m, m",
        "a slot is named twice in m, m; rename one",
    ),
    "slot named like an input": (
        "def train(w, g, w, lr):\n return update, w",
        "'w' cannot be the name of a slot; choose another name",
    ),
    "slot named like a function": (
        "def train(w, g, sign, lr):\n return update, sign",
        "'sign' is the name of a function; choose another variable name",
    ),
    "target named like a function": (
        around("sign = sign(g)"),
        "line 2: 'sign' is the name of a function; choose another variable name",
    ),
    "function as argument": (
        around("update = sign(sign)"),
        "line 2: 'sign' is the name of a function; choose another variable name",
    ),
    "foreign letters": (
        around("größe = sign(g)"),
        "line 2: 'größe' is not a name; use letters, digits and _",
    ),
    "no return": (
        "def train(w, g, lr):\n update = sign(g)",
        "line 2: the last line must be 'return update'",
    ),
    "wrong return": (
        LION.replace("return update, m", "return m, update"),
        "line 6: the last line must be 'return update, m'",
    ),
    "empty return": (LION.replace("return update, m", "return"), "line 6: the last line must be"),
    "return of an expression": (
        LION.replace("return update, m", "return update, sign(m)"),
        "line 6: the last line must be 'return update, m'",
    ),
    "1e999": (
        around("update = g * 1e999"),
        "line 2: the constant inf is not a finite float32; use a smaller one",
    ),
    "too large for float32": (
        around("update = g * -1e39"),
        "line 2: the constant 1e+39 is not a finite float32; use a smaller one",
    ),
    "huge integer": (
        around("update = g * 0x" + "f" * 4000),
        "line 2: a constant is too large for float32; use a smaller one",
    ),
    "huger integer": (around("update = g * " + "1" * 5000), "not Python syntax (Exceeds the limit"),
    "null byte": (LION + "\0", "not Python syntax (source code string cannot contain null bytes)"),
    "null byte inside": (LION.replace("sign", "si\0gn"), "cannot contain null bytes"),
    "surrogate": (around("update = sign(\ud800)"), "not Python syntax (UnicodeEncodeError"),
    "deep parentheses": (around("update = " + "(" * 300 + "g" + ")" * 300), "not Python syntax ("),
    "deep minus": (around("update = g * " + "-" * 50_000 + "1"), "not Python syntax ("),
    "deep attributes": (around("update = g" + ".a" * 50_000), "not Python syntax (RecursionError"),
    "deep sum": (around("update = g" + " + g" * 50_000), "not Python syntax (RecursionError"),
    "deep lambda": (around("update = " + "lambda:" * 20_000 + "g"), "not Python syntax ("),
    "deep blocks": (
        "\n".join([" " * i + "if g:" for i in range(200)]) + "\n" + " " * 200 + "pass",
        "not Python syntax (too many levels of indentation)",
    ),
    "giant text": ("#" * 2_000_000, "the text has 2000000 characters; at most 1000000 are read"),
    "bad escape": (around(r"update = sign('\d')"), f"line 2: {ARGUMENT}"),
    "odd number": (around("update = 1if g else m"), f"line 2: {RIGHT}"),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_bad_texts_are_refused_in_one_sentence(bad, message, capsys):
    with warnings.catch_warnings(record=True) as caught, pytest.raises(ProgramError) as error:
        warnings.simplefilter("always")
        from_text(bad)
    sentence = str(error.value)
    assert message in sentence
    assert "\n" not in sentence
    assert "None" not in sentence
    assert len(sentence) < 400
    assert not caught
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["update = g * nan"], "'nan' is used before it is assigned"),
        (["update = g * inf"], "'inf' is used before it is assigned"),
        (["update = g * train2"], "'train2' is used before it is assigned"),
        (["m = sign(g)"], "'update' is never assigned"),
        (["update = interp(g, m, g)"], "'interp' does not take (tree, tree, tree)"),
    ],
)
def test_texts_that_read_but_do_not_make_sense(lines, message):
    program = from_text(around(*lines))
    with pytest.raises(ProgramError) as error:
        analyse(program)
    assert message in str(error.value)


READ_ALL = """
import json, sys
from primitives.program import ProgramError
from primitives.text import from_text

def note(name, arguments):
    if listening:
        seen.add((name, str(arguments[0])[:20] if name != "compile" else ""))

texts, seen, listening = json.load(sys.stdin), set(), False
sys.addaudithook(note)
listening = True
for text in texts:
    try:
        from_text(text)
    except ProgramError:
        pass
listening = False
print(json.dumps(sorted(seen)))
"""


@pytest.mark.promise(9)
def test_nothing_of_the_text_is_executed():
    """While hostile text is read, the only audited action is the parse."""
    texts = json.dumps([LION, *(bad for bad, _ in BAD.values())])
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL], input=texts, capture_output=True, text=True, check=True
    )
    # For foreign letters Python's parser loads unicodedata, and to show a line of wrong syntax
    # it looks for the file that the line is said to come from.
    harmless = [["compile", ""], ["import", "unicodedata"], ["open", "<unknown>"]]
    assert [action for action in json.loads(done.stdout) if action not in harmless] == []


def scrambled():
    """Text that is nearly a program."""
    pieces = st.sampled_from(
        [
            *(f.name for f in FUNCTIONS),
            *("def", "train", "return", "w", "g", "m", "lr", "update", "=", "(", ")", ",", ":"),
            *("\n", "\n    ", " ", "+", "-", "*", "/", "0.9", "1e400", "'", '"', "#", "\\", "@"),
            *("lambda", "import os", "\0", "\t", "é", "[", "]", "{", "}", ".", "if", "None", "0x"),
        ]
    )
    return st.lists(pieces, max_size=30).map("".join)


@pytest.mark.promise(16)
@settings(max_examples=examples(400, 100_000))
@given(st.one_of(st.text(max_size=200), scrambled()), st.integers(0, len(LION)), st.booleans())
def test_any_text_is_a_program_or_a_program_error(noise, place, inside):
    noisy = LION[:place] + noise + LION[place:] if inside else noise
    try:
        program = from_text(noisy)
        analyse(program)
    except ProgramError as error:
        assert "\n" not in str(error)
    else:
        assert from_text(to_text(program)) == program


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "for", "None", "sin", "train", "ä", "a.b", "a\n"]
)
def test_names_that_cannot_name_a_variable(name):
    with pytest.raises(ProgramError):
        check_name(name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39, -1e300])
def test_constants_that_are_no_float32(value):
    with pytest.raises(ProgramError, match="is not a finite float32"):
        constant(value)


def test_what_people_write_besides_is_read() -> None:
    """A docstring, a unary plus, and the byte order mark that some editors put first."""
    plain = from_text(LION)
    lines = LION.splitlines()
    documented = "\n".join([lines[0], '    """What it does."""', *lines[1:]]) + "\n"
    assert from_text(documented) == plain
    assert from_text("\ufeff" + LION) == plain
    assert from_text(LION.replace(", 0.9)", ", +0.9)")) == plain
