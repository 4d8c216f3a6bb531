"""An organization's own sign-in provider: chosen by its owners, for its members, and good for nothing else.

Whoever runs a provider can have it name anybody. So it signs in only people who are members already, never staff; the
session reaches this organization and nothing of the person's account (`UserSession.only_organization_id`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from sqlalchemy import Select, delete, func, select

from portal.core.errors import InvalidInput, NotFound
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.calling import check_url
from portal.infra.db import db
from portal.infra.oidc import Person
from portal.infra.sealing import seal, unseal
from portal.organizations.models import Membership, Organization, OrganizationProvider, OrganizationProviderLink, User
from portal.organizations.sessions import SignInRefused, open_session

_PURPOSE = b"provider secrets"
_NOT_HERE = Said("Your account at the provider belongs to no member of this organization. Ask one of its owners.")


@dataclass(frozen=True, slots=True)
class OwnProvider:
    """The provider of an organization, with its secret unsealed (empty if the key that sealed it is gone)."""

    organization_id: int
    organization: str
    issuer: str
    client_id: str
    client_secret: str


def own_provider_of(organization_id: int) -> OrganizationProvider | None:
    """What an organization has set, if anything."""
    return db.session.get(OrganizationProvider, organization_id, populate_existing=True)


def own_provider_named(slug: str) -> int:
    """The id of the organization of this short name that has a provider. Raises InvalidInput (field "slug")."""
    found: int | None = db.session.scalar(
        select(Organization.id)
        .join(OrganizationProvider, OrganizationProvider.organization_id == Organization.id)
        .where(Organization.slug == slug.strip().lower(), Organization.status != "closed")
    )
    if found is None:
        raise InvalidInput("No organization of this name signs its people in at a provider of its own.", field="slug")
    return found


def own_provider(organization_id: int, *, keys: Sequence[str]) -> OwnProvider:
    """What is needed to go there. Raises NotFound once it was removed."""
    row = db.session.execute(
        select(OrganizationProvider, Organization.name)
        .join(Organization, Organization.id == OrganizationProvider.organization_id)
        .where(OrganizationProvider.organization_id == organization_id)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound("This organization has no provider of its own any more.")
    kept, name = row
    secret = unseal(kept.sealed_secret, keys=keys, purpose=_PURPOSE) or ""
    return OwnProvider(organization_id, name, kept.issuer, kept.client_id, secret)


def keep_own_provider(
    organization_id: int,
    *,
    issuer: str,
    client_id: str,
    client_secret: str,
    is_required: bool,
    keys: Sequence[str],
    private_too: bool,
    now: datetime,
) -> None:
    """Set or change an organization's provider. Audited, without the secret. Raises InvalidInput with the field.

    No secret keeps the one that is there, unless issuer or client changed: it is never shown to another one. Then all
    links end too, and it has to prove itself anew before members must use it.
    """
    issuer, client_id, client_secret = issuer.strip(), client_id.strip(), client_secret.strip()
    _check_issuer(issuer, private_too=private_too)
    if not client_id:
        raise InvalidInput("Enter the client id.", field="client_id")
    kept = _locked(organization_id)
    is_another = kept is None or (kept.issuer, kept.client_id) != (issuer, client_id)
    if is_another and not client_secret:
        raise InvalidInput("Enter the client secret.", field="client_secret")
    if is_required and (kept is None or is_another or kept.proven_at is None):
        raise InvalidInput("First sign in there once yourself, so that it is sure to work.", field="is_required")
    before = _facts(kept) if kept else None
    if kept is None:
        kept = OrganizationProvider(organization_id=organization_id)
        db.session.add(kept)
    elif is_another:
        _drop_links(organization_id)
        kept.proven_at = None
    kept.issuer, kept.client_id, kept.is_required, kept.changed_at = issuer, client_id, is_required, now
    if client_secret:
        kept.sealed_secret = seal(client_secret, keys=keys, purpose=_PURPOSE)
    db.session.flush()
    after = _facts(kept) | ({"secret": "new"} if client_secret else {})
    _record("changed the sign-in provider", organization_id, before, after)


def remove_own_provider(organization_id: int) -> None:
    """Forget it and its links; members sign in as they did before. Audited. Idempotent."""
    kept = _locked(organization_id)
    if kept is None:
        return
    _drop_links(organization_id)
    before = _facts(kept)
    db.session.delete(kept)
    db.session.flush()
    _record("removed the sign-in provider", organization_id, before, None)


def sign_in_at_own_provider(
    organization_id: int,
    person: Person,
    *,
    now: datetime,
    days: int,
    address: str | None,
    user_agent: str | None,
) -> str:
    """Open a session in this organization for the member whom its provider names; return the token for the cookie.

    Somebody new there is linked to the member with the same confirmed address. Raises SignInRefused.
    """
    kept = _locked(organization_id)
    if kept is None or kept.issuer != person.issuer:
        raise SignInRefused("This organization has another provider by now. Begin again.")
    user = _linked(organization_id, person) or _link(organization_id, person, now=now)
    if user.disabled_at is not None or user.staff_role is not None:
        raise SignInRefused(_NOT_HERE)
    kept.proven_at = kept.proven_at or now
    return open_session(
        user, now=now, days=days, address=address, user_agent=user_agent, only_organization_id=organization_id
    )


def _check_issuer(issuer: str, *, private_too: bool) -> None:
    try:
        check_url(issuer, private_too=private_too)
    except InvalidInput as refusal:
        raise InvalidInput(refusal.sentence, field="issuer") from None
    if urlsplit(issuer).query:
        raise InvalidInput("The address of a provider has nothing behind a question mark.", field="issuer")


def _locked(organization_id: int) -> OrganizationProvider | None:
    return db.session.get(OrganizationProvider, organization_id, populate_existing=True, with_for_update=True)


def _drop_links(organization_id: int) -> None:
    links = delete(OrganizationProviderLink).where(OrganizationProviderLink.organization_id == organization_id)
    db.session.execute(links)


def _linked(organization_id: int, person: Person) -> User | None:
    return db.session.scalar(
        _members(organization_id)
        .join(OrganizationProviderLink, OrganizationProviderLink.user_id == User.id)
        .where(
            OrganizationProviderLink.organization_id == organization_id,
            OrganizationProviderLink.subject == person.subject,
        )
    )


def _link(organization_id: int, person: Person, *, now: datetime) -> User:
    """Link a member by address, once: the provider's row is locked, so two first sign-ins cannot both link."""
    if person.email is None:
        raise SignInRefused("The provider does not say that your e-mail address is confirmed, so we cannot go by it.")
    user = db.session.scalar(_members(organization_id).where(func.lower(User.email) == person.email.strip().lower()))
    taken = select(OrganizationProviderLink.user_id).where(
        OrganizationProviderLink.organization_id == organization_id,
        (OrganizationProviderLink.user_id == (user.id if user else 0))
        | (OrganizationProviderLink.subject == person.subject),
    )
    if user is None or user.staff_role is not None or db.session.scalar(taken) is not None:
        raise SignInRefused(_NOT_HERE)
    link = OrganizationProviderLink(
        organization_id=organization_id, subject=person.subject, user_id=user.id, created_at=now
    )
    db.session.add(link)
    audit.record(
        "linked provider",
        subject="user",
        subject_id=user.id,
        organization_id=organization_id,
        after={"issuer": person.issuer},
    )
    return user


def _members(organization_id: int) -> Select[User]:
    return (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id)
        .execution_options(populate_existing=True)
    )


def _facts(kept: OrganizationProvider) -> dict[str, str | bool]:
    return {"issuer": kept.issuer, "client_id": kept.client_id, "required": kept.is_required}


def _record(
    action: str, organization_id: int, before: dict[str, str | bool] | None, after: dict[str, str | bool] | None
) -> None:
    audit.record(
        action,
        subject="organization",
        subject_id=organization_id,
        organization_id=organization_id,
        before=before,
        after=after,
    )
