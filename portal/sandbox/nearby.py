"""Who may turn the switches: this machine only, and in a browser only from the sandbox's own page."""

import ipaddress
from urllib.parse import urlsplit

from flask import request

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def is_from_here() -> bool:
    """Whether the request comes from this machine."""
    return ipaddress.ip_address(request.remote_addr or "0.0.0.0").is_loopback  # nosec B104


def is_from_own_page() -> bool:
    """Whether a form was sent from the sandbox's own page on this machine, and not from some site in its browser."""
    origin = request.headers.get("Origin")
    if not is_from_here() or urlsplit(f"//{request.host}").hostname not in LOCAL_HOSTS:
        return False
    return origin is None or origin == f"{request.scheme}://{request.host}"
