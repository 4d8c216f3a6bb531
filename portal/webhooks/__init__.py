"""Webhooks: telling programs of an organization what has happened, signed, at least once, under a stable id.

Owns: endpoints and their secrets, deliveries and their states.  Does not own: what happened; whoever changes a record
calls `telling.tell` in the transaction of the change.
Times: created_at = when it happened; begun_at = when sending (again) began; delivered_at = when the endpoint took it.
Invariants: one delivery for each endpoint and event (dedupe key); every attempt has the same id and the same body; an
event that was told is sent until the endpoint takes it, for three days; a worker that dies between the answer and our
commit sends it once more under the same id. No address inside the network is ever called (infra/calling.py).
"""
