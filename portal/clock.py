"""The clock: recurring work, one line each: how often, what, and which stuck state it sweeps.

Everything here is driven by the state of the database, so a clock that was away catches up, and two clocks do the
work of one (each job is taken under an advisory lock and is idempotent besides).
"""

import logging
import signal
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from flask import Flask, current_app, g
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from portal.bill_runs.advancing import go_on as go_on_with_bill_runs
from portal.billing_cycle import open_drafts
from portal.budgets.watching import watch_by_clock
from portal.core.periods import Month
from portal.exports.keeping import tidy_by_clock
from portal.forecasting.making import forecast_by_clock
from portal.infra import clock, outbox
from portal.infra.audit import Actor
from portal.infra.audit_seals import seal_by_clock
from portal.infra.db import SYSTEM, act_as, db
from portal.infra.processes import heartbeat_of
from portal.invoicing.draft_totals import refresh_by_clock
from portal.mailing.reminding import remind_by_clock
from portal.organizations.tidying import forget_by_clock
from portal.payments import breaker
from portal.payments.reconciling import begin_nightly
from portal.payments.sweeping import sweep_open_invoices
from portal.payments.undelivered import fetch_by_clock
from portal.retention import forget_by_age
from portal.usage.adopting import adopt_by_clock
from portal.usage.folding import fold_by_clock
from portal.usage.levels import count_levels_by_clock
from portal.usage.request_log import trim_request_log
from portal.usage.sources.pulling import pull_by_clock
from portal.webhooks.endpoints import tidy_by_clock as tidy_webhooks

log = logging.getLogger(__name__)
LOOK_AGAIN_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Recurring:
    """One recurring job."""

    name: str
    every_seconds: float
    work: Callable[[], object]


RECURRING = (
    # Lost wake-ups, expired leases, retries and hold windows whose time has come.
    Recurring("ring for due work", 1, outbox.sweep),
    # An organization without a draft of the current month: new ones, and all of them on the first.
    Recurring("open drafts", 60, lambda: open_drafts(Month.of(clock.now()))),
    # Totals of drafts for lists: those that are missing, and the oldest.
    Recurring("refresh the totals of drafts", 30, lambda: refresh_by_clock(now=clock.now())),
    # A complete month without a run; a run whose last job was killed, or whose review is over.
    Recurring(
        "go on with bill runs",
        15,
        lambda: go_on_with_bill_runs(now=clock.now(), settings=current_app.config["SETTINGS"]),
    ),
    # Work that waits for Stripe while it does not answer: the oldest asks, and all of it comes back in order.
    Recurring("tend the circuit before Stripe", 5, breaker.tend),
    # Open invoices whose webhook never came.
    Recurring(
        "look again at open invoices",
        300,
        lambda: sweep_open_invoices(now=clock.now(), every=LOOK_AGAIN_EVERY),
    ),
    # Events whose webhook never came.
    Recurring("fetch undelivered events", 3600, lambda: fetch_by_clock(now=clock.now())),
    # Once a day: what differs between the portal and Stripe.
    Recurring("reconcile with Stripe", 600, lambda: begin_nightly(now=clock.now())),
    # Unpaid invoices whose reminder has come; mails whose job has died.
    Recurring(
        "remind of unpaid invoices",
        600,
        lambda: remind_by_clock(now=clock.now(), schedule=current_app.config["SETTINGS"].mail_reminder_days),
    ),
    # What running months are expected to come to; each is made again after an hour.
    Recurring("forecast", 60, lambda: forecast_by_clock(now=clock.now())),
    # Budgets whose figures have moved since somebody looked.
    Recurring("watch budgets", 20, lambda: watch_by_clock(now=clock.now())),
    # Entries of the audit log that no seal covers yet.
    Recurring("seal the audit log", 10, seal_by_clock),
    # Levels that nobody has changed since yesterday: today's hours of them count too.
    Recurring("count levels on", 60, lambda: count_levels_by_clock(now=clock.now())),
    # What batches have left behind to be added up: hours of charts, and when each source was heard of.
    Recurring("fold usage into hours", 2, fold_by_clock),
    # Usage that was kept for a meter that did not exist, and does by now.
    Recurring("count waiting usage", 60, lambda: adopt_by_clock(now=clock.now())),
    # Lines of the ingest log that nobody will ask for any more.
    Recurring(
        "trim the ingest log",
        60,
        lambda: trim_request_log(now=clock.now(), keep_days=current_app.config["SETTINGS"].ingest_log_keep_days),
    ),
    # Mails, events of Stripe, webhook deliveries and simulations of long ago.
    Recurring("delete by age", 600, lambda: forget_by_age(now=clock.now(), settings=current_app.config["SETTINGS"])),
    # Exports whose time is over, and those whose job has died.
    Recurring(
        "forget old exports",
        300,
        lambda: tidy_by_clock(now=clock.now(), keep_days=current_app.config["SETTINGS"].export_keep_days),
    ),
    # Webhook deliveries whose job has died.
    Recurring("tidy webhooks", 300, tidy_webhooks),
    # Limits on guessing that are full again, sign-ins that nobody finished, sessions that have ended.
    Recurring("forget tries at passwords", 60, lambda: forget_by_clock(now=clock.now())),
    # Steps of Prometheus' queries that are over; after a pause, all that were missed.
    Recurring("pull usage from Prometheus", 60, lambda: pull_by_clock(current_app.config["SETTINGS"].prometheus_pulls)),
)


def run_clock(app: Flask) -> None:
    """Run until SIGTERM or SIGINT. Errors of the database are logged and tried again: the clock never dies of them."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    due = {job.name: 0.0 for job in RECURRING}
    with app.app_context():
        alive = heartbeat_of("clock")
    while not stopping.is_set():
        alive.beat()
        for job in RECURRING:
            if time.monotonic() >= due[job.name]:
                due[job.name] = time.monotonic() + job.every_seconds
                tick(app, job)
        stopping.wait(0.25)


def tick(app: Flask, job: Recurring) -> bool:
    """Do one recurring job, unless another clock is at it. Returns whether it was done."""
    with app.app_context():
        act_as(SYSTEM)
        g.actor = Actor("clock", job.name)
        try:
            # A lock of the transaction, and not of the session, which a pooler may give to somebody else meanwhile.
            with db.engine.begin() as connection:
                lock = text("SELECT pg_try_advisory_xact_lock(:key)")
                if not connection.scalar(lock, {"key": zlib.crc32(job.name.encode())}):
                    return False
                job.work()
        except SQLAlchemyError as error:
            log.warning("clock could not reach the database", extra={"job": job.name, "error": str(error)})
            return False
    return True
