"""Signing in, sessions that end when they should, and what a person may do."""

from datetime import timedelta

import pytest

from portal.core.errors import InvalidInput, NotFound
from portal.infra.db import transaction
from portal.organizations.people import add_member, create_user
from portal.organizations.roles import CUSTOMER_ROLES, STAFF_ROLES, Permission
from portal.organizations.sessions import IdleLimits, SignInRefused, choose_organization, identity_of, sign_in, sign_out
from portal.organizations.tidying import forget_by_clock
from tests.factories import NOW, make_organization, sql

pytestmark = pytest.mark.usefixtures("books")
PASSWORD = "correct horse battery"


@pytest.fixture
def person():
    acme, other = make_organization("acme"), make_organization("other")
    with transaction():
        user = create_user(email="Pia@Example.com", name="Pia", password=PASSWORD)
        add_member(user, acme, "viewer")
        add_member(user, other, "owner")
    return user


def enter(email="pia@example.com", password=PASSWORD):
    with transaction():
        return sign_in(email, password, now=NOW, days=14, address="127.0.0.1", user_agent="a browser")


def who(token, now=NOW):
    with transaction():
        return identity_of(token, now=now)


def test_a_session_belongs_to_the_person_and_is_kept_only_as_a_hash(person):
    token = enter()
    identity = who(token)
    assert (identity.email, identity.seat.slug, [seat.slug for seat in identity.seats]) == (
        "Pia@Example.com",
        "acme",
        ["acme", "other"],
    )
    assert token.encode() not in sql("SELECT token_sha256 FROM sessions")[0][0]


@pytest.mark.parametrize(("email", "password"), [("pia@example.com", "wrong"), ("nobody@example.com", PASSWORD)])
def test_a_wrong_password_and_an_unknown_address_are_refused_with_the_same_sentence(person, email, password):
    with pytest.raises(SignInRefused, match="do not belong together"):
        enter(email, password)
    assert sql("SELECT count(*) FROM sessions") == [(0,)]


def test_a_disabled_person_is_out_at_once(person):
    token = enter()
    sql("UPDATE users SET disabled_at = now()")
    assert who(token) is None
    with pytest.raises(SignInRefused):
        enter()


def test_a_session_ends_by_itself_and_by_signing_out(person):
    token = enter()
    assert who(token, NOW + timedelta(days=14)) is None
    assert who(token, NOW + timedelta(days=13)) is not None
    with transaction():
        sign_out(token)
    assert who(token) is None
    assert who("no such token") is None


def test_a_person_can_choose_only_among_their_own_organizations(person):
    make_organization("stranger")
    token = enter()
    with transaction():
        choose_organization(token, "other", identity_of(token, now=NOW))
    assert who(token).seat.slug == "other"
    with pytest.raises(NotFound), transaction():
        choose_organization(token, "stranger", identity_of(token, now=NOW))


def test_a_closed_organization_is_no_seat_any_more(person):
    token = enter()
    sql("UPDATE organizations SET status = 'closed' WHERE slug = 'acme'")
    assert who(token).seat.slug == "other"


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [("pia@EXAMPLE.com", PASSWORD, "email"), ("nobody", PASSWORD, "email"), ("new@example.com", "short", "password")],
)
def test_a_person_who_cannot_be_added_is_refused_by_field(person, email, password, field):
    with pytest.raises(InvalidInput) as refused, transaction():
        create_user(email=email, name="X", password=password)
    assert refused.value.field == field


def test_an_admin_holds_every_permission_and_other_staff_not_more_than_who_stands_above():
    ranks = [STAFF_ROLES[role] for role in ("support", "billing_operations", "finance_lead", "admin")]
    assert ranks[-1] == frozenset(Permission)
    assert all(lower <= higher for lower, higher in zip(ranks, ranks[1:], strict=False))
    assert Permission.FINALIZE_INVOICES not in frozenset().union(*CUSTOMER_ROLES.values())


@pytest.mark.parametrize(
    ("role", "hours", "idle", "is_in"),
    [
        (None, 168, IdleLimits(), True),
        (None, 7, IdleLimits(customers=8, staff=1), True),
        (None, 8, IdleLimits(customers=8), False),
        ("support", 8, IdleLimits(customers=8), True),
        ("support", 1, IdleLimits(customers=8, staff=1), False),
    ],
)
def test_a_session_that_lies_idle_ends(person, role, hours, idle, is_in):
    token = enter()
    sql("UPDATE users SET staff_role = :role", role=role)
    later = NOW + timedelta(hours=hours)
    with transaction():
        assert (identity_of(token, now=later, idle=idle) is not None) == is_in


def test_the_clock_forgets_a_session_at_its_end_and_not_before(person):
    enter()
    end = NOW + timedelta(days=14)
    forget_by_clock(now=end - timedelta(seconds=1))
    assert sql("SELECT address FROM sessions") == [("127.0.0.1",)]
    forget_by_clock(now=end)
    forget_by_clock(now=end)
    assert sql("SELECT address FROM sessions") == []
