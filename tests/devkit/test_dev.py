"""dev.py's own words: what it refuses, and what it hands to pytest."""

import importlib.util
import os
import subprocess
import sys
from types import ModuleType

import pytest

from devkit.portal import ROOT


@pytest.fixture
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_unknown_command_is_named_with_the_known_ones():
    done = subprocess.run([sys.executable, ROOT / "dev.py", "demmo"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no command 'demmo'" in done.stderr
    assert "demo, test" in done.stderr


def test_without_words_all_tests_run_in_two_processes(dev):
    assert dev.pytest_words([]) == ["-n", "2", "--dist", "worksteal", "tests"]


def test_full_is_ours_and_the_other_words_are_pytests(dev, monkeypatch):
    monkeypatch.delenv("PORTAL_TEST_FULL", raising=False)
    assert dev.pytest_words(["--full", "tests/core", "-k", "tiers"])[-3:] == ["tests/core", "-k", "tiers"]
    assert os.environ.pop("PORTAL_TEST_FULL") == "1"


def test_a_command_without_a_demo_says_how_to_start_one(tmp_path):
    words = [sys.executable, "-m", "devkit.flask_command", "--data", tmp_path, "seed"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "python3 dev.py demo" in done.stderr
