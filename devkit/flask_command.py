"""`dev.py flask WORDS`: any CLI command of the portal, in the demo's environment."""

import os
import sys
from pathlib import Path

from devkit.description import FILE, read_description
from devkit.environment import process_environment
from devkit.folder import is_in_use
from devkit.words import Refusal, say, speaking


def main(words: list[str]) -> int:
    """Become flask; `--data DIR` in front chooses another demo."""
    data = Path(".demo")
    if words[:1] == ["--data"] and len(words) > 1:
        data, words = Path(words[1]), words[2:]
    description = read_description(data)
    if description is None:
        raise Refusal(f"There is no demo in {data} (it has no {FILE}); start one first: python3 dev.py demo")
    if not is_in_use(data):
        say(f"The demo in {data} is not running; commands that need its database will fail.", to=sys.stderr)
    environment = process_environment(description["environment"])
    os.execve(sys.executable, [sys.executable, "-m", "flask", *words], environment)


if __name__ == "__main__":
    raise SystemExit(speaking(main))
