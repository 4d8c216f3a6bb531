"""The catalog: what is sold at which price, and to whom on which terms.

Owns: products, meters, plans, prices and their versions, subscriptions, coupons, tax rates.
Does not own: quantities (usage), amounts (core), credits (invoicing).
Times: valid_from = the day (00:00 UTC) from which a version or rate applies; the one before ends there.
Invariants: a published version or rate never changes (a trigger refuses it) and never begins in a period that has
been billed; a price has one currency; nothing is deleted, only archived; the most specific price wins: an
organization's own before one for its plan, that before everybody's, and more matching dimensions before fewer.
"""
