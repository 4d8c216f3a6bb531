"""Simulating prices: what final invoices would have billed for a price's usage, had a draft of its terms held.

Owns: simulations, their progress, and one row for each organization and month that they have rated again.
Does not own: rating (invoicing.usage_lines), prices and publishing them (catalog).
Times: as_of = when the simulation was asked for; invoices that became final later are not in it.
Invariants: invoices are read in read-only transactions; nothing but a simulation's own rows is written.
"""
