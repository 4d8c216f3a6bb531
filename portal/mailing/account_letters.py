"""Sending mails about a person's account: to that person alone, whatever they choose about other mails.

The server is called between two transactions. The token of a link is made for each attempt and is nowhere but in the
mail: a mail that is sent twice because a worker died in between has the later link working.
"""

from datetime import datetime
from urllib.parse import urlencode

from flask import current_app
from markupsafe import Markup

from portal.config import Settings
from portal.core.errors import PortalError
from portal.core.saying import Said
from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.formats import moment
from portal.infra.languages import _, speaking
from portal.infra.mail import Letter, NotNow, Refused, deliver, domain_of, server_of
from portal.infra.outbox import LONGEST_BACKOFF_SECONDS, Lease, RetryLater
from portal.mailing.writing import settings_now
from portal.organizations.letters import SEND_ACCOUNT_LETTER, WITH_LINK, LetterKind, make_token
from portal.organizations.models import AccountLetter

NO_SERVER = "Not sent: no mail server is set."
TOO_LATE = "Not sent: it would have come too late."
_SUBJECTS = {
    LetterKind.RESET_PASSWORD: Said("Set a new password"),
    LetterKind.CONFIRM_EMAIL: Said("Confirm your new e-mail address"),
    LetterKind.EMAIL_CHANGING: Said("Your e-mail address is about to change"),
    LetterKind.EMAIL_CHANGED: Said("Your e-mail address was changed"),
    LetterKind.PASSWORD_CHANGED: Said("Your password was changed"),
    LetterKind.TWO_FACTORS_ON: Said("Signing in needs a code now"),
    LetterKind.TWO_FACTORS_OFF: Said("Signing in needs no code any more"),
    LetterKind.NEW_RECOVERY_CODES: Said("You have new recovery codes"),
    LetterKind.INVITATION: Said("You are invited"),
    LetterKind.PASSKEY_ADDED: Said("A passkey was added to your account"),
    LetterKind.PASSKEY_REMOVED: Said("A passkey was removed from your account"),
    LetterKind.API_KEY_ADDED: Said("An API key was made"),
    LetterKind.API_KEY_REMOVED: Said("An API key was revoked"),
    LetterKind.APPROVAL_WANTED: Said("A second approval is wanted"),
}
_PATHS = {
    LetterKind.RESET_PASSWORD: "/reset-password",
    LetterKind.CONFIRM_EMAIL: "/confirm-email",
    LetterKind.INVITATION: "/invitation",
}


@outbox.handles(SEND_ACCOUNT_LETTER)
def send_account_letter(lease: Lease, *, letter_id: int) -> None:
    """Send one letter. Idempotent: one that is sent, used, expired or for nobody is left alone."""
    settings = settings_now()
    with lease.transaction():
        letter = _lock(letter_id)
        if letter is None or letter.address is None or letter.sent_at or letter.used_at:
            return
        if letter.expires_at <= clock.now() or settings.smtp_url is None:
            letter.last_error = NO_SERVER if settings.smtp_url is None else TOO_LATE
            return
        with speaking(_language_of(letter)):
            mail = _write(letter, settings, now=clock.now())
    error, wait = None, False
    try:
        refused = deliver(mail, server_of(settings.smtp_url))
        error = "; ".join(f"{code} {words}" for code, words in refused.values()) or None
    except NotNow as trouble:
        error, wait = str(trouble), True
    except (Refused, PortalError) as refusal:
        error = str(refusal)
    with lease.transaction():
        letter = _lock(letter_id)
        assert letter is not None
        letter.last_error = error
        letter.sent_at = clock.now() if error is None else None
    if wait:
        raise RetryLater(error or "", seconds=min(LONGEST_BACKOFF_SECONDS, 2 ** min(lease.attempt, 16)))


def _lock(letter_id: int) -> AccountLetter | None:
    return db.session.get(AccountLetter, letter_id, with_for_update=True, populate_existing=True)


def _language_of(letter: AccountLetter) -> str | None:
    """A person's own; for somebody who is invited and has none, that of the organization's mails."""
    if letter.user is not None:
        return None if letter.user.staff_role else letter.user.language
    return letter.invitation.organization.language if letter.invitation else None


def _write(letter: AccountLetter, settings: Settings, *, now: datetime) -> Letter:
    kind = LetterKind(letter.kind)
    assert letter.address is not None
    assert settings.mail_from is not None
    link = None
    if kind in WITH_LINK:
        link = f"{settings.portal_url}{_PATHS[kind]}?{urlencode({'token': make_token(letter)})}"
    values = {
        "name": letter.user.name if letter.user else None,
        "organization": letter.invitation.organization.name if letter.invitation else None,
        "role": letter.invitation.role if letter.invitation else None,
        "new_email": letter.new_email,
        "about": letter.about,
        "link": link,
        "until": moment(letter.expires_at),
        "at": moment(letter.created_at),
        "seller": settings.seller_name,
        "account_url": f"{settings.portal_url}/settings/account",
        "approvals_url": f"{settings.portal_url}/admin/approvals",
        "reset_url": f"{settings.portal_url}/forgot-password",
    }
    template = current_app.jinja_env.get_template(f"mail/account/{kind}.txt")
    body = template.render(**values, layout="mail/_as_html.html")
    subject = f"{settings.seller_name}: {_(_SUBJECTS[kind])}"
    page = current_app.jinja_env.get_template("mail/_page.html")
    return Letter(
        message_id=f"account-{letter.id}-{int(now.timestamp())}@{domain_of(settings.mail_from)}",
        sent_at=now,
        sender=settings.mail_from,
        reply_to=settings.mail_reply_to,
        to=[letter.address],
        subject=subject,
        text=template.render(**values, layout="mail/_as_text.txt").strip() + "\n",
        html=page.render(subject=subject, body=Markup(body)),  # nosec B704
    )
