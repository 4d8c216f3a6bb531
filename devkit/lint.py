"""`dev.py lint`: every check that needs no server. All run, then the exit code says whether one failed."""

import subprocess
import sys

from devkit.portal import ROOT
from devkit.words import say, speaking

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),  # what to check stands in pyproject.toml
    ("djlint", "templates", "--lint"),
    # Below medium it finds asserts and statements put together of constants, hundreds of them.
    ("bandit", "--quiet", "--recursive", "portal", "-ll", "-ii"),
    ("devkit.secret_scan",),
)


def main(words: list[str]) -> int:
    """Run the checks and name the ones that failed."""
    failed = []
    for check in CHECKS:
        say(f"--- {' '.join(check)}")
        if subprocess.run([sys.executable, "-m", *check], cwd=ROOT).returncode:
            failed.append(" ".join(check))
    say(f"Failed: {'; '.join(failed)}." if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(speaking(main))
