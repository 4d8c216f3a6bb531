"""Tests of the pure core need no server and little time; worked examples may come from another file."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

# 30 examples of each property keep these tests at a few seconds; `--hypothesis-profile=thorough` tries far more.
# On a busy machine, and while coverage or mutants are counted, an example takes as long as it takes.
settings.register_profile("quick", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=2000, deadline=None)
# A mutant is noticed by the first example that fails, and every one gets the same examples.
of_each_mutant = [Phase.explicit, Phase.generate]
settings.register_profile("mutants", settings.get_profile("quick"), phases=of_each_mutant, derandomize=True)
settings.load_profile("quick")


@pytest.fixture
def machine_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Moves this machine into a time zone until the test ends."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/core/test_vectors.py --vectors FILE`."""
    parser.addoption(
        "--vectors", metavar="FILE", help="a file of worked examples in the form of tests/core/vectors.json"
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say of every example of another file that was skipped, why."""
    if config.getoption("--vectors", default=None) is None:
        return
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "test_vectors" in report.nodeid]
    terminalreporter.section(f"{len(skipped)} vectors skipped")
    for report in skipped:
        _, _, reason = report.longrepr
        terminalreporter.write_line(
            f"{report.nodeid.partition('[')[2].rstrip(']')}: {reason.removeprefix('Skipped: ')}"
        )
