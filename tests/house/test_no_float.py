"""No float on the way of money: neither written, nor named, nor got from a function or an operator that gives one.

A float has 53 bits: 0.1 is not in it, and from 2**53 minor units on not even every whole number.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PORTAL = Path(__file__).parents[2] / "portal"
ROOMS = ("core", "catalog", "usage", "invoicing", "payments")
# Whole numbers in, whole numbers out; all else in math gives floats.
EXACT_MATH = {"gcd", "lcm", "isqrt", "comb", "perm", "factorial", "ceil", "floor", "prod"}
FLOAT_MODULES = {"cmath", "statistics", "random", "numpy"}
FLOAT_METHODS = {"total_seconds", "timestamp", "from_float", "truediv", "fromtimestamp"}
# Where a float may stand although money is near, and why.
ALLOWED = {
    "payments/gateway.py: .timestamp": "a moment in Stripe's seconds, to compare",
    "payments/lines.py: .timestamp": "a moment in Stripe's whole seconds",
}


def floats_in(source: str, *, division: bool) -> Iterator[tuple[int, str]]:
    """Line and spelling of whatever is a float or makes one; `division` looks at the operator too.

    On two integers it gives a float, and which operands are integers cannot be seen here.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=float() | complex()):
                yield node.lineno, ast.unparse(node)
            case ast.Name(id="float" | "complex") | ast.Attribute(attr="__truediv__" | "__float__"):
                yield node.lineno, ast.unparse(node)
            case ast.Attribute(value=ast.Name(id="math"), attr=name) if name not in EXACT_MATH:
                yield node.lineno, ast.unparse(node)
            case ast.Attribute(attr=name) if name in FLOAT_METHODS:
                yield node.lineno, f".{name}"
            case ast.ImportFrom(module="math", names=names):
                yield from ((node.lineno, f"math.{each.name}") for each in names if each.name not in EXACT_MATH)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FLOAT_MODULES:
                yield node.lineno, module
            case ast.Import(names=names):
                yield from ((node.lineno, each.name) for each in names if each.name.split(".")[0] in FLOAT_MODULES)
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()) if division:
                yield node.lineno, "/"
            case _:
                pass


def found_in(room: str) -> dict[str, str]:
    """Place by place: "core/money.py: /" and the line."""
    return {
        f"{path.relative_to(PORTAL)}: {spelling}": f"line {line}"
        for path in sorted((PORTAL / room).rglob("*.py"))
        for line, spelling in floats_in(path.read_text(), division=room == "core")
    }


@pytest.mark.parametrize("room", ROOMS)
def test_there_is_no_float_on_the_way_of_money(room):
    wrong = {place: line for place, line in found_in(room).items() if place not in ALLOWED}
    assert not wrong, "use Decimal (portal.core.exact), Fraction or minor units"


def test_nothing_is_allowed_that_is_not_there_any_more():
    assert ALLOWED.keys() <= {place for room in ROOMS for place in found_in(room)}


@pytest.mark.parametrize(
    ("source", "spellings"),
    [
        ("a = 0.5", ["0.5"]),
        ("a = 1e3", ["1000.0"]),
        ("a = -2.0j", ["2j"]),
        ("a = float('1')", ["float"]),
        ("def f(a: float) -> int: ...", ["float"]),
        ("json.loads(text, parse_float=float)", ["float"]),
        ("import math\na = math.sqrt(2)", ["math.sqrt"]),
        ("from math import log10, isqrt", ["math.log10"]),
        ("a = math.pi", ["math.pi"]),
        ("import math\na = math.isqrt(2)", []),
        ("import statistics", ["statistics"]),
        ("from random import random", ["random"]),
        ("a = (end - start).total_seconds()", [".total_seconds"]),
        ("a = Decimal.from_float(b)", [".from_float"]),
        ("a = b / c", ["/"]),
        ("a /= 2", ["/"]),
        ("a = operator.truediv(b, c)", [".truediv"]),
        ("a = b // c\nd = b % c\ne = Fraction(b, c)\nf = '0.5 / 2'", []),
    ],
)
def test_the_check_itself_sees_a_float(source, spellings):
    assert [spelling for _, spelling in floats_in(source, division=True)] == spellings


def test_a_division_is_seen_in_the_core_only():
    assert not list(floats_in("a = FOLDER / 'name'", division=False))
