"""`dev.py coverage [WORDS for pytest]`: which lines and branches of the floors of money the tests run.

Without words: the tests of those floors, and of the runs, pages, files and mails that stand on them. With words, only
what they name is run, and the figures say what these tests reach.
"""

import json
import subprocess
import sys
from typing import Any

from devkit.portal import ROOT
from devkit.words import Refusal, say, speaking

FLOORS = ("portal/core", "portal/invoicing", "portal/payments")
TESTS = (
    *("tests/core", "tests/invoicing", "tests/payments", "tests/bill_runs", "tests/scenarios", "tests/admin"),
    *("tests/web", "tests/exports", "tests/mailing", "tests/infra/test_preflight.py"),
)
LEAST_PERCENT = 95
FOLDER = ROOT / "build" / "coverage"
REPORT = FOLDER / "report.json"


def main(words: list[str]) -> int:
    """Run the tests, list what they missed, and fail if a test did or a floor is below its percentage."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _coverage("erase")
    failed = _coverage("run", "-m", "pytest", "-n", "2", "--dist", "worksteal", "-q", *(words or TESTS))
    _coverage("combine", "--quiet")
    if _coverage("json", "--quiet", "-o", str(REPORT)):
        raise Refusal("Nothing was measured; see above.")
    _coverage("report")
    rows = floors_of(json.loads(REPORT.read_text())["files"])
    say("\n".join(lines_of(rows)))
    return 1 if failed or any(min(row["of_branches"], row["of_both"]) < LEAST_PERCENT for row in rows) else 0


def floors_of(files: dict[str, Any]) -> list[dict[str, Any]]:
    """For each floor its statements and branches, how many were run, and the percentages of branches and of both.

    A floor of which no file is known has 0 percent. Percentages are rounded down, to a tenth.
    """
    rows = []
    for floor in FLOORS:
        sums = [each["summary"] for name, each in files.items() if name.startswith(f"{floor}/")]
        statements, run = _sum(sums, "num_statements"), _sum(sums, "covered_lines")
        branches, taken = _sum(sums, "num_branches"), _sum(sums, "covered_branches")
        rows.append(
            {
                **{"floor": floor, "statements": statements, "run": run, "branches": branches, "taken": taken},
                **{"of_branches": _percent(taken, branches), "of_both": _percent(run + taken, statements + branches)},
            }
        )
    return rows


def lines_of(rows: list[dict[str, Any]]) -> list[str]:
    """The rows for people: "portal/core: 1480 of 1505 statements, 352 of 360 branches (97.7 %), 98.2 % of both"."""
    words = (
        "{floor}: {run} of {statements} statements, {taken} of {branches} branches ({of_branches} %), "
        "{of_both} % of both"
    )
    return [words.format(**row) for row in rows]


def _percent(part: int, whole: int) -> float:
    return 1000 * part // (whole or 1) / 10


def _sum(summaries: list[dict[str, int]], name: str) -> int:
    return sum(each[name] for each in summaries)


def _coverage(*words: str) -> int:
    return subprocess.run([sys.executable, "-m", "coverage", *words], cwd=ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(speaking(main))
