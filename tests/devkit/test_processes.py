"""What a kill -9 left is reaped by the next start; a stranger under the same number is not."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from devkit.processes import Processes, Program
from devkit.supervisor import Supervisor
from devkit.system import ProcessIdentity

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that this folder did not start."""
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


def sleeper(name: str = "sleeper", **how: object) -> Program:
    return Program(name=name, command=SLEEP, environment={}, **how)  # type: ignore[arg-type]


def leave_record(folder: Path, identity: ProcessIdentity) -> Path:
    record = folder / "pids" / "left.json"
    record.write_text(json.dumps({"process": asdict(identity), "stop_signal": int(signal.SIGTERM), "grace_seconds": 1}))
    return record


def test_the_next_start_ends_what_a_killed_run_left(tmp_path):
    child = Processes(tmp_path).start(sleeper())
    assert Processes(tmp_path).reap() == ["sleeper"]
    assert child.popen.wait(5) == -signal.SIGTERM
    assert Processes(tmp_path).reap() == []


def test_a_process_that_got_the_number_later_is_left_alone(tmp_path, stranger):
    processes = Processes(tmp_path)
    theirs = ProcessIdentity.of(stranger.pid)
    assert theirs is not None
    for ours in (
        ProcessIdentity(theirs.pid, theirs.started_at - 60, theirs.command),
        ProcessIdentity(theirs.pid, theirs.started_at, ["postgres", "-D", "elsewhere"]),
    ):
        record = leave_record(tmp_path, ours)
        assert processes.reap() == []
        assert stranger.poll() is None
        assert not record.exists()


def test_a_record_cut_short_names_nobody(tmp_path):
    processes = Processes(tmp_path)
    (tmp_path / "pids" / "left.json").write_text('{"process": {"pid": 1')
    assert processes.reap() == []


def test_a_child_that_ignores_its_signal_is_ended_with_its_children(tmp_path):
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(60)"
    )
    processes = Processes(tmp_path)
    processes.start(
        Program(name="stubborn", command=[sys.executable, "-c", stubborn], environment={}, grace_seconds=0.3)
    )
    while not (grandchild := processes.last_words("stubborn")):
        pass
    processes.stop("stubborn")
    assert ProcessIdentity.of(int(grandchild)) is None


def test_children_stop_in_the_reverse_of_their_order(tmp_path, monkeypatch):
    processes = Processes(tmp_path)
    for name in ("first", "second", "third"):
        processes.start(sleeper(name))
    stopped = []
    stop = processes.stop
    monkeypatch.setattr(processes, "stop", lambda name: (stopped.append(name), stop(name)))
    processes.stop_all()
    assert stopped == ["third", "second", "first"]


def test_a_child_that_died_is_started_again_after_a_pause(tmp_path, capsys):
    processes = Processes(tmp_path)
    restarts = []
    supervisor = Supervisor(processes, restarted=lambda: restarts.append(1), first_pause_seconds=0)
    first = processes.start(sleeper())
    os.kill(first.pid, signal.SIGKILL)
    first.popen.wait()
    supervisor.look()
    supervisor.look()
    try:
        assert restarts == [1]
        assert processes.children["sleeper"].exit_code() is None
        assert "sleeper ended (signal 9)" in capsys.readouterr().out
    finally:
        processes.stop_all()
