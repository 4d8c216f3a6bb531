"""How many guesses somebody has, as figures: brute force, stuffing, and the victim who still gets in."""

import sys
from datetime import timedelta

import pytest

from portal.infra.db import transaction
from portal.organizations.attempts import (
    PASSWORDS,
    count_mail_wish,
    count_password_try,
    forget_old_attempts,
    forgive_account,
    give_password_try_back,
    note_refused_sign_in,
)
from portal.organizations.people import create_user
from portal.organizations.sessions import sign_in
from tests.factories import NOW, at_once, sql

pytestmark = pytest.mark.usefixtures("books")
PIA, PASSWORD = "pia@example.com", "correct horse battery"


def attempt(email=PIA, address="203.0.113.5", now=NOW):
    with transaction():
        return count_password_try(email, address, now=now)


def let_through(tries, address=lambda number: "203.0.113.5", email=lambda number: PIA, every=timedelta(seconds=1)):
    """Of so many tries, how many passwords are looked at."""
    return sum(attempt(email(number), address(number), NOW + number * every) is None for number in range(tries))


def test_brute_force_from_one_address_is_held_to_a_few_guesses():
    looked_at = let_through(60, every=timedelta(minutes=5))
    sys.stdout.write(f"\nbrute force, 1 address, 60 passwords in 5 hours: {looked_at} looked at\n")
    limit = PASSWORDS["account"]
    assert looked_at == limit.tries + timedelta(minutes=295) // limit.regained_every


def test_a_burst_from_one_address_is_held_to_its_own_limit():
    assert let_through(50) == PASSWORDS["account at address"].tries


def test_brute_force_from_many_addresses_is_held_to_the_accounts_limit():
    looked_at = let_through(100, address=lambda number: f"203.0.113.{number}")
    sys.stdout.write(f"\nbrute force, 100 addresses, 100 passwords in 100 seconds: {looked_at} looked at\n")
    assert looked_at == PASSWORDS["account"].tries


def test_stuffing_many_accounts_from_one_address_is_held_to_the_addresss_limit():
    looked_at = let_through(500, email=lambda number: f"user{number}@example.com")
    sys.stdout.write(f"\nstuffing, 500 accounts, 1 password each in 8 minutes: {looked_at} looked at\n")
    limit = PASSWORDS["address"]
    assert looked_at == limit.tries + timedelta(seconds=499) // limit.regained_every


def test_one_network_of_ipv6_is_one_address():
    assert let_through(50, address=lambda number: f"2001:db8::{number:x}") == PASSWORDS["account at address"].tries


def test_the_owner_gets_in_after_the_wait_and_has_all_tries_again():
    let_through(30)
    wait = attempt(now=NOW + timedelta(seconds=30))
    assert timedelta() < wait <= PASSWORDS["account at address"].regained_every
    assert attempt(now=NOW + timedelta(seconds=30) + wait) is None
    with transaction():
        give_password_try_back(PIA, "203.0.113.5", now=NOW + timedelta(minutes=6))
    assert sum(attempt(now=NOW + timedelta(minutes=6)) is None for _ in range(20)) == 5


def test_strangers_do_not_keep_out_somebody_who_is_signed_in_elsewhere():
    with transaction():
        create_user(email=PIA, name="Pia", password=PASSWORD)
        sign_in(PIA, PASSWORD, now=NOW, days=14, address="198.51.100.7", user_agent=None)
    let_through(40, address=lambda number: f"203.0.113.{number}")
    assert attempt(address="192.0.2.1") is not None
    assert attempt(address="198.51.100.7") is None


def test_a_right_password_gives_an_address_back_one_try_and_no_more():
    let_through(29, email=lambda number: f"user{number}@example.com", every=timedelta())
    assert attempt("own@example.com") is None
    with transaction():
        give_password_try_back("own@example.com", "203.0.113.5", now=NOW)
    assert attempt("next@example.com") is None
    assert attempt("after@example.com") is not None


def test_a_new_password_by_mail_forgives_tries_at_the_old_one():
    let_through(20, address=lambda number: f"203.0.113.{number}", every=timedelta())
    let_through(5, email=lambda number: "other@example.com", every=timedelta())
    assert attempt(address="192.0.2.1") is not None
    with transaction():
        forgive_account(PIA)
    assert let_through(5, address=lambda number: "192.0.2.1", every=timedelta()) == 5
    assert attempt("other@example.com") is not None


def test_a_new_password_by_mail_frees_the_address_that_used_its_tries_up():
    assert let_through(9) == 5
    with transaction():
        forgive_account(PIA)
    assert attempt() is None


def test_tries_at_the_same_moment_do_not_share_one(app):
    waits = at_once(app, *[attempt] * 12)
    assert sum(wait is None for wait in waits) == PASSWORDS["account at address"].tries


def test_mails_to_one_account_are_few():
    with transaction():
        waits = [count_mail_wish(PIA, f"203.0.113.{number}", now=NOW) for number in range(8)]
    assert [wait is None for wait in waits] == [True] * 3 + [False] * 5


def test_a_block_is_audited_once_a_wait_and_nothing_that_was_typed_is_kept():
    let_through(50, every=timedelta())
    with transaction():
        note_refused_sign_in("my secret password")
    entries = sql("SELECT action, subject_id, after FROM audit_entries ORDER BY id")
    assert entries == [("sign-in blocked", None, {"limit": "account at address"}), ("sign-in failed", None, None)]
    assert not sql("SELECT 1 FROM attempt_counters WHERE name LIKE '%pia%' OR name LIKE '%secret%'")


def test_counters_that_are_full_again_are_dropped():
    attempt()
    with transaction():
        forget_old_attempts(now=NOW + timedelta(minutes=3))
    assert sql("SELECT count(*) FROM attempt_counters") == [(2,)]
    with transaction():
        forget_old_attempts(now=NOW + timedelta(minutes=10))
    assert sql("SELECT count(*) FROM attempt_counters") == [(0,)]
