"""The demo's people and keys, and the note that tells them to whoever starts the demo."""

import hashlib
import hmac
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from portal.config import Settings
from portal.core.keys import key_text
from portal.core.periods import Month
from portal.infra.db import db, transaction
from portal.invoicing.queries import invoice_for_month
from portal.organizations.api_keys import create_key, holder_of
from portal.organizations.models import Organization
from portal.organizations.people import add_member, create_user, user_by_email
from portal.organizations.queries import ids_by_slug
from portal.seeding.cast import CUSTOMERS, PASSWORD, ROLES, SMOKE_CUSTOMER, STAFF, Customer


def login_of(customer: Customer, role: str = "owner") -> str:
    """The demo's address of somebody at a customer."""
    return f"{role}@{customer.slug}.example"


def add_staff() -> None:
    """One member of staff in every role. Idempotent."""
    for email, name, role in STAFF:
        if user_by_email(email) is None:
            create_user(email=email, name=name, password=PASSWORD, staff_role=role)


def add_people(customer: Customer, organization: Organization) -> None:
    """An owner for every customer, and every role at the first. Idempotent."""
    roles = ROLES if customer.slug == CUSTOMERS[0].slug else ROLES[:1]
    for role in roles:
        email = login_of(customer, role)
        user = user_by_email(email)
        if user is None:
            user = create_user(email=email, name=f"{customer.name} {role}", password=PASSWORD)
        add_member(user, organization, role)


def write_credentials(path: Path, settings: Settings, *, now: datetime) -> None:
    """Write logins and API keys to a file that only its owner can read."""
    with transaction():
        ids = ids_by_slug({SMOKE_CUSTOMER})
        organization_id = ids[SMOKE_CUSTOMER]
        keys = {
            "organization": _ensure_key("Demo: usage of one organization", organization_id, settings, now),
            "platform": _ensure_key("Demo: usage of the platform", None, settings, now),
        }
        organization = db.session.get_one(Organization, organization_id)
        invoice = invoice_for_month(organization_id, Month.of(now).previous)
    smoke = next(customer for customer in CUSTOMERS if customer.slug == SMOKE_CUSTOMER)
    document: dict[str, Any] = {
        "logins": [_login(email, role, "staff") for email, _, role in STAFF]
        + [_login(login_of(CUSTOMERS[0], role), role, CUSTOMERS[0].name) for role in ROLES]
        + [_login(login_of(customer), "owner", customer.name) for customer in CUSTOMERS[1:]],
        "api_keys": keys,
        "smoke": {
            "organization": SMOKE_CUSTOMER,
            "organization_id": str(organization.public_id),
            "invoice": str(invoice.public_id) if invoice else None,
            "month": str(Month.of(now).previous),
            "customer_email": login_of(smoke),
            "admin_email": STAFF[0][0],
            "password": PASSWORD,
        },
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)


def _login(email: str, role: str, organization: str) -> dict[str, str]:
    return {"email": email, "password": PASSWORD, "role": role, "organization": organization}


def _ensure_key(name: str, organization_id: int | None, settings: Settings, now: datetime) -> str:
    """The same key for the same installation, so that scripts outlive a second seed."""
    secret = hmac.new(settings.secret_key.encode(), f"demo key: {name}".encode(), hashlib.sha256).hexdigest()
    text = key_text("test", secret)
    if holder_of(text, now=now) is None:
        create_key(name=name, organization_id=organization_id, scopes=("ingest", "read"), live=False, secret=secret)
    return text
