"""Who gets mails: asked when they are sent."""

import pytest
from sqlalchemy.exc import ProgrammingError

from portal.infra.db import tenant, transaction
from portal.mailing.choosing import choose_invoice_mails, recipients_of, wants_invoice_mails
from tests.factories import acting, make_organization, sql
from tests.mailing.conftest import issue, join
from tests.mailing.test_trouble import queue_a_mail, the_mail
from tests.payments.conftest import work


def everybody(organization) -> list[str]:
    with transaction() as session:
        return [each.partition("@")[0] for each in recipients_of(session.merge(organization))]


def test_owners_and_billing_get_mails_and_others_only_if_they_ask(acme):
    people = {role: join(acme, role, role) for role in ("billing", "developer", "viewer")}
    assert everybody(acme) == ["billing", "owner"]
    with transaction():
        choose_invoice_mails(acme.id, people["viewer"].id, wanted=True)
        choose_invoice_mails(acme.id, people["billing"].id, wanted=False)
        choose_invoice_mails(acme.id, people["developer"].id, wanted=True)  # may not see invoices
    assert everybody(acme) == ["owner", "viewer"]
    with transaction():
        choose_invoice_mails(acme.id, people["viewer"].id, wanted=False)
        assert not wants_invoice_mails(acme.id, people["viewer"].id, "viewer")
        assert wants_invoice_mails(acme.id, 999, "billing")
    assert everybody(acme) == ["owner"]
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'chose mails about invoices'") == [(4,)]


def test_the_choice_is_for_one_organization(acme):
    rival = make_organization("rival")
    with transaction() as session:
        owner = session.scalars(db_user()).one()
        choose_invoice_mails(rival.id, owner, wanted=False)
    assert everybody(acme) == ["owner"]


def db_user():
    from sqlalchemy import select

    from portal.organizations.models import User

    return select(User.id)


def test_somebody_who_left_or_is_locked_out_before_a_mail_goes_out_gets_nothing(acme, post):
    left, locked = join(acme, "left", "billing"), join(acme, "locked", "billing")
    queue_a_mail(acme)
    sql("DELETE FROM memberships WHERE user_id = :user", user=left.id)
    sql("UPDATE users SET disabled_at = now() WHERE id = :user", user=locked.id)
    work()
    assert [to for to, _ in post.taken] == [["owner@acme.example"]]
    assert the_mail().recipients == ["owner@acme.example"]


def test_a_mail_for_nobody_is_kept_and_says_so(books, post):
    issue(make_organization("empty"))
    assert sql("SELECT state, last_error FROM mails") == [
        ("not_sent", "Not sent: nobody of the organization gets mails about invoices.")
    ]
    assert post.taken == []


def test_a_tenant_sees_no_mails_and_only_its_own_choices(app, acme, post):
    issue(acme)
    rival = make_organization("rival")
    boss = join(rival, "boss", "owner")
    with transaction():
        choose_invoice_mails(rival.id, boss.id, wanted=False)
    with acting(app, tenant(acme.id)):
        with pytest.raises(ProgrammingError, match="permission denied"):
            sql("SELECT * FROM mails")
        assert sql("SELECT * FROM mail_choices") == []
        with pytest.raises(ProgrammingError, match="row-level security"), transaction():
            choose_invoice_mails(rival.id, boss.id, wanted=True)
