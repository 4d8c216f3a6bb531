"""The portal's own programs: how each is started, and when it counts as up."""

import signal
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from devkit.environment import Addresses, process_environment, webhook_secret
from devkit.folder import DataFolder
from devkit.ports import HOST
from devkit.processes import Processes, Program
from devkit.words import Refusal

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 60


def flask_program(name: str, words: Sequence[str], settings: Mapping[str, str], *, quiet: bool = True) -> Program:
    """`flask WORDS` as a child."""
    return Program(
        name=name,
        command=[sys.executable, "-m", "flask", *words],
        environment=process_environment(settings),
        folder=ROOT,
        quiet=quiet,
    )


def run_flask(processes: Processes, name: str, words: Sequence[str], settings: Mapping[str, str], **how: bool) -> None:
    """Run a CLI command to its end. Raises Refusal with its last words if it fails."""
    exit_code = processes.run(flask_program(name, words, settings, **how))
    if exit_code:
        last_words = processes.last_words(name, 25)
        raise Refusal(f"`flask {' '.join(words)}` failed (exit code {exit_code}).\n{last_words}".rstrip())


def start_sandbox(folder: DataFolder, settings: Mapping[str, str], addresses: Addresses) -> None:
    """Start the stand-in for Stripe, which remembers its state in the data folder."""
    options = {
        "--port": str(addresses.sandbox_port),
        "--webhook-url": f"{addresses.portal_url}/webhooks/stripe",
        "--webhook-secret": webhook_secret(folder),
        "--state": str(folder.path / "sandbox.json"),
    }
    folder.processes.start(
        Program(
            name="sandbox",
            command=[
                sys.executable,
                "-m",
                "portal.sandbox",
                *(word for pair in options.items() for word in pair),
            ],
            environment=process_environment(settings),
            grace_seconds=1.0,
            folder=ROOT,
        )
    )
    wait_until_healthy(f"{addresses.sandbox_url}/healthz", "sandbox", folder.processes)


def start_web(processes: Processes, settings: Mapping[str, str], addresses: Addresses) -> None:
    """Start gunicorn with 2 processes of 4 threads."""
    options = ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--graceful-timeout", "1"]
    options += ["--no-control-socket"]
    processes.start(
        Program(
            name="web",
            command=[
                sys.executable,
                "-m",
                "gunicorn",
                "wsgi:app",
                "-b",
                f"{HOST}:{addresses.portal_port}",
                *options,
            ],
            environment=process_environment(settings),
            folder=ROOT,
        )
    )
    wait_until_healthy(f"{addresses.portal_url}/healthz", "web", processes)


def start_background(processes: Processes, settings: Mapping[str, str]) -> None:
    """Start an RQ worker and the clock."""
    processes.start(flask_program("worker", ["worker"], settings))
    processes.start(flask_program("clock", ["clock"], settings))


def wait_until_healthy(url: str, name: str, processes: Processes) -> None:
    """Ask a health page until it answers 200. Raises Refusal with the program's last words if it does not."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    child = processes.children[name]
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while child.exit_code() is None and time.monotonic() < deadline:
        try:
            direct.open(url, timeout=5).close()
            return
        except OSError:  # refused, timed out, or an HTTP status that is no success
            time.sleep(0.1)
    raise Refusal(f"{name} did not come up at {url}; the end of its log says:\n{processes.last_words(name, 25)}")


def stop_on_signals() -> None:
    """Make the polite signals end us the way Ctrl-C does; that too, where a shell in the background had it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def ignore_signals() -> None:
    """While everything is being stopped, a second Ctrl-C must not leave half of it behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
