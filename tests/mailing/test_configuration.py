"""The settings of mail: refused at the start, and never printed."""

import pytest

from devkit.testservers import TEST_SETTINGS
from portal.config import ConfigurationError, settings_from_env

GOOD = TEST_SETTINGS | {"DATABASE_URL": "postgresql://db/portal_test", "REDIS_URL": "redis://redis:6379/0"}


def test_without_anything_no_mail_is_sent_and_the_schedule_is_the_usual_one():
    settings = settings_from_env(GOOD)
    assert (settings.smtp_url, settings.mail_attach_pdf) == (None, True)
    assert settings.mail_reminder_days == (-3, 1, 7, 14)


def test_a_schedule_is_put_in_order_and_may_be_empty():
    assert settings_from_env(GOOD | {"MAIL_REMINDER_DAYS": "7, -3,7,0"}).mail_reminder_days == (-3, 0, 7)
    assert settings_from_env(GOOD | {"MAIL_REMINDER_DAYS": ""}).mail_reminder_days == ()


def test_a_server_needs_somebody_whom_mails_are_from():
    with pytest.raises(ConfigurationError, match="MAIL_FROM is not set"):
        settings_from_env(GOOD | {"SMTP_URL": "smtp://mail.example"})
    address = "Example Cloud <billing@example.com>"
    assert settings_from_env(GOOD | {"SMTP_URL": "smtp://mail.example", "MAIL_FROM": address}).mail_from == address


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_URL", "mail.example:587"),
        ("SMTP_URL", "smtp://"),
        ("SMTP_URL", "smtp://user:geheim@mail.example:port"),
        ("SMTP_URL", "smtp://user:geheim@mail.example"),
        ("MAIL_FROM", "Example Cloud"),
        ("MAIL_FROM", "a@b.example\r\nBcc: c@d.example"),
        ("MAIL_REPLY_TO", "@b.example"),
        ("MAIL_ATTACH_PDF", "perhaps"),
        ("MAIL_REMINDER_DAYS", "soon"),
        ("MAIL_REMINDER_DAYS", "1,400"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_value(name, value):
    with pytest.raises(ConfigurationError) as refused:
        settings_from_env(GOOD | {"MAIL_FROM": "a@b.example"} | {name: value})
    assert f"{name} cannot be used" in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["smtps://u:p@mail.example", "smtp://u:p@mail.example:587?starttls=1", "smtp://u:p@localhost"]
)
def test_a_password_goes_out_only_where_nobody_can_listen(url):
    assert settings_from_env(GOOD | {"SMTP_URL": url, "MAIL_FROM": "a@b.example"}).smtp_url == url
