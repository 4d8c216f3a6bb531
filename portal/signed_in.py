"""Who is behind a browser's request, and what the route's policy asks of them. One guard for all pages.

Customers act inside their organization (row level security); staff see all organizations.
"""

from dataclasses import replace
from typing import cast
from urllib.parse import urlsplit

from flask import Response, current_app, g, redirect, request, url_for

from portal.announcements.models import Announcement
from portal.announcements.queries import put_away_by, shown_now
from portal.core.errors import NotAllowed, NotFound
from portal.infra import clock, languages
from portal.infra.db import STAFF, SYSTEM, act_as, acting_as, tenant, transaction
from portal.infra.pages import policy_of
from portal.organizations.roles import Permission
from portal.organizations.session_list import note_seen
from portal.organizations.sessions import Identity, IdleLimits, Seat, identity_of

ADMIN = "admin"
# Pages of the person and not of an organization: whoever looks as a customer finds their own.
# What of all that belongs to a person, and not to an organization, is open to whom an organization's provider let in.
_FOR_GUESTS_TOO = ("announcements", "overview", "session")
_ONES_OWN = ("account", "passkeys", "provider", "resetting", "session", "signing_in", "two_factors")


def cookie_name() -> str:
    """The session cookie's name; browsers hold a __Host- cookie to HTTPS, this host and the path /."""
    return "__Host-session" if current_app.config["SESSION_COOKIE_SECURE"] else "portal_session"


def guard_page() -> Response | None:
    """Run before every page: identify, check the policy, take the scope.

    Not signed in: to the sign-in page, and back afterwards. Staff who still need a second factor: to set it up.
    Signed in without the permission: 404, so that a page of staff or of another role looks like none.
    """
    identity = identify()
    needed = policy_of(current_app, request.endpoint or "")
    if needed == "public":
        return None
    if identity is None:
        return _to_sign_in()
    for_staff = request.blueprint is not None and request.blueprint.startswith(ADMIN)
    if identity.viewing is not None and not for_staff and request.blueprint not in _ONES_OWN:
        identity = g.identity = _as_a_customer(identity)
    if for_staff != (identity.staff_role is not None) and needed != "signed in":
        raise NotFound("There is no such page.")
    if identity.is_guest_of_provider and needed == "signed in" and request.blueprint not in _FOR_GUESTS_TOO:
        raise NotAllowed(
            "Your organization's provider has let you in, and into this organization only. To change your account,"
            " sign out and sign in with your password."
        )
    if needed != "signed in" and not identity.may(Permission(needed or "")):
        raise NotFound("There is no such page.")
    if for_staff:
        if current_app.config["SETTINGS"].staff_need_two_factors and not identity.has_two_factors:
            return _send_to(url_for("two_factors.show"))
        act_as(STAFF)
    elif identity.seat is not None:
        act_as(tenant(identity.seat.organization_id))
        # Only whole pages show them; their templates ask the database nothing.
        if request.method == "GET" and not request.headers.get("HX-Request"):
            g.announcements = _announcements(identity)
    return None


def _announcements(identity: Identity) -> list[Announcement]:
    """What is announced to this customer now and they have not put away."""
    shown = shown_now(now=clock.now())
    if not shown:
        return shown
    with acting_as(SYSTEM):
        gone = put_away_by(identity.user_id, [each.id for each in shown])
    return [each for each in shown if each.id not in gone]


def _as_a_customer(identity: Identity) -> Identity:
    """A member of staff as one who may only look at the pages of the organization. Raises NotAllowed for a change."""
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        raise NotAllowed("You are looking as a customer, and that changes nothing. End it first.")
    seat = identity.viewing
    assert seat is not None
    return replace(identity, staff_role=None, seats=(seat,), seat=seat)


def identify() -> Identity | None:
    """Find out who is signed in, from the session cookie; remembered for the request."""
    if "identity" not in g:
        g.identity = None
        token = request.cookies.get(cookie_name())
        if token:
            with acting_as(SYSTEM):
                g.identity = identity_of(token, now=clock.now(), idle=_idle_limits())
                if g.identity is not None and g.identity.was_seen_long_ago:
                    with transaction():
                        note_seen(token, now=clock.now())
        if g.identity is not None:
            g.actor = g.identity.actor
            _speak_to(g.identity)
    return cast(Identity | None, g.identity)


def _speak_to(identity: Identity) -> None:
    """The pages of staff are in English; a customer's are in the language that they have chosen, if any."""
    if identity.staff_role is not None:
        languages.speak_english()
    else:
        languages.prefer(identity.language)


def _idle_limits() -> IdleLimits:
    settings = current_app.config["SETTINGS"]
    return IdleLimits(settings.session_idle_hours, settings.staff_session_idle_hours)


def me() -> Identity:
    """The person behind this request; only after the guard has let them in."""
    identity = identify()
    assert identity is not None
    return identity


def my_seat() -> Seat:
    """The organization that this customer is looking at. Raises NotFound for somebody who has none."""
    seat = me().seat
    if seat is None:
        raise NotFound("You do not belong to an organization yet.")
    return seat


def safe_next(target: str | None) -> str:
    """A path of our own to go on to after signing in; anything else becomes the start page."""
    if not target or not target.startswith("/") or target[1:2] in ("/", "\\"):
        return "/"
    if any(ord(character) < 32 for character in target) or urlsplit(target).netloc:
        return "/"
    return target


def _to_sign_in() -> Response:
    target = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return _send_to(url_for("session.sign_in", next=target))


def _send_to(address: str) -> Response:
    if request.headers.get("HX-Request"):
        # htmx would put the other page into the middle of the old one.
        response = Response(status=401)
        response.headers["HX-Redirect"] = address
        return response
    return cast(Response, redirect(address, 303))
