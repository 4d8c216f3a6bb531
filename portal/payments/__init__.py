"""Payments: getting a finalized invoice paid through Stripe, once.

Owns: the sync to Stripe and its journal, webhooks, reconciling.  Does not own: what is owed (invoicing).
Times: first_attempt_at = when a call was first made (its key lives 24 h from then).
Invariants: a call's key and parameters are stored before it is made and never change; an unknown outcome is
neither success nor failure; only Stripe's own answer moves a payment state; only gateway.py imports stripe.
"""
