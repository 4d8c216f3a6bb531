"""Starting and stopping the small OpenID Connect provider of the tests."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from devkit.ports import free_port

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_SECONDS = 20


@dataclass(frozen=True)
class ProviderProcess:
    """A running provider."""

    issuer: str

    def says(self, **what: Any) -> None:
        """Set `person` (claims) and `fault`; without them all is in order."""
        requests.post(f"{self.issuer}/_ctl", json=what, timeout=10).raise_for_status()


@contextmanager
def provider_process() -> Iterator[ProviderProcess]:
    """The provider as a process, until the end of the block."""
    port = free_port()
    command = [sys.executable, "-m", "tests.web.oidc_provider", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            provider = ProviderProcess(f"http://127.0.0.1:{port}")
            _wait_for(provider)
            yield provider
        finally:
            process.terminate()


def _wait_for(provider: ProviderProcess) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while True:
        try:
            return provider.says()
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
