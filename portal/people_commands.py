"""Commands about people who sign in, and keys of machines."""

from datetime import UTC, datetime

import click
from flask import current_app
from flask.cli import AppGroup
from rich.console import Console

from portal.infra.db import transaction
from portal.operator import as_operator
from portal.operator_console import organization_named
from portal.organizations.api_keys import PLATFORM_SCOPES, SCOPES
from portal.organizations.roles import CUSTOMER_ROLES

console = Console()

users_group = AppGroup("users", help="People who sign in.")


@users_group.command("create-admin")
@click.argument("email")
@click.option("--name", default="Admin", show_default=True)
@click.password_option()
@as_operator
def create_admin(email: str, name: str, password: str) -> None:
    """Create a member of staff with every permission."""
    from portal.organizations.people import create_user

    with transaction():
        create_user(email=email, name=name, password=password, staff_role="admin")
    console.print(f"{email} can sign in.")


@users_group.command("create-member")
@click.argument("email")
@click.option("--organization", required=True, metavar="SLUG", help="Whose member.")
@click.option("--role", type=click.Choice(list(CUSTOMER_ROLES)), default="owner", show_default=True)
@click.option("--name", help="By default what stands before the @.")
@click.password_option()
@as_operator
def create_member(email: str, organization: str, role: str, name: str | None, password: str) -> None:
    """Create a person of an organization, where no mail can invite them."""
    from portal.organizations.people import add_member, create_user

    with transaction():
        member_of = organization_named(organization)
        add_member(create_user(email=email, name=name or email.partition("@")[0], password=password), member_of, role)
    console.print(f"{email} can sign in as {role} of {organization}.")


@users_group.command("reset-two-factors")
@click.argument("email")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@as_operator
def reset_second_factor(email: str, reason: str) -> None:
    """Switch off the second factor of somebody who has lost it, recovery codes and all; they get a mail."""
    from portal.infra import clock
    from portal.organizations.people import user_by_email
    from portal.organizations.two_factors import reset_two_factors

    with transaction():
        user = user_by_email(email)
        if user is None:
            raise click.ClickException(f"There is no user {email}.")
        reset_two_factors(user, reason=reason, now=clock.now())
    console.print(f"{email} signs in with the password alone.")


@users_group.command("unlink-provider")
@click.argument("email")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@as_operator
def unlink_from_provider(email: str, reason: str) -> None:
    """Take off the link to an account at the sign-in provider, for somebody who has another one there now."""
    from portal.organizations.people import user_by_email
    from portal.organizations.provider_sign_ins import unlink_provider

    with transaction():
        user = user_by_email(email)
        if user is None:
            raise click.ClickException(f"There is no user {email}.")
        unlink_provider(user, reason=reason)
    console.print(f"{email} is linked anew at the next sign-in by the provider.")


@users_group.command("export")
@click.argument("email")
@as_operator
def export_person(email: str) -> None:
    """Write what the portal holds about a person as JSON, without secrets; the audit log keeps that it was done."""
    from portal.infra import audit
    from portal.organizations.people import user_by_email
    from portal.personal_export import personal_json

    with transaction():
        user = user_by_email(email)
        if user is None:
            raise click.ClickException(f"There is no user {email}.")
        audit.record("exported personal data", subject="user", subject_id=user.id, organization_id=None)
        for piece in personal_json(user):
            click.echo(piece, nl=False)


@users_group.command("erase")
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask for the address once more.")
@as_operator
def erase(email: str, yes: bool) -> None:
    """Erase a person: credentials, sessions, memberships and addresses; the account gets a name that is nobody's."""
    from portal.erasing import erase_person
    from portal.infra import clock
    from portal.organizations.people import user_by_email

    if not yes and click.prompt("Type the address once more; this cannot be taken back") != email:
        raise click.ClickException("Nothing was done: that is another address.")
    with transaction():
        user = user_by_email(email)
        if user is None:
            raise click.ClickException(f"There is no user {email}.")
        erased = erase_person(user.id, now=clock.now())
    console.print(f"Erased. What had to stay is of “{erased.name}”; docs/security.md says what that is.")


keys_group = AppGroup("keys", help="API keys.")


@keys_group.command("create")
@click.argument("name")
@click.option("--organization", help="Slug of the organization; without it the key is the platform's.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(PLATFORM_SCOPES),
    default=("ingest", "read"),
    show_default=True,
    help="What the key may do; give it more than once for more. The last two are for the platform's keys only.",
)
@as_operator
def create_api_key(name: str, organization: str | None, scopes: tuple[str, ...]) -> None:
    """Create an API key and print it, once."""
    from portal.organizations.api_keys import create_key
    from portal.organizations.queries import ids_by_slug

    with transaction():
        organization_id = ids_by_slug({organization}).get(organization) if organization else None
        if organization and organization_id is None:
            raise click.ClickException(f"There is no active organization “{organization}”.")
        if organization and not set(scopes) <= set(SCOPES):
            raise click.ClickException(f"A key of an organization may be given {' and '.join(SCOPES)} only.")
        live = current_app.config["SETTINGS"].is_production
        text = create_key(
            name=name,
            organization_id=organization_id,
            scopes=tuple(dict.fromkeys(scopes)),
            live=live,
            now=datetime.now(UTC),
        )
    click.echo(text)
