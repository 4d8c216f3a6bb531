"""Every setting of the portal: its name in the environment, its unit, its default and its parser.

`settings_from_env` refuses to start with the whole list of what is wrong, not at first use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from portal import setting_texts as read


class ConfigurationError(SystemExit):
    """The environment cannot be used; the message lists every setting that is missing or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, parsed. The docs for people are in docs/configuration.md; a test keeps the two in step."""

    environment: str
    secret_key: str
    secret_key_fallbacks: tuple[str, ...]
    database_url: str
    database_prepared_statements: bool
    redis_url: str
    portal_url: str
    stripe_secret_key: str
    stripe_webhook_secrets: tuple[str, ...]
    stripe_api_base: str | None
    stripe_calls_per_second: int
    stripe_endpoint_calls_per_second: int
    seller_name: str
    seller_address: str
    seller_tax_id: str
    seller_country: str
    finalize_hold_seconds: int
    bill_run_hold_seconds: int
    bill_run_automatic: bool
    bill_run_review_hours: int
    grace_hours: int
    session_days: int
    session_idle_hours: int
    staff_session_idle_hours: int
    staff_need_two_factors: bool
    step_up_above: Decimal | None
    second_approval_from: Mapping[str | None, Decimal]
    second_approval_hours: int
    second_person_publishes: bool
    oidc_issuer: str | None
    oidc_client_id: str
    oidc_client_secret: str
    oidc_name: str
    oidc_mail_domains: tuple[str, ...]
    days_until_due: int
    archive_after_months: int
    export_keep_days: int
    mail_keep_days: int
    account_mail_keep_days: int
    stripe_event_keep_days: int
    webhook_delivery_keep_days: int
    simulation_keep_days: int
    ingest_log_keep_days: int
    webhook_private_addresses: bool
    api_requests_per_minute: int
    api_events_per_minute: int
    prometheus_pulls: str | None
    htmx_url: str
    htmx_integrity: str
    trusted_hosts: tuple[str, ...]
    proxy_hops: int
    smtp_url: str | None
    mail_from: str | None
    mail_reply_to: str | None
    mail_attach_pdf: bool
    mail_reminder_days: tuple[int, ...]
    log_level: str
    metrics_token: str | None

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The secret key, then those that it has replaced."""
        return (self.secret_key, *self.secret_key_fallbacks)

    @property
    def is_production(self) -> bool:
        """Production refuses sandboxes, seeds and plain cookies."""
        return self.environment == "production"


