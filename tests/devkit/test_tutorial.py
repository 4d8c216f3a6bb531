"""docs/tutorial.md is followed to the letter: its commands, in a demo of its own, end with a final invoice of £110."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devkit.ports import free_port
from portal import ROOT
from tests.full import FULL

COMMANDS = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
LONGEST_SECONDS = 180


def test_every_file_that_it_leads_to_is_there():
    links = re.findall(r"\]\(([\w./]+\.\w+)", TEXT)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


@pytest.mark.skipif(not FULL, reason="starts a whole demo; it runs with --full")
def test_its_commands_end_with_a_bill(tmp_path: Path):
    commands = COMMANDS.findall(TEXT)
    assert len(commands) == 6
    demo = subprocess.Popen(
        [sys.executable, "-m", "devkit.demo", "--data", str(tmp_path / "demo"), "--port", str(free_port())],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        description = tmp_path / "demo" / "demo.json"
        deadline = time.monotonic() + LONGEST_SECONDS
        while not description.exists():
            assert demo.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        url = json.loads(description.read_text())["portal_url"]
        script = "set -euo pipefail\n" + "\n".join(commands)
        script = script.replace("http://127.0.0.1:5080", url)
        script = script.replace(
            "python3 dev.py flask", f"{sys.executable} -m devkit.flask_command --data {tmp_path}/demo"
        )
        script = script.replace("first-prices.yaml", str(tmp_path / "first-prices.yaml"))
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            env={**os.environ},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert '"accepted":2' in re.sub(r"\s", "", done.stdout)
        assert "GBP 110.00" in done.stdout
        assert ", 0 broken." in done.stdout
    finally:
        demo.terminate()
        demo.wait(60)
