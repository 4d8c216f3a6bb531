"""The environment in which the portal's processes run."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from devkit.folder import DataFolder
from devkit.ports import HOST
from devkit.servers import Servers

SANDBOX_KEY = "sk_test_sandbox"


@dataclass(frozen=True)
class Addresses:
    """Where the portal and the Stripe sandbox listen."""

    portal_port: int
    sandbox_port: int

    @property
    def portal_url(self) -> str:
        """What a person opens."""
        return f"http://{HOST}:{self.portal_port}"

    @property
    def sandbox_url(self) -> str:
        """What the portal calls in place of Stripe."""
        return f"http://{HOST}:{self.sandbox_port}"


def webhook_secret(folder: DataFolder) -> str:
    """The secret with which the sandbox signs; it looks like Stripe's."""
    return f"whsec_{folder.secret('webhook_secret')}"


def portal_settings(folder: DataFolder, servers: Servers, addresses: Addresses, *, hold_seconds: int) -> dict[str, str]:
    """The variables the portal reads, and nothing else."""
    return {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "SECRET_KEY": folder.secret("secret_key"),
        "STRIPE_SECRET_KEY": SANDBOX_KEY,
        "STRIPE_WEBHOOK_SECRET": webhook_secret(folder),
        "STRIPE_API_BASE": addresses.sandbox_url,
        "PORTAL_URL": addresses.portal_url,
        "PORTAL_ENV": "demo",
        "FINALIZE_HOLD_SECONDS": str(hold_seconds),
        "FLASK_APP": "wsgi.py",
        "TZ": "UTC",
    }


def process_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with the portal's settings on top."""
    environment = {**os.environ, **settings, "PYTHONUNBUFFERED": "1"}
    # Calls to this machine never go through a proxy.
    environment["NO_PROXY"] = environment["no_proxy"] = ",".join(
        filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, "localhost"])
    )
    if sys.platform == "darwin":
        environment["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"  # RQ forks; macOS ends such a child otherwise
    return environment
