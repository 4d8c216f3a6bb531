"""The pages of customers: what they use, what they owe, and how to pay it.

A view asks a capability, makes what it got ready to show, and renders; there is no SQL and no rule of billing here.
Everything works without JavaScript; htmx only saves reloading.
"""

from flask import Blueprint

from portal.web import drafts, invoices, overview, session, usage


def blueprints() -> tuple[Blueprint, ...]:
    """All blueprints of this surface."""
    return (session.bp, overview.bp, usage.bp, drafts.bp, invoices.bp)
