"""The demo's platform: a believable public cloud with its customers, their usage and two years of invoices.

Everything is made by the portal's own verbs (prices are published, usage is ingested, invoices are finalized), with
the clock given to them. Deterministic for a seed number and a day. Idempotent: what is there is left alone, so it can
run again at any time, also after people have used the portal; it then adds usage up to now.
"""

from portal.seeding.run import Wishes, seed

__all__ = ["Wishes", "seed"]
