"""Logs: one line is one event whatever it holds, and no line holds a secret or says who somebody is."""

import json
import logging
import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import IntegrityError

from portal.infra.logs import JsonLines
from portal.infra.pages import policy
from tests.factories import acting, sql
from tests.mailing.conftest import PostOffice
from tests.web.conftest import PASSWORD, as_person, owner, post, sign_in
from tests.web.test_account_pages import NEW, OWNER, ask, deliver, link_in, mail, post_office, world
from tests.web.test_api_keys import KEY, asks, make
from tests.web.test_two_factors import set_up, watch
from tests.web.test_webhook_pages import SECRET, add

__all__ = ["as_person", "mail", "owner", "post_office", "watch", "world"]
WRONG, NAME = "a wrong guess of somebody", "Otto Owner"


class Lines(logging.Handler):
    """Keeps the lines as they would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonLines())
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    """All that is logged, at the level that a portal runs with."""
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


def test_a_name_cannot_begin_a_line_or_colour_a_terminal(lines: Lines) -> None:
    forged = 'x\r\n{"level": "info", "event": "paid"}\x1b[31m\u2028\u202e\x00'
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("portal").exception(forged, extra={"organization": forged})
    [line] = lines.written
    assert line.isascii()
    assert line.isprintable()
    said = json.loads(line)
    assert (said["event"], said["organization"], said["level"]) == (forged, forged, "error")


def test_a_refusal_of_the_database_is_logged_without_the_row(app: Flask, world: None, lines: Lines) -> None:
    with acting(app):
        try:
            sql("UPDATE users SET email = :email, name = :name", email=OWNER, name=NAME)
        except IntegrityError:
            logging.getLogger("portal").exception("job failed")
    [line] = lines.written
    assert "users_email" in line
    assert [each for each in (OWNER, NAME, "argon2") if each in line] == []


def test_a_walk_past_every_secret_leaves_none_in_the_logs(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice, watch, lines: Lines, monkeypatch
) -> None:
    sign_in(client, OWNER, WRONG)
    key = KEY.search(make(owner).text)[1]
    assert asks(client, key) == 200
    assert asks(client, key[:-1] + "x") == 401
    webhook = SECRET.search(add(owner, "https://hooks.example.com/hook?token=of-theirs").text)[1]
    codes, recovery = set_up(owner, watch)
    mail.answers["DATA"] = "451 later"
    ask(app, client)
    mail.answers.clear()
    ask(app, client)
    link = link_in(mail)
    post(client, "/reset-password", page=link, token=link.split("=")[1], password=NEW)
    deliver(app)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setitem(app.view_functions, "session.sign_in", policy("public")(lambda: 1 / 0))
    assert client.get(f"/sign-in?next=/&password={WRONG}").status_code == 500
    text = "\n".join(lines.written)
    assert "ZeroDivisionError" in text
    sessions = [cookie.value for each in (owner, client) for cookie in each._cookies.values()]
    secrets = (PASSWORD, WRONG, NEW, key, webhook, codes.secret, link.split("=")[1], *recovery, *sessions)
    assert [each for each in (*secrets, "of-theirs", OWNER, "Set a new password") if each in text] == []
    assert not re.search(r"[\w.]+@acme\.example", text)
