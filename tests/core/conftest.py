"""Tests of the pure core need no server and little time; worked examples may come from another file."""

from typing import Any

import pytest
from hypothesis import settings

# 30 examples of each property keep these tests at a few seconds; `--hypothesis-profile=thorough` tries far more.
settings.register_profile("quick", max_examples=30)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile("quick")


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
