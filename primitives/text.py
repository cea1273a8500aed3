"""The text form of a program: Python syntax, read strictly and never executed.

    def train(w, g, m, lr):
        update = interp(g, m, 0.9)
        update = sign(update)
        m = interp(g, m, 0.99)
        update = update * lr
        return update, m

`to_text(from_text(text))` is byte-identical for every text that `to_text` wrote.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from functools import lru_cache

import numpy as np

from primitives.functions import BY_INFIX, BY_NAME, KINDS, TREE
from primitives.program import (
    GRADIENT,
    RATE,
    UPDATE,
    WEIGHTS,
    Argument,
    Program,
    ProgramError,
    Statement,
    check_name,
    constant,
)

#: Longest text that is read, in characters; the rest would only cost memory.
MAX_CHARACTERS = 1_000_000

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}


def to_text(program: Program) -> str:
    """The program as Python source, ending in a newline."""
    kinds = {slot: f"{slot}: {kind}" for slot, kind in program.narrow}
    slots = (kinds.get(slot, slot) for slot in program.slots)
    parameters = ", ".join((WEIGHTS, GRADIENT, *slots, RATE))
    lines = [f"def train({parameters}):"]
    lines += ["    " + statement_text(statement) for statement in program.statements]
    lines.append("    return " + ", ".join((UPDATE, *program.slots)))
    return "\n".join(lines) + "\n"


def statement_text(statement: Statement) -> str:
    """One statement, without indentation: `m = interp(g, m, 0.9)`."""
    arguments = [_argument_text(argument) for argument in statement.arguments]
    infix = BY_NAME[statement.function].infix
    if infix:
        return f"{statement.target} = {arguments[0]} {infix} {arguments[1]}"
    return f"{statement.target} = {statement.function}({', '.join(arguments)})"


def _argument_text(argument: Argument) -> str:
    """Constants print as the shortest decimal that reads back to the same float32."""
    return argument if isinstance(argument, str) else _constant_text(argument.hex())


@lru_cache(maxsize=1 << 14)
def _constant_text(exact: str) -> str:  # by its digits, because 0.0 == -0.0
    return str(np.float32(float.fromhex(exact)))


def from_text(text: str) -> Program:
    """Read a program.

    Raises:
        ProgramError: with the line, what stands there and the remedy. Kinds and
            use before assignment are checked by `primitives.abstract.analyse`.
    """
    if len(text) > MAX_CHARACTERS:
        raise ProgramError(
            f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are read"
        )
    text = text.removeprefix("\ufeff")  # what some editors put first
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's advice on text that is refused below
            module = ast.parse(text)
    except SyntaxError as error:
        line = f"line {error.lineno}: " if error.lineno else ""  # none for null characters
        raise ProgramError(f"{line}not Python syntax ({error.msg})") from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise ProgramError(
            f"not Python syntax ({type(error).__name__}: nested too deeply?)"
        ) from None
    match module.body:
        case [ast.FunctionDef(name="train") as function]:
            return _read_function(function)
    raise ProgramError("expected one function 'def train(w, g, ..., lr):' and nothing else")


def _read_function(function: ast.FunctionDef) -> Program:
    slots, narrow = _read_signature(function)
    *body, last = _without_docstring(function.body)
    statements = tuple(_read_statement(node) for node in body)
    expected = ", ".join((UPDATE, *slots))
    if not isinstance(last, ast.Return) or _returned(last) != [UPDATE, *slots]:
        raise ProgramError(f"line {last.lineno}: the last line must be 'return {expected}'")
    return Program(statements, slots, narrow)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), _, *_]:
            return body[1:]
    return body


def _read_signature(
    function: ast.FunctionDef,
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    a = function.args
    names = [argument.arg for argument in a.args]
    plain = not (
        a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg or a.defaults or a.kw_defaults
    )
    kinds = [(argument.arg, _kind(argument)) for argument in a.args]
    outer = [kind for name, kind in kinds if name in (WEIGHTS, GRADIENT, RATE)]
    if (
        not plain
        or any(outer)
        or function.returns
        or function.decorator_list
        or getattr(function, "type_params", None)
    ):
        raise ProgramError(
            f"line {function.lineno}: 'train' takes plain positional arguments only; "
            "remove decorators, defaults and annotations"
        )
    if names[:2] != [WEIGHTS, GRADIENT] or names[-1:] != [RATE] or len(names) < 3:
        raise ProgramError(
            f"line {function.lineno}: the arguments are ({', '.join(names)}); "
            "they must be (w, g, <slots>, lr)"
        )
    narrow = tuple((name, kind) for name, kind in kinds[2:-1] if kind not in (None, TREE))
    return tuple(names[2:-1]), narrow


def _kind(argument: ast.arg) -> str | None:
    """The kind that is written behind a name."""
    match argument.annotation:
        case None:
            return None
        case ast.Name(id=name) if name in KINDS:
            return name
    raise ProgramError(
        f"line {argument.lineno}: what stands behind '{argument.arg}' is no kind; "
        f"the kinds are {', '.join(KINDS)}"
    )


def _returned(node: ast.Return) -> list[str | None]:
    elements = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return [element.id if isinstance(element, ast.Name) else None for element in elements]


def _read_statement(node: ast.stmt) -> Statement:
    match node:
        case ast.Assign(targets=[ast.Name(id=target)], value=value):
            pass
        case _:
            raise ProgramError(
                f"line {node.lineno}: only assignments 'name = function(arguments)' are allowed"
            )
    try:
        check_name(target)
        function, arguments = _read_call(value)
        return Statement(target, function, tuple(_read_argument(a) for a in arguments))
    except ProgramError as error:
        raise ProgramError(f"line {node.lineno}: {error}") from None


def _read_call(value: ast.expr) -> tuple[str, list[ast.expr]]:
    match value:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return BY_INFIX[_OPERATORS[type(op)]].name, [left, right]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            _check_call(name, len(arguments))
            return name, arguments
    raise ProgramError("the right side must be one function of the language, or + - * / of two")


def _check_call(name: str, count: int) -> None:
    if name not in BY_NAME:
        near = difflib.get_close_matches(name, BY_NAME, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "; the functions are in primitives"
        raise ProgramError(f"unknown function '{name}'{hint}")
    function = BY_NAME[name]
    if function.infix:
        raise ProgramError(f"'{name}' is written infix: a {function.infix} b")
    if count != function.arity:
        raise ProgramError(f"'{name}' takes {function.arity} arguments, not {count}")


def _read_argument(node: ast.expr) -> Argument:
    match node:
        case ast.Name(id=name):
            check_name(name)
            return name
        case ast.Constant(value=float() | int() as value) if not isinstance(value, bool):
            return _read_constant(value)
        case ast.UnaryOp(
            op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=float() | int() as value)
        ) if not isinstance(value, bool):
            found = _read_constant(value)
            return -found if isinstance(sign, ast.USub) else found
    raise ProgramError("an argument must be a variable or a number; give other values a name first")


def _read_constant(value: float) -> float:
    try:
        found = constant(float(value))
    except OverflowError:
        raise ProgramError("a constant is too large for float32; use a smaller one") from None
    if value and not found:
        raise ProgramError(f"the constant {value} is 0 in float32; use a larger one, or 0")
    return found
