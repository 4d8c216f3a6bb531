"""The other way: telling Stripe of every usage event, one call each, with the library that everybody uses."""

import time
from uuid import uuid4

import stripe  # noqa: TID251  what others do is measured here, and nothing of the portal goes this way

CUSTOMER = "cus_bench000000"


def push_calls_a_second(api_base: str, count: int) -> float:
    """Push so many meter events one after the other, over one connection; returns how many a second were taken."""
    client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": api_base}, max_network_retries=0)
    started = time.perf_counter()
    for number in range(count):
        client.v1.billing.meter_events.create(
            {
                "event_name": "machine_seconds",
                "identifier": str(uuid4()),
                "payload": {"stripe_customer_id": CUSTOMER, "value": str(number)},
            }
        )
    return count / (time.perf_counter() - started)
