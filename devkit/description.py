"""demo.json: everything a script needs to drive a demo. Only its owner can read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devkit.environment import Addresses
from devkit.folder import DataFolder, read_json, write_private_json

FILE = "demo.json"


def credentials_file(folder: DataFolder) -> Path:
    """Where `flask seed` writes logins and API keys; made here first, so it is private from the start."""
    path = folder.path / "credentials.json"
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path


def write_description(folder: DataFolder, settings: Mapping[str, str], addresses: Addresses) -> dict[str, Any]:
    """Write the file anew, with the process numbers of now, and return what it says."""
    description = {
        "portal_url": addresses.portal_url,
        "sandbox_url": addresses.sandbox_url,
        "sandbox_page": f"{addresses.sandbox_url}/",
        "database_url": settings["DATABASE_URL"],
        "redis_url": settings["REDIS_URL"],
        **(read_json(folder.path / "credentials.json") or {}),
        "stripe": {
            "secret_key": settings["STRIPE_SECRET_KEY"],
            "webhook_secret": settings["STRIPE_WEBHOOK_SECRET"],
            "api_base": settings["STRIPE_API_BASE"],
        },
        "pids": {name: child.pid for name, child in folder.processes.children.items()},
        "environment": dict(settings),
    }
    write_private_json(folder.path / FILE, description)
    return description


def forget_processes(folder: DataFolder) -> None:
    """After a stop: the numbers may soon belong to other programs."""
    description = read_description(folder.path)
    if description is not None:
        write_private_json(folder.path / FILE, description | {"pids": {}})


def read_description(path: Path) -> dict[str, Any] | None:
    """What a data folder's demo.json says; None if no demo was ever started there."""
    found: dict[str, Any] | None = read_json(path / FILE)
    return found