@dataclass(frozen=True, slots=True)
class Variable:
    """How one field of Settings is read: a `default` of None means that it must be set."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    says: str


VARIABLES: dict[str, Variable] = {
    "environment": Variable("PORTAL_ENV", read.environment, "development", "development, demo, testing or production"),
    "secret_key": Variable("SECRET_KEY", read.text, None, "signs form tokens; at least 32 random characters"),
    "secret_key_fallbacks": Variable(
        "SECRET_KEY_FALLBACKS",
        read.between_commas,
        "",
        "secret keys that SECRET_KEY has replaced, with commas; empty means none",
    ),
    "database_url": Variable(
        "DATABASE_URL", read.database, None, "PostgreSQL 15 or newer: postgresql://user:password@host/name"
    ),
    "database_prepared_statements": Variable(
        "DATABASE_PREPARED_STATEMENTS",
        read.yes_or_no,
        "yes",
        "yes or no: no behind a pooler in transaction mode that does not know them (PgBouncer before 1.21)",
    ),
    "redis_url": Variable("REDIS_URL", read.redis, None, "Redis, for wake-ups of workers: redis://host:6379/0"),
    "portal_url": Variable(
        "PORTAL_URL", read.url, "http://127.0.0.1:5000", "address of the portal, for links that leave it"
    ),
    "stripe_secret_key": Variable("STRIPE_SECRET_KEY", read.stripe_key, "sk_test_sandbox", "Stripe's secret key"),
    "stripe_webhook_secrets": Variable(
        "STRIPE_WEBHOOK_SECRET",
        read.secrets,
        None,
        "the webhook's signing secret; two, with a comma, while one replaces the other",
    ),
    "stripe_api_base": Variable(
        "STRIPE_API_BASE", read.optional_url, "", "address of the sandbox server; empty means Stripe itself"
    ),
    "stripe_calls_per_second": Variable(
        "STRIPE_CALLS_PER_SECOND", read.rate, "80", "calls a second that all processes together send to Stripe at most"
    ),
    "stripe_endpoint_calls_per_second": Variable(
        "STRIPE_ENDPOINT_CALLS_PER_SECOND", read.rate, "20", "the same for each of Stripe's endpoints"
    ),
    "seller_name": Variable("SELLER_NAME", read.text, "Example Cloud, Inc.", "the seller on every invoice"),
    "seller_address": Variable(
        "SELLER_ADDRESS", read.text, "1 Example Street, Springfield", "the seller's address on every invoice"
    ),
    "seller_tax_id": Variable("SELLER_TAX_ID", str.strip, "", "the seller's tax id on every invoice; empty means none"),
    "seller_country": Variable(
        "SELLER_COUNTRY",
        read.country,
        "",
        "two letters of ISO 3166: the seller's country on every invoice, for electronic invoices; empty means none",
    ),
    "finalize_hold_seconds": Variable(
        "FINALIZE_HOLD_SECONDS", read.count, "60", "seconds in which a finalize can be taken back with Cancel"
    ),
    "bill_run_hold_seconds": Variable(
        "BILL_RUN_HOLD_SECONDS", read.count, "600", "the same for the invoices of a bill run"
    ),
    "bill_run_automatic": Variable(
        "BILL_RUN_AUTOMATIC",
        read.yes_or_no,
        "no",
        "whether bill runs that the clock starts finalize what is approved by themselves: yes or no",
    ),
    "bill_run_review_hours": Variable("BILL_RUN_REVIEW_HOURS", read.count, "24", "hours of review before they do so"),
    "grace_hours": Variable(
        "GRACE_HOURS", read.count, "48", "hours after a month's end in which late usage still lands"
    ),
    "session_days": Variable("SESSION_DAYS", read.count, "14", "days until a session ends by itself"),
    "session_idle_hours": Variable(
        "SESSION_IDLE_HOURS",
        read.count,
        "168",
        "hours without a click that end a customer's session; 0 means never",
    ),
    "staff_session_idle_hours": Variable("STAFF_SESSION_IDLE_HOURS", read.count, "12", "the same for staff"),
    "staff_need_two_factors": Variable(
        "STAFF_NEED_TWO_FACTORS",
        read.yes_or_no,
        "no",
        "yes or no: whether staff see nothing but their account before they have a second factor",
    ),
    "step_up_above": Variable(
        "STEP_UP_ABOVE",
        read.optional_amount,
        "",
        "amount in major units above which finalizing asks for a password or a code again; empty means never",
    ),
    "second_approval_from": Variable(
        "SECOND_APPROVAL_FROM",
        read.amounts,
        "",
        "invoice totals from which a second person approves finalizing: USD 25000, JPY 3000000, and one without a"
        " currency for all others; empty means never",
    ),
    "second_approval_hours": Variable(
        "SECOND_APPROVAL_HOURS",
        read.rate,
        "72",
        "hours for which a second approval can be given after it was asked for",
    ),
    "second_person_publishes": Variable(
        "SECOND_PERSON_PUBLISHES",
        read.yes_or_no,
        "no",
        "yes or no: whether a price that one admin wants to publish waits for another one",
    ),
    "oidc_issuer": Variable(
        "OIDC_ISSUER",
        read.issuer,
        "",
        "the issuer of an OpenID Connect provider to sign in by; empty means passwords only",
    ),
    "oidc_client_id": Variable(
        "OIDC_CLIENT_ID", str.strip, "", "the portal's client id at it; required with OIDC_ISSUER"
    ),
    "oidc_client_secret": Variable(
        "OIDC_CLIENT_SECRET", str.strip, "", "the portal's client secret at it; required with OIDC_ISSUER"
    ),
    "oidc_name": Variable("OIDC_NAME", read.text, "single sign-on", "what people call the provider, for the button"),
    "oidc_mail_domains": Variable(
        "OIDC_MAIL_DOMAINS",
        read.domains,
        "",
        "domains, with commas, whose confirmed addresses at the provider link an account at first; empty means none",
    ),
    "days_until_due": Variable("DAYS_UNTIL_DUE", read.count, "14", "days until an invoice is due"),
    "archive_after_months": Variable(
        "ARCHIVE_AFTER_MONTHS",
        read.count,
        "3",
        "whole months that must have passed since a month before its usage events can be archived",
    ),
    "export_keep_days": Variable(
        "EXPORT_KEEP_DAYS", read.count, "7", "days for which the file of an export is kept after it was made"
    ),
    "mail_keep_days": Variable(
        "MAIL_KEEP_DAYS", read.count, "400", "days for which texts and addresses of mails to customers are kept"
    ),
    "account_mail_keep_days": Variable(
        "ACCOUNT_MAIL_KEEP_DAYS", read.count, "30", "days for which mails about people's accounts are kept"
    ),
    "stripe_event_keep_days": Variable(
        "STRIPE_EVENT_KEEP_DAYS", read.count, "90", "days for which it is kept what an applied event of Stripe said"
    ),
    "webhook_delivery_keep_days": Variable(
        "WEBHOOK_DELIVERY_KEEP_DAYS", read.count, "90", "days for which deliveries of webhooks are kept"
    ),
    "simulation_keep_days": Variable(
        "SIMULATION_KEEP_DAYS", read.count, "90", "days for which price simulations are kept after their end"
    ),
    "ingest_log_keep_days": Variable(
        "INGEST_LOG_KEEP_DAYS", read.count, "7", "days for which requests to the usage API are listed"
    ),
    "webhook_private_addresses": Variable(
        "WEBHOOK_PRIVATE_ADDRESSES",
        read.yes_or_no,
        "no",
        "yes or no: whether webhooks of organizations may go to private addresses and over http; never in production",
    ),
    "api_requests_per_minute": Variable(
        "API_REQUESTS_PER_MINUTE",
        read.limit,
        "6000",
        "requests a minute that an API key may send, and all keys of an organization together; 0 means no limit",
    ),
    "api_events_per_minute": Variable(
        "API_EVENTS_PER_MINUTE",
        read.limit,
        "600000",
        "events a minute that an API key may send, and all keys of an organization together; 0 means no limit",
    ),
    "prometheus_pulls": Variable(
        "PROMETHEUS_PULLS", read.optional_text, "", "a YAML file: what to pull from Prometheus; empty means nothing"
    ),
    "htmx_url": Variable(
        "HTMX_URL",
        read.text,
        "https://cdn.jsdelivr.net/npm/htmx.org@2.0.11/dist/htmx.min.js",
        "where pages load htmx from",
    ),
    "htmx_integrity": Variable(
        "HTMX_INTEGRITY",
        read.text,
        "sha384-2OatzQy1H+Zd/IIrjr1TcuDGqLXeHhbooAyJY1KdQMKnr4LZ22k31GBLdYKHmVjg",
        "the hash that htmx must have",
    ),
    "trusted_hosts": Variable(
        "TRUSTED_HOSTS",
        read.between_commas,
        "",
        "host names that the portal answers to; empty means all outside production",
    ),
    "proxy_hops": Variable(
        "PROXY_HOPS", read.count, "0", "number of proxies in front whose X-Forwarded headers are believed"
    ),
    "smtp_url": Variable(
        "SMTP_URL",
        read.smtp_url,
        "",
        "the mail server: smtp://user:password@host:587?starttls=1, or smtps://; empty means that no mail is sent",
    ),
    "mail_from": Variable(
        "MAIL_FROM", read.mail_address, "", "who mails are from: Example Cloud <billing@example.com>"
    ),
    "mail_reply_to": Variable("MAIL_REPLY_TO", read.mail_address, "", "where answers go; empty means MAIL_FROM"),
    "mail_attach_pdf": Variable(
        "MAIL_ATTACH_PDF",
        read.yes_or_no,
        "yes",
        "yes or no: whether the mail of a new invoice has its PDF besides the link",
    ),
    "mail_reminder_days": Variable(
        "MAIL_REMINDER_DAYS",
        read.days,
        "-3,1,7,14",
        "days after the due date on which an unpaid invoice is reminded of, before it with a minus; empty means never",
    ),
    "log_level": Variable("LOG_LEVEL", read.log_level, "INFO", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    "metrics_token": Variable(
        "METRICS_TOKEN",
        read.optional_text,
        "",
        "the token with which Prometheus reads /metrics; empty means no metrics",
    ),
}
assert set(VARIABLES) == {field.name for field in fields(Settings)}


def settings_from_env(environ: Mapping[str, str]) -> Settings:
    """Read all settings. Raises ConfigurationError with every problem at once; values are never printed."""
    values: dict[str, Any] = {}
    problems = []
    for field_name, variable in VARIABLES.items():
        text = environ.get(variable.name, variable.default)
        if text is None:
            problems.append(f"{variable.name} is not set: {variable.says}.")
            continue
        try:
            values[field_name] = variable.parse(text)
        except ValueError as error:
            problems.append(f"{variable.name} cannot be used: {error} ({variable.says}).")
    if values.get("smtp_url") and not values.get("mail_from"):
        problems.append("MAIL_FROM is not set: with SMTP_URL, mails need somebody whom they are from.")
    if values.get("oidc_issuer"):
        needed = {"oidc_client_id": "OIDC_CLIENT_ID", "oidc_client_secret": "OIDC_CLIENT_SECRET"}
        problems += [f"{needed[each]} is not set: OIDC_ISSUER needs it." for each in needed if not values.get(each)]
    problems += _production_problems(values)
    if problems:
        raise ConfigurationError("The portal cannot start:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return Settings(**values)


def _production_problems(values: Mapping[str, Any]) -> list[str]:
    if values.get("environment") != "production":
        is_live = "_live_" in values.get("stripe_secret_key", "")
        return ["STRIPE_SECRET_KEY is a live key; only production may bill for real."] if is_live else []
    problems = []
    if len(values.get("secret_key", "")) < 32:
        problems.append("SECRET_KEY is too short for production: at least 32 random characters.")
    if values.get("stripe_api_base"):
        problems.append("STRIPE_API_BASE names a sandbox; leave it empty in production.")
    if "_live_" not in values.get("stripe_secret_key", ""):
        problems.append("STRIPE_SECRET_KEY is a test key; production needs a live one.")
    if (values.get("oidc_issuer") or "").startswith("http://"):
        problems.append("OIDC_ISSUER starts with https:// in production.")
    if not values.get("portal_url", "").startswith("https://"):
        problems.append("PORTAL_URL starts with https:// in production.")
    if values.get("webhook_private_addresses"):
        problems.append(
            "WEBHOOK_PRIVATE_ADDRESSES lets customers call machines of your network; it is no in production."
        )
    if not values.get("trusted_hosts"):
        problems.append("TRUSTED_HOSTS is empty; name the host names that the portal answers to.")
    return problems
