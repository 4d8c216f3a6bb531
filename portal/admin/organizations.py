"""Organizations: the list, one of them with all that belongs to it, and its audit trail."""

from itertools import chain
from uuid import UUID

from flask import Response, render_template, request

from portal.admin.staff import staff_blueprint
from portal.catalog.queries import subscriptions_of
from portal.core.keys import canonical_json
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.audit_reading import Wanted, all_entries_wanted, entries_in
from portal.infra.blocks import rows_of
from portal.infra.pages import csv_streamed, policy
from portal.invoicing.draft_totals import draft_totals_in
from portal.invoicing.drafting import draft_of
from portal.invoicing.queries import invoices_of
from portal.organizations.models import Organization
from portal.organizations.queries import api_keys_of, list_organizations, members_of, organization_of, place_of

PER_PAGE = 50
SHOWN_INVOICES = 24
bp = staff_blueprint("admin_organizations")


@bp.get("/organizations")
@policy("view organizations")
def index() -> str:
    """One page of organizations by name, found by name, short name or Stripe customer."""
    search = request.args.get("search", "").strip()
    found = list_organizations(search=search, after=request.args.get("after", ""), limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    month = Month.of(clock.now())
    more = place_of(shown[-1]) if len(found) > PER_PAGE else None
    return render_template(
        "admin/organizations/index.html",
        organizations=shown,
        month=month,
        totals=draft_totals_in(month, [each.id for each in shown]),
        search=search,
        more=more,
        paged="after" in request.args,
    )


@bp.get("/organizations.csv")
@policy("view organizations")
def as_csv() -> Response:
    """All organizations that the same search finds."""
    header = ("id", "slug", "name", "currency", "status", "collection_method", "stripe_customer_id", "created_at")
    search = request.args.get("search", "").strip()

    def read(last: Organization | None, limit: int) -> list[Organization]:
        return list_organizations(search=search, after=place_of(last) if last else "", limit=limit)

    rows = (
        (
            each.public_id,
            each.slug,
            each.name,
            each.currency,
            each.status,
            each.collection_method,
            each.stripe_customer_id,
            each.created_at.isoformat(),
        )
        for each in rows_of(read)
    )
    return csv_streamed("organizations", header, rows)


@bp.get("/organizations/<uuid:public_id>")
@policy("view organizations")
def show(public_id: UUID) -> str:
    """One organization: its draft, invoices, people, subscriptions, keys and what was done to it."""
    organization = organization_of(public_id)
    now = clock.now()
    month = Month.of(now)
    invoices = invoices_of(organization.id, limit=SHOWN_INVOICES)
    return render_template(
        "admin/organizations/show.html",
        organization=organization,
        now=now,
        month=month,
        draft_id=next((each.public_id for each in invoices if each.month == month), None),
        statement=draft_of(organization, month).statement,
        invoices=invoices,
        members=members_of(organization.id),
        subscriptions=subscriptions_of(organization.id),
        api_keys=api_keys_of(organization.id),
        entries=entries_in(organization.id),
    )


@bp.get("/organizations/<uuid:public_id>/audit.csv")
@policy("view organizations")
def audit_as_csv(public_id: UUID) -> Response:
    """The whole audit trail of one organization."""
    organization = organization_of(public_id)
    header = ("at", "who", "kind_of_who", "action", "subject", "subject_id", "before", "after", "reason", "request_id")
    rows = (
        (
            entry.at.isoformat(),
            entry.actor_name,
            entry.actor_kind,
            entry.action,
            entry.subject_kind,
            entry.subject_id,
            canonical_json(entry.before),
            canonical_json(entry.after),
            entry.reason,
            entry.request_id,
        )
        for entry in chain.from_iterable(all_entries_wanted(Wanted(organization.id)))
    )
    return csv_streamed(f"audit-{organization.slug}", header, rows)
