#!/usr/bin/env python3
"""Run the billing portal from a fresh checkout: `python3 dev.py demo`, `python3 dev.py test`.

Standard library only. It makes `.venv` from requirements-dev.lock (with uv if that is on the PATH, else with
pip), notes in it which lock file it was made from, and hands over to the Python in there.

    demo [--data DIR] [--port N] [--fresh] [--smoke]   the whole portal on this machine; see demo --help
    test [--full] [words for pytest]                   all tests, or the ones named
    lint                                               ruff, mypy, the template lint, bandit, a scan for secrets
    docs                                               the documents as a web site in .site, without warnings
    translations [add LANG]                            the catalogs of languages renewed from code and templates
    audit                                              known vulnerabilities of the packages, and their list
    coverage [words for pytest]                        what the tests run of core, invoicing and payments
    mutants [MODULE ...]                               whether tests/core notices changed rules of portal/core
    bench [NAME]                                       a benchmark from benchmarks/, or the list of them
    flask [--data DIR] WORDS                           any CLI command in the demo's environment
    install                                            only make or renew .venv

Paths are relative to the folder this file is in.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells the user of an older Python
    sys.exit(
        "The billing portal needs Python 3.11 or newer; this is Python {}.{}. "
        "Run it with a newer one, e.g. python3.12 dev.py demo.".format(*sys.version_info[:2])
    )

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements-dev.lock"
STAMP = VENV / "made-from.sha256"
SECONDS_BETWEEN_PROGRESS_LINES = 2.0


def main(words: list[str]) -> None:
    """Prepare .venv, then become the command that was asked for."""
    command, *rest = words or ["help"]
    makes_module = {
        "demo": lambda: ["devkit.demo", *rest],
        "test": lambda: ["pytest", *pytest_words(rest)],
        "lint": lambda: ["devkit.lint", *rest],
        "docs": lambda: ["mkdocs", "build", "--strict", "--quiet", *rest],
        "translations": lambda: ["devkit.translations", *rest],
        "audit": lambda: ["devkit.audit", *rest],
        "coverage": lambda: ["devkit.coverage", *rest],
        "mutants": lambda: ["devkit.mutants", *rest],
        "bench": lambda: ["devkit.bench", *rest],
        "flask": lambda: ["devkit.flask_command", *rest],
    }
    if command in ("help", "-h", "--help"):
        say(__doc__)
        return
    if command not in (*makes_module, "install"):
        sys.exit(f"dev.py has no command {command!r}; it has {', '.join(makes_module)} and install.")
    if sys.platform == "win32":
        sys.exit("The embedded servers have no build for Windows; run this in WSL, which is Linux.")
    os.chdir(ROOT)
    install()
    if command in makes_module:
        os.execv(PYTHON, [str(PYTHON), "-m", *makes_module[command]()])


def pytest_words(words: list[str]) -> list[str]:
    """Two processes; --full adds the tests that take long."""
    if "--full" in words:
        words = [word for word in words if word != "--full"]
        os.environ["PORTAL_TEST_FULL"] = "1"
    return ["-n", "2", "--dist", "worksteal", *(words or ["tests"])]


def install() -> None:
    """Make .venv what the lock file says, unless the stamp says that it is."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    uv = shutil.which("uv")
    if STAMP.exists() and STAMP.read_text() == wanted and python_runs("import sys"):
        return
    say(f"Installing into {VENV.name} with {'uv' if uv else 'pip'}; the next start skips this.")
    if uv:
        make_venv = [uv, "venv", "--clear", "--python", sys.executable]
        installer = [uv, "pip", "install", "--python", str(PYTHON)]
    else:
        make_venv = [sys.executable, "-m", "venv", "--clear"]
        installer = [str(PYTHON), "-m", "pip", "install"]
    if not python_runs("import sys" if uv else "import pip"):
        with_progress([*make_venv, str(VENV)], "making .venv")
    options = ["--require-hashes", "--only-binary", ":all:", "-r", LOCK.name]
    total = lock_count()
    with_progress([*installer, *options], f"{total} packages", lambda: min(installed_count(), total))
    STAMP.write_text(wanted)


def python_runs(statement: str) -> bool:
    """Whether the venv's Python is there and works: its base may be gone, its making cut short."""
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", statement], capture_output=True).returncode == 0


def lock_count() -> int:
    """Packages named in the lock file; some are for other systems only."""
    return len(re.findall(r"^[a-z0-9]\S*==", LOCK.read_text(), re.MULTILINE | re.IGNORECASE))


def installed_count() -> int:
    """Packages that are in the venv now."""
    return sum(1 for _ in VENV.glob("lib/python3*/site-packages/*.dist-info"))


def with_progress(command: list[str], what: str, count: Callable[[], int] | None = None) -> None:
    """Run an installer; at least every few seconds say how far it is. Its own words are shown if it fails."""
    started = time.monotonic()
    lines: list[str] = []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_BETWEEN_PROGRESS_LINES)
        done = f"{count()} of {what}" if count else what
        latest = next((line.strip() for line in reversed(lines) if not line.startswith("WARNING")), "")[:60]
        say(f"  {time.monotonic() - started:4.0f} s  {done}  {latest}")
    reader.join()
    if process.returncode:
        say("".join(lines[-15:]))
        sys.exit(f"{what}: {os.path.basename(command[0])} failed; see above. Repair it and start again.")


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
