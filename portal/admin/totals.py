"""Totals: what everybody, or one organization, was invoiced over all years, by currency, year and month."""

from uuid import UUID

from flask import Response, render_template, request

from portal.admin.staff import staff_blueprint
from portal.infra.pages import csv_response, policy
from portal.invoicing.month_totals import FILE_HEAD, by_currency, file_rows, months_of, months_of_platform
from portal.organizations.queries import list_organizations, organization_of

MOST_FOUND = 10
bp = staff_blueprint("admin_totals")


@bp.get("/totals")
@policy("view organizations")
def platform() -> str:
    """The sums of all organizations, and the way to those of one: ?organization= finds it."""
    search = request.args.get("organization", "").strip()
    return render_template(
        "admin/totals/platform.html",
        currencies=by_currency(months_of_platform()),
        search=search,
        found=list_organizations(search=search, limit=MOST_FOUND) if search else [],
    )


@bp.get("/totals.csv")
@policy("view organizations")
def platform_as_csv() -> Response:
    """The months of the platform as a file."""
    return csv_response("totals", FILE_HEAD, file_rows(months_of_platform()))


@bp.get("/organizations/<uuid:public_id>/totals")
@policy("view organizations")
def organization(public_id: UUID) -> str:
    """The sums of one organization."""
    found = organization_of(public_id)
    return render_template(
        "admin/totals/organization.html", organization=found, currencies=by_currency(months_of(found.id))
    )


@bp.get("/organizations/<uuid:public_id>/totals.csv")
@policy("view organizations")
def organization_as_csv(public_id: UUID) -> Response:
    """The months of one organization as a file."""
    found = organization_of(public_id)
    return csv_response(f"totals-{found.slug}", FILE_HEAD, file_rows(months_of(found.id)))
