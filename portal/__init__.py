"""The billing portal: usage compiled here, invoices finalized here, one finished invoice a month sent to Stripe.

`create_app` wires the floors together; there is no logic in it.
"""

from pathlib import Path

import msgspec
from flask import Flask
from flask_migrate import Migrate
from werkzeug.middleware.proxy_fix import ProxyFix

from portal.config import Settings

ROOT = Path(__file__).resolve().parent.parent
LARGEST_FORM_BYTES = 1024 * 1024


def create_app(settings: Settings) -> Flask:
    """The application for these settings. Reads no environment and opens no connection."""
    from portal import cli
    from portal.admin import blueprints as admin_blueprints
    from portal.api import costs as costs_api
    from portal.api import (
        estimates,
        events,
        health,
        invoices,
        items,
        metrics,
        organizations,
        subscriptions,
        totals,
        webhooks,
    )
    from portal.api import usage as usage_api
    from portal.bill_runs import jobs as bill_run_jobs
    from portal.core.approving import AmountLimits
    from portal.exports import making
    from portal.infra import logs, packing, pages
    from portal.infra import metrics as counting
    from portal.infra.db import db, ping_idle_connections
    from portal.invoicing import jobs as invoicing_jobs
    from portal.mailing import account_letters, approval_letters, reminding, sending, webhook_letters
    from portal.mailing import jobs as mailing_jobs
    from portal.payments import crediting, pushing, receiving, reconciling, sweeping, syncing, undelivered, voiding
    from portal.simulating import jobs as simulating_jobs
    from portal.web import blueprints as web_blueprints
    from portal.webhooks import sending as webhook_sending

    AmountLimits(settings.second_approval_from)  # refuses what is no currency now, and not at the first invoice
    app = Flask(__name__, template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static"))
    app.config.update(
        SETTINGS=settings,
        SECRET_KEY=settings.secret_key,
        SECRET_KEY_FALLBACKS=list(settings.secret_key_fallbacks),
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        # An error names its statement, never the values: hashes of keys, addresses and names do not belong into logs.
        SQLALCHEMY_ENGINE_OPTIONS={
            "pool_size": 8,
            "pool_timeout": 5,
            "hide_parameters": True,
            "json_deserializer": msgspec.json.decode,
            "connect_args": {} if settings.database_prepared_statements else {"prepare_threshold": None},
        },
        MAX_CONTENT_LENGTH=LARGEST_FORM_BYTES,
        MAX_FORM_PARTS=200,
        TESTING=settings.environment == "testing",
        TRUSTED_HOSTS=list(settings.trusted_hosts) or None,
        SESSION_COOKIE_SECURE=settings.portal_url.startswith("https://"),
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=True,
    )
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    logs.configure(settings.log_level)
    db.init_app(app)
    with app.app_context():
        ping_idle_connections(db.engine)
    Migrate(app, db, directory=str(ROOT / "migrations"))
    pages.init_app(app)
    counting.init_app(app)
    packing.init_app(app)
    # Importing a module of jobs registers its handlers with the outbox.
    assert all((invoicing_jobs, crediting, pushing, receiving, reconciling, sweeping, syncing, undelivered, voiding))
    assert all((bill_run_jobs, mailing_jobs, reminding, sending, account_letters, making))
    assert all((webhook_sending, webhook_letters, approval_letters, simulating_jobs))
    about_usage = (events.bp, estimates.bp, usage_api.bp, costs_api.bp)
    api = (organizations.bp, items.bp, subscriptions.bp, *about_usage, invoices.bp, totals.bp)
    for blueprint in (*api, webhooks.bp, health.bp, metrics.bp, *web_blueprints(), *admin_blueprints()):
        app.register_blueprint(blueprint)
    cli.register(app)
    return app
