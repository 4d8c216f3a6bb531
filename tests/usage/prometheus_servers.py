"""A real Prometheus server on this machine, with a past of its own making or an exporter to scrape."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from devkit.ports import free_port

PATIENCE_SECONDS = 30


def needs_prometheus() -> None:
    """Skip, with the reason, where there is no server."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no program {program} here; Debian's package prometheus has it")


def write_past(folder: Path, openmetrics: str) -> None:
    """Put samples with timestamps where a server will find them."""
    text = folder / "past.om"
    text.write_text(openmetrics + "# EOF\n")
    data = folder / "data"
    data.mkdir()
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


@contextmanager
def prometheus(folder: Path, *, scrape: str | None = None) -> Iterator[str]:
    """The address of a server on this folder, which scrapes one address every second if there is one."""
    jobs = f"[{{job_name: test, static_configs: [{{targets: ['{scrape}']}}]}}]" if scrape else "[]"
    config = folder / "prometheus.yml"
    config.write_text(f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: {jobs}\n")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--storage.tsdb.retention.time=50y",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(lambda: _is_ready(address, server))
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_SECONDS)


def _is_ready(address: str, server: subprocess.Popen) -> bool:
    assert server.poll() is None, "prometheus ended by itself"
    try:
        with urlopen(f"http://{address}/-/ready", timeout=2) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


def wait_for(condition) -> None:
    """Until something is so."""
    latest = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < latest, "it never came"
        time.sleep(0.1)


def latest_value(url: str, promql: str) -> str | None:
    """The value that the server knows now."""
    with urlopen(f"{url}/api/v1/query?{urlencode({'query': promql})}", timeout=5) as answer:
        found = json.load(answer)["data"]["result"]
    return found[0]["value"][1] if found else None


class Exporter:
    """A process that counts, as a server scrapes it."""

    def __init__(self) -> None:
        self.page = ""
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
