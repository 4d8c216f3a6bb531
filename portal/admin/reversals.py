"""What went back of payments, of all organizations: refunds and disputes, as a page and as files."""

from flask import Response, render_template, request

from portal.admin.paging import last_id
from portal.admin.staff import staff_blueprint
from portal.core.money import major_text
from portal.infra.pages import csv_response, policy
from portal.payments.reversal_queries import list_disputes, list_refunds

PER_PAGE = 50
_INVOICE = ("organization", "invoice", "currency", "amount")
REFUNDS_HEAD = ("id", *_INVOICE, "state", "at", "by", "reason", "message", "stripe_id")
DISPUTES_HEAD = ("stripe_id", *_INVOICE, "status", "opened_at", "answer_by")
bp = staff_blueprint("admin_reversals")


@bp.get("/refunds")
@policy("view organizations")
def index() -> str:
    """The latest disputes, and one page of refunds, newest first."""
    found = list_refunds(before=last_id(), limit=PER_PAGE + 1)
    return render_template(
        "admin/refunds/index.html",
        disputes=list_disputes(limit=PER_PAGE),
        refunds=found[:PER_PAGE],
        more=found[PER_PAGE - 1][0].id if len(found) > PER_PAGE else None,
        paged="after" in request.args,
    )


@bp.get("/refunds.csv")
@policy("view organizations")
def refunds_as_csv() -> Response:
    """All refunds."""
    rows = (
        (
            refund.public_id,
            invoice.organization.name,
            invoice.number,
            invoice.currency,
            major_text(refund.amount, invoice.currency),
            refund.state,
            refund.created_at.isoformat(),
            refund.created_by or "at Stripe",
            refund.reason,
            refund.message,
            refund.stripe_id,
        )
        for refund, invoice in list_refunds(limit=None)
    )
    return csv_response("refunds", REFUNDS_HEAD, rows)


@bp.get("/disputes.csv")
@policy("view organizations")
def disputes_as_csv() -> Response:
    """All disputes."""
    rows = (
        (
            dispute.stripe_id,
            invoice.organization.name,
            invoice.number,
            invoice.currency,
            major_text(dispute.amount, invoice.currency),
            dispute.status,
            dispute.opened_at.isoformat(),
            dispute.due_by.isoformat() if dispute.due_by else None,
        )
        for dispute, invoice in list_disputes(limit=None)
    )
    return csv_response("disputes", DISPUTES_HEAD, rows)
