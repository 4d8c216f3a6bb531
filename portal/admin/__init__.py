"""Pages for staff: what needs somebody, organizations, the catalog, invoices, one-off items, and the way to Stripe.

Owns: forms, pages and their words.  Does not own: any rule; the capabilities' verbs refuse, the pages only say so.
Every page is guarded by its policy; whoever lacks the permission finds no page.
"""

from flask import Blueprint

from portal.admin import (
    agreement,
    agreement_changes,
    announcements,
    approving,
    approving_prices,
    audit,
    billing_details,
    catalog,
    catalog_changes,
    collection,
    comparing,
    costs,
    credit_notes,
    documents,
    drift,
    filters,
    finalizing,
    invoices,
    item_templates,
    item_uploads,
    items,
    jobs,
    linked,
    mails,
    month,
    organizations,
    people,
    refunds,
    registering,
    reversals,
    review,
    runs,
    searching,
    simulations,
    stripe_events,
    sync,
    today,
    totals,
    viewing,
    voiding,
    waiting,
    writing_off,
)


def blueprints() -> tuple[Blueprint, ...]:
    """All blueprints of this surface."""
    return (
        *(today.bp, organizations.bp, costs.bp, agreement.bp, agreement_changes.bp, catalog.bp, catalog_changes.bp),
        *(invoices.bp, documents.bp, items.bp, finalizing.bp, approving.bp, approving_prices.bp, voiding.bp),
        *(runs.bp, review.bp, credit_notes.bp, writing_off.bp, drift.bp, stripe_events.bp, mails.bp, audit.bp),
        *(billing_details.bp, item_templates.bp, item_uploads.bp, collection.bp, refunds.bp),
        *(month.bp, totals.bp, sync.bp, waiting.bp, registering.bp, people.bp, jobs.bp, comparing.bp, searching.bp),
        *(simulations.bp, viewing.bp, reversals.bp, announcements.bp, filters.bp, linked.bp),
    )
