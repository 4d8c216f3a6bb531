"""What an organization's month costs by app, region, product or whatever its meters tell apart."""

from uuid import UUID

from flask import Response, render_template, request

from portal.admin.staff import staff_blueprint
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.pages import csv_response, policy
from portal.invoicing.cost_table import CSV_HEAD, CostTable, cost_table, csv_rows, month_asked
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of

MONTHS_TO_CHOOSE = 24
bp = staff_blueprint("admin_costs")


@bp.get("/organizations/<uuid:public_id>/costs")
@policy("view organizations")
def show(public_id: UUID) -> str:
    """The costs of a month, live or final, by one thing."""
    organization = organization_of(public_id)
    table = _asked_table(organization)
    this_month = Month.of(clock.now())
    months = {this_month.plus(-back) for back in range(MONTHS_TO_CHOOSE)} | {table.costs.bill.month}
    return render_template(
        "admin/costs/show.html", organization=organization, table=table, months=sorted(months, reverse=True)
    )


@bp.get("/organizations/<uuid:public_id>/costs.csv")
@policy("view organizations")
def as_csv(public_id: UUID) -> Response:
    """The table of the page, all rows."""
    organization = organization_of(public_id)
    table = _asked_table(organization)
    name = f"costs-{organization.slug}-{table.costs.bill.month}-by-{table.costs.question.by}"
    return csv_response(name, CSV_HEAD, csv_rows(table))


def _asked_table(organization: Organization) -> CostTable:
    """What the address asks for (?month=2026-10&by=app&meter=…). Raises InvalidInput."""
    return cost_table(
        organization,
        month_asked(request.args.get("month"), clock.now()),
        by=request.args.get("by") or None,
        meter=request.args.get("meter") or None,
    )
