"""Customers make, rotate and revoke their own API keys."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from portal.core.errors import InvalidTransition
from portal.core.keys import is_key_text, key_text
from portal.infra.db import db, transaction
from portal.organizations.api_keys import ROTATION_OVERLAP, create_key, holder_of, rotate_key
from tests.factories import acting, make_organization, sql
from tests.web.conftest import assert_flawless, post

PAGE = "/settings/api-keys"
KEY = re.compile(r'id="key">(blk_test_[^<]+)<')
NEW = {"name": "=collector", "scopes": "both", "days": "30"}


def make(browser, **values: str):
    return post(browser, PAGE, page=PAGE, **NEW | values)


def asks(client, key: str) -> int:
    return client.get("/api/v1/meters", headers={"Authorization": f"Bearer {key}"}).status_code


def newest() -> tuple[str, datetime | None]:
    [[public_id, expires_at]] = sql("SELECT public_id, expires_at FROM api_keys ORDER BY id DESC LIMIT 1")
    return str(public_id), expires_at


@pytest.mark.parametrize("email", ["owner@acme.example", "developer@acme.example"])
def test_a_new_key_is_shown_once_works_and_is_audited(app, client, as_person, email):
    browser = as_person(email)
    made = make(browser)
    assert_flawless(made)
    key = KEY.search(made.text)[1]
    assert is_key_text(key)
    assert asks(client, key) == 200
    listed = browser.get(PAGE)
    assert_flawless(listed)
    assert key not in listed.text
    assert key[:12] in listed.text
    assert "'=collector" in browser.get(f"{PAGE}.csv").text
    with acting(app):
        assert sql("SELECT action, organization_id IS NOT NULL FROM audit_entries WHERE subject_kind = 'api key'"
                   " ORDER BY id DESC LIMIT 1") == [("created API key", True)]  # fmt: skip
        expires_at = newest()[1]
    assert timedelta(days=29) < expires_at - datetime.now(UTC) <= timedelta(days=30)


def test_rotating_lets_the_old_key_work_for_a_day(app, client, owner):
    old = KEY.search(make(owner).text)[1]
    with acting(app):
        public_id, _ = newest()
    made = post(owner, f"{PAGE}/{public_id}/rotate", page=PAGE)
    assert_flawless(made)
    new = KEY.search(made.text)[1]
    assert [asks(client, key) for key in (old, new)] == [200, 200]
    with acting(app):
        later = datetime.now(UTC) + ROTATION_OVERLAP
        assert holder_of(old, now=later) is None
        assert holder_of(new, now=later).scopes == ("ingest", "read")
    assert post(owner, f"{PAGE}/{public_id}/rotate", page=PAGE).status_code == 409


def test_a_revoked_key_is_refused_at_once_and_revoking_twice_is_one_revoking(app, client, owner):
    key = KEY.search(make(owner).text)[1]
    with acting(app):
        public_id, _ = newest()
    for _ in range(2):
        assert post(owner, f"{PAGE}/{public_id}/revoke", page=PAGE).status_code == 303
    assert asks(client, key) == 401
    with acting(app):
        assert sql("SELECT count(*) FROM audit_entries WHERE action = 'revoked API key'") == [(1,)]


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "x" * 101}, {"scopes": "admin"}, {"days": "9999"}])
def test_what_does_not_fit_is_said_beside_its_field(app, owner, wrong):
    answer = make(owner, **wrong)
    assert_flawless(answer)
    assert answer.status_code == 422
    assert "field-wrong" in answer.text
    with acting(app):
        assert sql("SELECT count(*) FROM api_keys") == [(0,)]


def test_a_key_that_ends_within_a_day_is_not_rotated(app, clean_database):
    now = datetime.now(UTC)
    with acting(app):
        organization = make_organization()
        with transaction():
            create_key(name="short", organization_id=organization.id, scopes=("read",), live=False,
                       expires_at=now + timedelta(hours=1))  # fmt: skip
        public_id, _ = newest()
        with pytest.raises(InvalidTransition, match="within a day"), transaction():
            rotate_key(organization.id, public_id, created_by_id=1, now=now)


def test_one_wrong_character_is_refused_without_asking_the_database(app, clean_database):
    key = key_text("live", "A" * 43)
    wrong = [key[:place] + ("b" if key[place] != "b" else "c") + key[place + 1 :] for place in range(len(key))]
    statements = []

    def note(_connection, _cursor, statement, *_):
        statements.append(statement)

    with acting(app):
        event.listen(db.engine, "before_cursor_execute", note)
        try:
            assert [holder_of(each, now=datetime.now(UTC)) for each in [*wrong, "", key[:-1], f"{key}0"]] == [None] * (
                len(wrong) + 3
            )
            assert statements == []
            assert holder_of(key, now=datetime.now(UTC)) is None
            assert len(statements) == 1
        finally:
            event.remove(db.engine, "before_cursor_execute", note)
