"""The catalog: what is sold at which price.

Owns: meters, plans, prices and their versions, subscriptions.  Does not own: quantities (usage), amounts (core).
Times: valid_from = the day (00:00 UTC) from which a version applies; the version before ends there.
Invariants: a published version never changes (a trigger refuses it); a price has one currency; the most specific
price wins: an organization's own before everybody's, more matching dimensions before fewer.
"""
