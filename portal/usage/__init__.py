"""Usage: what was used, exactly once, and how much of it so far.

Owns: usage events, series, daily rollups, and the ways in (API, files).  Does not own: prices or amounts.
Times: occurred_at = when it was used (decides day and month); recorded_at = when we heard of it.
Invariants: an event is stored once per (organization, source, id) for ever; events and rollups are written in one
transaction, so a rollup is always the sum of its events; live usage and drafts read rollups only.
Every unique key contains organization_id, and no trigger or foreign key touches these tables, so that they can be
spread over many machines by organization.
"""
