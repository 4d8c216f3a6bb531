"""What every staff page has: the address, the guard, and what the signed-in person may do."""

from typing import Any

from flask import Blueprint

from portal.signed_in import guard_page, identify


def staff_blueprint(name: str) -> Blueprint:
    """A guarded blueprint under /admin; its name starts with "admin", by which the guard knows staff pages."""
    assert name.startswith("admin"), name
    bp = Blueprint(name, __name__, url_prefix="/admin")
    bp.before_request(guard_page)
    bp.context_processor(_permissions)
    return bp


def _permissions() -> dict[str, Any]:
    """Pages leave out the buttons that would lead nowhere for this person; error pages may have nobody."""
    identity = identify()
    return {"permissions": identity.permissions if identity else frozenset()}
