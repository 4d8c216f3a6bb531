"""`dev.py demo`: the whole portal on one machine, from nothing to an address, until Ctrl-C.

A second start keeps the data. `--smoke` walks one usage event to a paid invoice over HTTP and stops.
`--screenshots` takes a picture of every page and stops.
"""

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from devkit import pictures, smoke
from devkit.description import credentials_file, forget_processes, read_description, write_description
from devkit.environment import Addresses, portal_settings
from devkit.folder import DataFolder, FolderInUse, throw_away_folder
from devkit.portal import (
    ignore_signals,
    run_flask,
    start_background,
    start_sandbox,
    start_web,
    stop_on_signals,
)
from devkit.ports import free_port, require_free
from devkit.servers import start_servers
from devkit.supervisor import Supervisor
from devkit.words import Refusal, say, speaking, step

DEFAULT_PORT = 5080
SHOWN_LOGINS = 9
HOLD_SECONDS = 10
SMOKE_HOLD_SECONDS = 2


def main(words: list[str]) -> int:
    """Run the demo, or the smoke run, as the words say."""
    options = _parse(words)
    stop_on_signals()
    return _run_smoke(options) if options.smoke else _run_demo(options)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(".demo"), metavar="DIR", help="data folder (.demo)")
    parser.add_argument("--port", type=_port, metavar="N", help=f"the portal's port ({DEFAULT_PORT})")
    parser.add_argument("--fresh", action="store_true", help="delete the data folder's content first")
    parser.add_argument("--smoke", action="store_true", help="one event to a paid invoice, on fresh servers, then stop")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="a picture of every page into DIR, then stop")
    parser.add_argument("--organizations", type=int, metavar="N", help="seed this many further organizations")
    parser.add_argument("--events", type=int, metavar="M", help="seed this many further usage events")
    return parser.parse_args(words)


def _port(word: str) -> int:
    if not word.isdigit() or not 0 < int(word) < 65536:
        raise argparse.ArgumentTypeError(f"{word!r} is not a port; give a number from 1 to 65535")
    return int(word)


def _run_demo(options: argparse.Namespace) -> int:
    try:
        folder = DataFolder.take(options.data)
    except FolderInUse as in_use:
        raise Refusal(_already_running(options.data) or str(in_use)) from None
    port = options.port or DEFAULT_PORT
    try:
        if folder.reaped:
            say(f"Ended what a killed run left behind: {', '.join(folder.reaped)}.")
        require_free(port)
        if options.fresh:
            folder.empty()
            if os.environ.get("DATABASE_URL"):
                say("DATABASE_URL is set: --fresh does not empty that database.")
        say(f"Starting the billing portal; its data is in {options.data}.")
        return _serve(folder, options, port)
    finally:
        _stop(folder)
        forget_processes(folder)
        folder.release()


def _run_smoke(options: argparse.Namespace) -> int:
    with throw_away_folder("smoke") as folder:
        port = options.port or free_port()
        require_free(port)
        say("Starting the billing portal on fresh servers in a temporary folder.")
        try:
            describe = _start(folder, options, port, hold_seconds=SMOKE_HOLD_SECONDS, throw_away=True)
            passed = smoke.walk(describe())
            if not passed:
                _show_logs(folder)
            return 0 if passed else 1
        finally:
            _stop(folder)


def _serve(folder: DataFolder, options: argparse.Namespace, port: int) -> int:
    """Start everything, say where it is, and watch it until Ctrl-C; or take its pictures, 1 if a page is at fault."""
    describe = _start(folder, options, port, hold_seconds=HOLD_SECONDS, throw_away=False)
    if options.screenshots:
        return 0 if pictures.take(describe(), options.screenshots) else 1
    _welcome(describe(), options.data)
    supervisor = Supervisor(folder.processes, restarted=describe)
    try:
        supervisor.watch()
    except KeyboardInterrupt:
        say("\nStopping.")
    return 0


def _start(
    folder: DataFolder, options: argparse.Namespace, port: int, *, hold_seconds: int, throw_away: bool
) -> Callable[[], dict[str, Any]]:
    """Bring everything up in order; return the function that writes demo.json and tells what it says."""
    with step("PostgreSQL and Redis"):
        servers = start_servers(folder, throw_away=throw_away)
    addresses = Addresses(port, folder.remember_port("sandbox", free_port(folder.port("sandbox"))))
    settings = portal_settings(folder, servers, addresses, hold_seconds=hold_seconds)
    processes = folder.processes
    with step("Stripe sandbox"):
        start_sandbox(folder, settings, addresses)
    with step("database migrations"):
        run_flask(processes, "migrate", ["db", "upgrade"], settings)
    with step("demo data", talks=True):
        run_flask(processes, "seed", ["seed", *_seed_words(folder, options)], settings, quiet=False)
    with step("web server"):
        start_web(processes, settings, addresses)
    with step("worker and clock"):
        start_background(processes, settings)
    return partial(write_description, folder, settings, addresses)


def _seed_words(folder: DataFolder, options: argparse.Namespace) -> list[str]:
    words = ["--credentials", str(credentials_file(folder))]
    if options.organizations is not None:
        words += ["--organizations", str(options.organizations)]
    if options.events is not None:
        words += ["--events", str(options.events)]
    return words


def _stop(folder: DataFolder) -> None:
    """Stop the children, last started first, even if the terminal we speak to is gone."""
    ignore_signals()
    for name in reversed(list(folder.processes.children)):
        folder.processes.stop(name)
        with suppress(OSError):
            say(f"  ✓ stopped {name}")


def _already_running(data: Path) -> str | None:
    description = read_description(data)
    if description is None:
        return None
    return (
        f"A demo is already running on {data}: {description['portal_url']}. "
        "Stop it with Ctrl-C there, or start another one with --data and --port."
    )


def _welcome(description: dict[str, Any], data: Path) -> None:
    say(f"\n  Portal          {description['portal_url']}")
    say(f"  Stripe sandbox  {description['sandbox_page']}")
    say("  Sign in as")
    logins = description.get("logins", [])
    for login in logins[:SHOWN_LOGINS]:
        at = f" of {login['organization']}" if login.get("organization") else ""
        say(f"    {login['email']:32} {login['password']:20} {login['role']}{at}")
    if len(logins) > SHOWN_LOGINS:
        say(f"    … and {len(logins) - SHOWN_LOGINS} more, all with this password")
    say(f"\n  Addresses, logins and API keys for scripts: {data / 'demo.json'}")
    say("  Ctrl-C stops everything; the data stays.\n")


def _show_logs(folder: DataFolder) -> None:
    for name in ("web", "worker", "clock", "sandbox"):
        say(f"\n--- the end of the log of {name} ---\n{folder.processes.last_words(name, 25)}")


if __name__ == "__main__":
    raise SystemExit(speaking(main))
