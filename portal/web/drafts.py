"""The live draft invoice: what a month comes to so far, line by line, and what can still change."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, current_app, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from portal.billing_cycle import finalizable_from
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.pages import csv_response, policy
from portal.invoicing.change_log import change_log
from portal.invoicing.documents import buyer_of
from portal.invoicing.drafting import Draft, draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_for_month
from portal.invoicing.shown import shown_sections
from portal.invoicing.sums import sums_of_open
from portal.organizations.models import Organization
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat
from portal.standing import SOON_SECONDS, second_of
from portal.usage.queries import usage_complete_up_to
from portal.web.explaining import explain
from portal.web.lines import CSV_HEAD, chosen_line, csv_rows, lines_of_draft
from portal.web.months import chosen_month

WATCHING_SECONDS = 15
# The newest days of the change log, beside the lines.
LOG_DAYS = 5
bp = Blueprint("drafts", __name__, url_prefix="/invoices")
bp.before_request(guard_page)


@dataclass(frozen=True, slots=True)
class OpenMonth:
    """A month that is not final: its figures now, and its row if somebody has opened one."""

    organization: Organization
    month: Month
    invoice: Invoice | None
    draft: Draft

    @property
    def buyer(self) -> dict[str, Any]:
        """Whom it bills, as it would say now."""
        return buyer_of(self.organization, self.invoice.purchase_order if self.invoice else None)

    @property
    def memo(self) -> str | None:
        """What it says to the customer besides its figures."""
        return self.invoice.memo if self.invoice else None

    @property
    def sections(self) -> list[dict[str, Any]]:
        """What it pays for others, as last looked at."""
        return list((self.invoice.sections if self.invoice else None) or ())

    @property
    def scheduled(self) -> bool:
        """Whether somebody has finalized it and the hold window runs: figures no longer change."""
        return self.invoice is not None and self.invoice.state == InvoiceState.SCHEDULED


@bp.get("/draft")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """The draft of the current month, or of an earlier one that is still open; a final month has its invoice."""
    now = clock.now()
    month = chosen_month(now)
    invoice = invoice_for_month(my_seat().organization_id, month)
    if invoice is not None and invoice.state == InvoiceState.FINALIZED:
        return redirect(url_for("invoices.show", public_id=invoice.public_id), 303)
    return draft_page(open_month(month, invoice), now)


@bp.get("/draft/total")
@policy("view invoices")
def total() -> ResponseReturnValue:
    """The panel with the total, which loads itself again while the month is open."""
    now = clock.now()
    month = chosen_month(now)
    invoice = invoice_for_month(my_seat().organization_id, month)
    if invoice is not None and invoice.state == InvoiceState.FINALIZED:
        # The whole page has become another one: htmx loads it; the panel is for whoever asks without htmx.
        return render_template("web/invoices/_final_now.html", invoice=invoice), 200, {"HX-Refresh": "true"}
    return render_template("web/invoices/_total.html", **_panel(open_month(month, invoice), now))


@bp.get("/draft.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """The draft's lines as a file."""
    month = chosen_month(clock.now())
    invoice = invoice_for_month(my_seat().organization_id, month)
    if invoice is not None and invoice.state == InvoiceState.FINALIZED:
        return redirect(url_for("documents.download", public_id=invoice.public_id, kind="csv"), 303)
    return draft_file(open_month(month, invoice))


def open_month(month: Month, invoice: Invoice | None) -> OpenMonth:
    """The figures of a month that is not final; frozen ones while it is being finalized."""
    organization = invoice.organization if invoice else organization_by_id(my_seat().organization_id)
    frozen = invoice.id if invoice is not None and invoice.state == InvoiceState.SCHEDULED else None
    return OpenMonth(organization, month, invoice, draft_of(organization, month, frozen_invoice_id=frozen))


def draft_page(opened: OpenMonth, now: datetime) -> str:
    """The page of a draft."""
    lines = lines_of_draft(opened.draft.statement.lines)
    line = next((each for each in lines if each.number == chosen_line()), None)
    currency = opened.organization.currency
    return render_template(
        "web/invoices/draft.html",
        **_panel(opened, now),
        lines=lines,
        explained=line,
        explanation=explain(line, currency, lines) if line else None,
        sections=shown_sections(opened.sections),
        buyer=opened.buyer,
        memo=opened.memo,
        invoice=opened.invoice,
        log=[] if opened.scheduled else change_log(opened.organization, opened.month, opened.draft, most=LOG_DAYS),
        unpriced=opened.draft.unpriced,
        too_large=opened.draft.statement.is_too_large,
    )


def draft_file(opened: OpenMonth) -> ResponseReturnValue:
    """The lines of a draft as CSV."""
    currency = opened.organization.currency
    lines = lines_of_draft(opened.draft.statement.lines)
    rows = csv_rows(lines, currency, opened.buyer, opened.memo, opened.sections)
    return csv_response(f"draft-invoice-{opened.month}", CSV_HEAD, rows)


def _panel(opened: OpenMonth, now: datetime) -> dict[str, Any]:
    """What the total's panel shows, in the page and alone."""
    finalize_at = opened.invoice.finalize_at if opened.invoice else None
    return {
        "month": opened.month,
        "currency": opened.organization.currency,
        "statement": opened.draft.statement,
        "sums": sums_of_open(opened.invoice, opened.draft.statement),
        "state": InvoiceState.SCHEDULED if opened.scheduled else InvoiceState.DRAFT,
        "finalizing_at": second_of(finalize_at) if opened.scheduled and finalize_at else None,
        "final_from": finalizable_from(opened.month, current_app.config["SETTINGS"]),
        "heard_of_at": usage_complete_up_to(opened.organization.id, opened.month),
        "look_again_seconds": SOON_SECONDS if opened.scheduled else WATCHING_SECONDS,
        "now": now,
        "computed_at": second_of(now),
    }
