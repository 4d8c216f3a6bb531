"""`dev.py bench NAME`: run benchmarks/NAME.py on throw-away servers that do write through to the disk."""

import sys

from devkit.environment import Addresses, portal_settings, process_environment
from devkit.folder import throw_away_folder
from devkit.portal import ROOT, run_flask, stop_on_signals
from devkit.ports import free_port
from devkit.processes import Program
from devkit.servers import start_servers
from devkit.words import Refusal, say, speaking, step

BENCHMARKS = ROOT / "benchmarks"


def main(words: list[str]) -> int:
    """Run one benchmark with the rest of the words, or list what is there."""
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py") if not path.stem.startswith("_"))
    if not words:
        say("\n".join(names) if names else "There are no benchmarks yet; they belong into benchmarks/NAME.py.")
        return 0
    name, *rest = words
    if name not in names:
        raise Refusal(f"There is no benchmark {name!r}; there are: {', '.join(names) or 'none yet'}.")
    stop_on_signals()
    with throw_away_folder("bench") as folder:
        with step("PostgreSQL and Redis, with fsync"):
            servers = start_servers(folder)
        settings = portal_settings(folder, servers, Addresses(free_port(), free_port()), hold_seconds=0)
        with step("database migrations"):
            run_flask(folder.processes, "migrate", ["db", "upgrade"], settings)
        return folder.processes.run(
            Program(
                name="benchmark",
                command=[sys.executable, BENCHMARKS / f"{name}.py", *rest],
                environment=process_environment(settings) | {"PYTHONPATH": str(ROOT)},
                folder=ROOT,
                quiet=False,
            )
        )


if __name__ == "__main__":
    raise SystemExit(speaking(main))
