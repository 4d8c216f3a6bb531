"""The month so far: what drafts come to and are expected to, who moves most, and which sources are silent."""

from datetime import UTC

from flask import Response, render_template

from portal.admin.staff import staff_blueprint
from portal.core.money import major_text
from portal.core.periods import Month
from portal.forecasting import platform
from portal.infra import clock
from portal.infra.pages import csv_streamed, policy

MOST_SILENT = 50
CSV_HEAD = ("Organization", "Currency", "So far", "Expected", "Last month", "Change", "Silent sources")
bp = staff_blueprint("admin_month")


@bp.get("/month")
@policy("view organizations")
def show() -> str:
    """What should be looked at before the month is over."""
    today = clock.now().astimezone(UTC).date()
    return render_template(
        "admin/month.html",
        month=Month.of(today),
        sums=platform.sums_by_currency(today),
        movers=platform.movers(today),
        silent=platform.silent(today, limit=MOST_SILENT),
    )


@bp.get("/month.csv")
@policy("view organizations")
def as_csv() -> Response:
    """Every organization with its month so far."""
    today = clock.now().astimezone(UTC).date()
    rows = (
        (
            each.name,
            each.currency,
            *(major_text(amount, each.currency) for amount in (each.so_far, each.expected)),
            None if each.before is None else major_text(each.before, each.currency),
            major_text(each.change, each.currency),
            "; ".join(f"{source} since {since.isoformat()}" for source, since in each.silent),
        )
        for each in platform.everybody(today)
    )
    return csv_streamed(f"month-{Month.of(today)}", CSV_HEAD, rows)
