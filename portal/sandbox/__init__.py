"""A Stripe you can break: a stand-in server for the demo and the tests.

Owns: its own customers, invoices, credit notes, events and a ledger of every call it received.
Does not own: anything of the portal. It imports nothing of it and is reached over HTTP only,
by the official `stripe` library, so that what the tests exercise is what production runs.

Invariants: amounts are integers in minor units; every change of state is an event; a call with an
idempotency key is executed at most once within 24 hours of the sandbox's own clock.
Faults are asked for through `/_ctl` and never happen by themselves.
"""

from .server import create_sandbox

__all__ = ["create_sandbox"]
