"""What `dev.py coverage` and `dev.py mutants` make of the reports of their tools."""

from pathlib import Path
from typing import Any

import pytest

from devkit import coverage, mutants
from devkit.words import Refusal


def summary(statements: int, run: int, branches: int, taken: int) -> dict[str, dict[str, int]]:
    return {
        "summary": {
            "num_statements": statements,
            "covered_lines": run,
            "num_branches": branches,
            "covered_branches": taken,
        }
    }


def test_a_floor_is_the_sum_of_its_files_and_no_percentage_is_rounded_up():
    rows = coverage.floors_of(
        {
            "portal/core/money.py": summary(1_000, 999, 0, 0),
            "portal/core/taxes.py": summary(500, 500, 499, 499),
            "portal/invoicing/exporting/pdf.py": summary(10, 5, 10, 8),
            "portal/web/usage.py": summary(10, 0, 10, 0),
        }
    )
    assert coverage.lines_of(rows) == [
        "portal/core: 1499 of 1500 statements, 499 of 499 branches (100.0 %), 99.9 % of both",
        "portal/invoicing: 5 of 10 statements, 8 of 10 branches (80.0 %), 65.0 % of both",
        "portal/payments: 0 of 0 statements, 0 of 0 branches (0.0 %), 0.0 % of both",
    ]


RESULTS = """
    portal.core.money.x_allocate__mutmut_1: killed
    portal.core.money.x_allocate__mutmut_2: survived
    portal.core.money.x_round_together__mutmut_1: timeout
    portal.core.taxes.xǁTaxRateǁ__post_init____mutmut_3: no tests
    portal.core.exact.x_plain__mutmut_1: killed
"""


def test_who_is_not_noticed_is_named_and_every_module_has_its_percentage():
    results = mutants.results_of(RESULTS, ["money", "taxes", "periods"])
    assert mutants.table_of(results) == [
        "survived: portal.core.money.x_allocate__mutmut_2",
        "no tests: portal.core.taxes.xǁTaxRateǁ__post_init____mutmut_3",
        f"In build/mutants, {mutants.TOOL} show NAME shows what was changed.",
        "money              2 of     3   66.6 %",
        "taxes              0 of     1    0.0 %",
        "all                2 of     4   50.0 %",
    ]


def test_where_all_are_noticed_there_is_nothing_to_look_at():
    assert mutants.table_of(mutants.results_of(RESULTS, ["exact"])) == [
        "exact              1 of     1  100.0 %",
        "all                1 of     1  100.0 %",
    ]


DECORATED = """
from functools import lru_cache, wraps


class Rate:
    @property
    def whole(self):
        return 1

    @classmethod
    def of(cls):
        return cls()


@lru_cache(maxsize=10)
def twice(number):
    return 2 * number


def plainly(function):
    @wraps(function)
    def run(number):
        return function(number)

    return run


@plainly
def half(number):
    return number // 2
"""


def test_decorated_functions_are_changed_too_because_their_decorators_are_called_below():
    source = mutants.undecorated(DECORATED)
    assert [line for line in source.splitlines() if "@" in line] == ["    @classmethod"]
    assert [line for line in source.splitlines() if " = " in line] == [
        "    whole = property(whole)",
        "    run = wraps(function)(run)",
        "half = plainly(half)",
    ]
    module: dict[str, Any] = {}
    exec(source, module)
    assert (module["Rate"].of().whole, module["twice"](2), module["half"](4)) == (1, 4, 2)
    assert module["half"].__name__ == "half"


def test_a_module_that_the_core_does_not_have_is_refused_before_anything_is_done(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(mutants, "COPY", tmp_path)
    with pytest.raises(Refusal, match=r"There is no module 'monney' in portal/core; there are: allocating, .*, money,"):
        mutants.main(["money", "monney"])
    assert tmp_path.exists()
