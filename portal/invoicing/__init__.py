"""Invoices: from a month's rollups to a document that never changes.

Owns: drafts, one-off items, lines, totals, numbers, states, the account balance.
Does not own: prices (catalog), quantities (usage), collection (payments).
Times: period = when it was used; finalize_at = when the hold window ends; finalized_at = when it became owed;
due_date = when it is late.
Invariants: one invoice per organization, period and kind that is not void; one currency per invoice; the lines of a
finalized invoice never change and add up to its total (triggers refuse, a hash proves); numbers have no gaps.
"""
