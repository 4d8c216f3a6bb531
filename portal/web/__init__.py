"""The pages of customers: what they use, what they owe, and how to pay it.

A view asks a capability, makes what it got ready to show, and renders; there is no SQL and no rule of billing here.
Everything works without JavaScript; htmx only saves reloading.
"""

from flask import Blueprint

from portal.web.account import bp as account
from portal.web.activity import bp as activity
from portal.web.announcements import bp as announcements
from portal.web.api_docs import bp as api_docs
from portal.web.api_keys import bp as api_keys
from portal.web.billing_details import bp as billing_details
from portal.web.budgets import bp as budgets
from portal.web.change_log import bp as change_log
from portal.web.comparing import bp as comparing
from portal.web.costs import bp as costs
from portal.web.credit_notes import bp as credit_notes
from portal.web.documents import bp as documents
from portal.web.draft_changes import bp as draft_changes
from portal.web.drafts import bp as drafts
from portal.web.exports import bp as exports
from portal.web.forecast import bp as forecast
from portal.web.invoices import bp as invoices
from portal.web.joining import bp as joining
from portal.web.mail_settings import bp as mail_settings
from portal.web.members import bp as members
from portal.web.overview import bp as overview
from portal.web.own_provider import bp as own_provider
from portal.web.passkeys import bp as passkeys
from portal.web.payment import bp as payment
from portal.web.plans import bp as plans
from portal.web.provider import bp as provider
from portal.web.resetting import bp as resetting
from portal.web.session import bp as session
from portal.web.signing_in import bp as signing_in
from portal.web.totals import bp as totals
from portal.web.two_factors import bp as two_factors
from portal.web.usage import bp as usage
from portal.web.usage_events import bp as usage_events
from portal.web.webhooks import bp as webhooks


def blueprints() -> tuple[Blueprint, ...]:
    """All blueprints of this surface."""
    return (
        *(session, signing_in, provider, resetting, account, two_factors, passkeys, members, joining, own_provider),
        *(mail_settings, billing_details, api_keys, api_docs, webhooks, activity, announcements),
        *(overview, usage, usage_events, costs, forecast, budgets, plans),
        *(drafts, draft_changes, change_log, invoices, comparing, payment, documents, credit_notes, totals, exports),
    )
