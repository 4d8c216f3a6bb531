"""Settings: read once, refused together, documented for people."""

from decimal import Decimal
from pathlib import Path

import pytest

from devkit.testservers import TEST_SETTINGS
from portal import create_app
from portal.config import VARIABLES, ConfigurationError, settings_from_env
from portal.core.errors import InvalidInput

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLE = Path(__file__).parents[2] / ".env.example"
GOOD = TEST_SETTINGS | {"DATABASE_URL": "postgresql://db/portal_test", "REDIS_URL": "redis://redis:6379/0"}


@pytest.mark.parametrize("variable", VARIABLES.values(), ids=lambda variable: variable.name)
def test_every_setting_is_documented(variable):
    assert f"`{variable.name}`" in DOCUMENT.read_text()


@pytest.mark.parametrize("variable", VARIABLES.values(), ids=lambda variable: variable.name)
def test_every_setting_is_in_the_example_of_an_environment(variable):
    lines = [line.removeprefix("#") for line in EXAMPLE.read_text().splitlines()]
    found = [line.partition("=")[2] for line in lines if line.startswith(f"{variable.name}=")]
    assert len(found) == 1
    assert found[0] == (variable.default or "") or f"\n{variable.name}=" in EXAMPLE.read_text()


def test_an_empty_environment_is_refused_with_everything_that_is_missing():
    with pytest.raises(ConfigurationError) as refused:
        settings_from_env({})
    for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "STRIPE_WEBHOOK_SECRET"):
        assert f"{name} is not set" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORTAL_ENV", "staging"),
        ("DATABASE_URL", "mysql://db"),
        ("REDIS_URL", "http://redis"),
        ("STRIPE_SECRET_KEY", "pk_test_1"),
        ("STRIPE_API_BASE", "localhost:1"),
        ("GRACE_HOURS", "-1"),
        ("DAYS_UNTIL_DUE", "two"),
        ("SECRET_KEY", "  "),
        ("PORTAL_URL", "portal.example"),
        ("SECOND_APPROVAL_FROM", "usd 25000"),
        ("SECOND_APPROVAL_FROM", "25001, 25002"),
        ("OIDC_ISSUER", "http://id.example"),
        ("OIDC_ISSUER", "https://user@id.example"),
        ("OIDC_MAIL_DOMAINS", "acme.example, @other"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_its_value_is_not_printed(name, value):
    with pytest.raises(ConfigurationError) as refused:
        settings_from_env(GOOD | {name: value})
    assert f"{name} cannot be used" in str(refused.value)
    assert str(refused.value).count("\n  - ") == 1
    assert name == "DAYS_UNTIL_DUE" or not value.strip() or value not in str(refused.value).replace(name, "")


def test_a_limit_in_what_is_no_currency_keeps_the_portal_from_starting():
    settings = settings_from_env(GOOD | {"SECOND_APPROVAL_FROM": "USD 25000, UDS 3, 7.50"})
    assert settings.second_approval_from == {"USD": 25000, "UDS": 3, None: Decimal("7.5")}
    with pytest.raises(InvalidInput, match="“UDS” is not a currency"):
        create_app(settings)


PRODUCTION = GOOD | {
    "PORTAL_ENV": "production",
    "STRIPE_SECRET_KEY": "sk_live_1",
    "STRIPE_API_BASE": "",
    "PORTAL_URL": "https://billing.example",
    "TRUSTED_HOSTS": "billing.example",
}


def test_production_starts_with_production_settings():
    assert settings_from_env(PRODUCTION).is_production


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"),
        ("STRIPE_API_BASE", "http://127.0.0.1:12111"),
        ("STRIPE_SECRET_KEY", "sk_test_1"),
        ("PORTAL_URL", "http://billing.example"),
        ("TRUSTED_HOSTS", ""),
    ],
)
def test_production_refuses_what_only_a_demo_may_have(name, value):
    with pytest.raises(ConfigurationError, match=name):
        settings_from_env(PRODUCTION | {name: value})


def test_only_production_takes_a_live_key():
    with pytest.raises(ConfigurationError, match="STRIPE_SECRET_KEY is a live key"):
        settings_from_env(GOOD | {"STRIPE_SECRET_KEY": "rk_live_1"})


def test_a_provider_needs_a_client():
    with pytest.raises(ConfigurationError) as refused:
        settings_from_env(GOOD | {"OIDC_ISSUER": "https://id.example/"})
    assert "OIDC_CLIENT_ID is not set" in str(refused.value)
    assert "OIDC_CLIENT_SECRET is not set" in str(refused.value)
    client = {"OIDC_CLIENT_ID": "portal", "OIDC_CLIENT_SECRET": "secret"}
    assert (
        settings_from_env(GOOD | client | {"OIDC_ISSUER": "https://id.example/"}).oidc_issuer == "https://id.example/"
    )
    with pytest.raises(ConfigurationError, match="OIDC_ISSUER starts with https"):
        settings_from_env(PRODUCTION | client | {"OIDC_ISSUER": "http://localhost:9"})


def test_an_empty_webhook_secret_is_refused():
    """With no secret every webhook would be refused, and nobody would know why."""
    with pytest.raises(ConfigurationError, match="STRIPE_WEBHOOK_SECRET"):
        settings_from_env(GOOD | {"STRIPE_WEBHOOK_SECRET": " , "})


def test_the_timeouts_of_a_call_fit_into_the_lease_and_the_lease_into_the_jobs_time():
    from portal.infra.outbox import LEASE
    from portal.infra.queue import JOB_TIMEOUT_SECONDS
    from portal.payments.gateway import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS

    call = CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS
    assert 3 * call <= LEASE.total_seconds()
    assert 3 * call <= JOB_TIMEOUT_SECONDS
