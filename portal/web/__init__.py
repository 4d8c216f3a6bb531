"""The pages of customers: what they use, what they owe, and how to pay it.

A view asks a capability, makes what it got ready to show, and renders; there is no SQL and no rule of billing here.
Everything works without JavaScript; htmx only saves reloading.
"""

from flask import Blueprint

from portal.web.budgets import bp as budgets
from portal.web.costs import bp as costs
from portal.web.credit_notes import bp as credit_notes
from portal.web.documents import bp as documents
from portal.web.draft_changes import bp as draft_changes
from portal.web.drafts import bp as drafts
from portal.web.forecast import bp as forecast
from portal.web.invoices import bp as invoices
from portal.web.mail_settings import bp as mail_settings
from portal.web.overview import bp as overview
from portal.web.payment import bp as payment
from portal.web.plans import bp as plans
from portal.web.session import bp as session
from portal.web.totals import bp as totals
from portal.web.usage import bp as usage
from portal.web.usage_events import bp as usage_events


def blueprints() -> tuple[Blueprint, ...]:
    """All blueprints of this surface."""
    return (
        *(session, overview, usage, usage_events, costs, forecast, budgets, plans, mail_settings),
        *(drafts, draft_changes, invoices, payment, documents, credit_notes, totals),
    )
