"""`dev.py mutants [MODULE …]`: whether the tests of portal/core notice when a rule of it is changed.

Every function of the module is changed in one place at a time (a < becomes a <=, a text another text), and the tests
of tests/core that run it must fail. What they let pass is listed. All of the core takes some twenty minutes. It happens
in a copy, build/mutants, so one may go on working meanwhile.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from devkit.portal import ROOT
from devkit.words import Refusal, say, speaking

CORE = ROOT / "portal" / "core"
COPY = ROOT / "build" / "mutants"
COPIED = ("portal", "tests", "devkit")
TOOL = Path(sys.executable).with_name("mutmut")
LEAST_PERCENT = 90
NICENESS = 15
# A mutant that never ends is noticed too.
NOTICED = {"killed", "timeout", "segfault"}
_RESULT = re.compile(r"^\s*portal\.core\.(\w+)\.(\S+): (.+)$", re.MULTILINE)


def main(words: list[str]) -> int:
    """Mutate and test the modules that are named, or all; fail if fewer than 90 % of their mutants are noticed."""
    known = sorted(path.stem for path in CORE.glob("[a-z]*.py"))
    for word in words:
        if word not in known:
            raise Refusal(f"There is no module {word!r} in portal/core; there are: {', '.join(known)}.")
    os.nice(NICENESS)
    _copy()
    wanted = [f"portal.core.{module}.*" for module in words or ["*"]]
    if _mutmut("run", "--max-children", "1", *wanted).returncode:
        raise Refusal("The mutants could not be tested; see above.")
    results = results_of(_mutmut("results", "--all", "true", quiet=True).stdout, words or known)
    say("\n".join(table_of(results)))
    noticed, made = _counts(results)
    return 1 if 100 * noticed < LEAST_PERCENT * made else 0


def undecorated(source: str) -> str:
    """The same module with each decorator as a call below its function: mutmut leaves what is decorated unchanged.

    It knows class methods and static methods itself. A cache is left out: filled before the change, it would hide it.
    """
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda each: each.lineno, reverse=True):
        match [ast.unparse(each) for each in node.decorator_list]:
            case [decorator] if decorator not in ("classmethod", "staticmethod"):
                if "cache" not in decorator:
                    lines.insert(node.end_lineno or 0, f"{' ' * node.col_offset}{node.name} = {decorator}({node.name})")
                del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "\n".join([*lines, ""])


def _copy() -> None:
    """Start from nothing: results of before a change of the tests would be taken for new ones."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", COPY)
    for path in (COPY / CORE.relative_to(ROOT)).glob("*.py"):
        path.write_text(undecorated(path.read_text()))


def results_of(text: str, modules: list[str]) -> dict[str, dict[str, str]]:
    """What became of each mutant of these modules: by module and name of the mutant, from mutmut's list."""
    found: dict[str, dict[str, str]] = {module: {} for module in modules}
    for module, name, status in _RESULT.findall(text):
        if module in found:
            found[module][name] = status
    return {module: mutants for module, mutants in found.items() if mutants}


def table_of(results: dict[str, dict[str, str]]) -> list[str]:
    """Who was not noticed, then a row for each module and one for all: noticed, made, percent (rounded down)."""
    missed = [
        f"{status}: portal.core.{module}.{name}"
        for module, mutants in results.items()
        for name, status in mutants.items()
        if status not in NOTICED
    ]
    rows = [_row(module, *_counts({module: mutants})) for module, mutants in results.items()]
    hint = [f"In {COPY.relative_to(ROOT)}, {TOOL} show NAME shows what was changed."] if missed else []
    return [*missed, *hint, *rows, _row("all", *_counts(results))]


def _counts(results: dict[str, dict[str, str]]) -> tuple[int, int]:
    statuses = Counter(status for mutants in results.values() for status in mutants.values())
    return sum(statuses[status] for status in NOTICED), statuses.total()


def _row(name: str, noticed: int, made: int) -> str:
    return f"{name:<14} {noticed:>5} of {made:>5} {1000 * noticed // (made or 1) / 10:>6} %"


def _mutmut(*words: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOL, *words], cwd=COPY, text=True, stdout=subprocess.PIPE if quiet else None)


if __name__ == "__main__":
    raise SystemExit(speaking(main))
