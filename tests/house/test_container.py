"""The image's steps, run in a plain folder: what the Dockerfile copies is enough to serve pages, and nothing more."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from devkit.testservers import TEST_SETTINGS

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COPIED = [(source, target) for source, target in re.findall(r"^COPY (?!--from)(\S+) (\S+)$", DOCKERFILE, re.M)]
ASKS = """
import os
from portal import create_app
from portal.config import settings_from_env
client = create_app(settings_from_env(os.environ)).test_client()
for path in ("/healthz", "/sign-in", "/api/v1/openapi.json", "/static/icon.svg"):
    print(path, client.get(path).status_code)
import portal
print(portal.__file__)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """The folder that the last stage leaves in the image."""
    folder = tmp_path_factory.mktemp("image")
    for source, target in COPIED:
        if target.startswith("/"):
            continue
        place = folder / (Path(source).name if target == "./" else target)
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, place)
    return folder


def run(image: Path, *words: str) -> subprocess.CompletedProcess[str]:
    settings = TEST_SETTINGS | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    environment = {"PATH": os.environ["PATH"], "FLASK_APP": "wsgi.py", "PYTHONDONTWRITEBYTECODE": "1", **settings}
    return subprocess.run(
        [sys.executable, *words], cwd=image, env=environment, capture_output=True, text=True, timeout=60
    )


def test_what_is_copied_serves_pages(image):
    done = run(image, "-c", ASKS)
    assert done.returncode == 0, done.stderr
    *answers, place = done.stdout.splitlines()
    assert [line.split()[1] for line in answers] == ["200"] * 4, done.stdout
    assert Path(place).is_relative_to(image)


def test_every_command_of_the_compose_file_is_there(image):
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    commands = [str(service["command"]) for service in services.values() if "build" in service and "command" in service]
    wanted = {word for command in commands for word in re.findall(r"flask(?:', '| )([a-z]+)", command)}
    assert wanted == {"db", "preflight", "worker", "clock"}
    listed = run(image, "-m", "flask", "--help").stdout
    assert {word for word in wanted if re.search(rf"^  {word} ", listed, re.M)} == wanted, listed


def test_the_web_server_takes_its_configuration(image):
    done = run(image, "-m", "gunicorn", "wsgi:app", "-c", "deploy/gunicorn.conf.py", "--check-config")
    assert done.returncode == 0, done.stderr


def test_what_is_copied_is_what_the_build_is_given():
    given = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert given == {source for source, _ in COPIED}


def test_nothing_runs_as_root_and_packages_are_pinned_with_hashes():
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001", last_stage, re.M)
    assert "--require-hashes" in DOCKERFILE
    assert ":latest" not in DOCKERFILE + (ROOT / "compose.yaml").read_text()
