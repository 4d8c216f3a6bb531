"""Tables of who pays and who may see."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Text

from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra.db import Model, Numbered, Public, words_index


class Organization(Public, Model):
    """A customer: somebody whom the platform bills, in one currency."""

    __tablename__ = "organizations"
    __table_args__ = (
        words_index("ix_organizations_words", "name", "slug"),
        Index("ix_organizations_name", "name", "id"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso"),
        # What invoices and own prices refer to: none can be in another currency, nor the currency change under them.
        UniqueConstraint("id", "currency"),
        CheckConstraint("status IN ('active', 'suspended', 'closed')", name="status_known"),
        CheckConstraint("collection_method IN ('charge_automatically', 'send_invoice')", name="collection_known"),
        CheckConstraint("tax_treatment IN ('standard', 'exempt', 'reverse_charge')", name="tax_treatment_known"),
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_is_iso"),
        CheckConstraint("tax_rounding IN ('line', 'sum_by_net', 'keep_gross')", name="tax_rounding_known"),
    )

    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    legal_name: Mapped[str | None]
    address: Mapped[str | None]
    country: Mapped[str | None]
    tax_id: Mapped[str | None]
    tax_treatment: Mapped[TaxTreatment] = mapped_column(Text, server_default="standard")
    tax_rounding: Mapped[TaxRounding] = mapped_column(Text, server_default="sum_by_net")
    prices_include_tax: Mapped[bool] = mapped_column(server_default=text("false"))
    billing_email: Mapped[str | None]
    # Of mails; None is English.
    language: Mapped[str | None]
    purchase_order: Mapped[str | None]
    collection_method: Mapped[str] = mapped_column(server_default="send_invoice")
    stripe_customer_id: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class User(Public, Model):
    """A person who signs in. Staff have a `staff_role`; customers have memberships."""

    __tablename__ = "users"
    __table_args__ = (
        Index("uq_users_email", text("lower(email)"), unique=True),
        words_index("ix_users_words", "name", "email"),
        Index("ix_users_staff_role", "staff_role", postgresql_where=text("staff_role IS NOT NULL")),
        CheckConstraint(
            "staff_role IN ('support', 'billing_operations', 'finance_lead', 'admin')",
            name="staff_role_known",
        ),
        CheckConstraint("theme IN ('system', 'light', 'dark')", name="theme_known"),
    )

    email: Mapped[str]
    name: Mapped[str]
    password_hash: Mapped[str]
    staff_role: Mapped[str | None]
    theme: Mapped[str] = mapped_column(server_default="system")
    # None: what the browser asks for, and English in mails.
    language: Mapped[str | None]
    # Keys of one letter can be in the way of speech input and other aids.
    shortcuts: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]


class Membership(Numbered, Model):
    """A user's role in one organization."""

    __tablename__ = "memberships"
    __table_args__ = (
        UniqueConstraint("organization_id", "user_id"),
        Index("ix_memberships_user_id", "user_id"),
        CheckConstraint("role IN ('owner', 'billing', 'developer', 'viewer')", name="role_known"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    organization: Mapped[Organization] = relationship()
    user: Mapped[User] = relationship()


class UserSession(Public, Model):
    """A signed-in browser. The cookie holds a random token; here is only its hash, so deleting the row ends it."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id", "user_id"),
        CheckConstraint("(viewing_id IS NULL) = (viewing_until IS NULL)", name="viewing_ends"),
    )

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    # When its person last showed, with a password or a code, that it is them.
    confirmed_at: Mapped[datetime]
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    # Which organization a member of staff looks at as its customer.
    viewing_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    viewing_until: Mapped[datetime | None]
    # Opened by this organization's own provider: it reaches nothing else, nor the person's account.
    only_organization_id: Mapped[int | None]

    user: Mapped[User] = relationship()


class SecondFactor(Model):
    """The secret of a person's app that makes codes, sealed. In force from `confirmed_at` on."""

    __tablename__ = "second_factors"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    sealed_secret: Mapped[bytes]
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    # The 30-second step of the last code that was taken: none of it or before it is taken again.
    last_step: Mapped[int] = mapped_column(server_default="0", default=0)


class RecoveryCode(Numbered, Model):
    """A code for one use in place of the app's, kept as a hash."""

    __tablename__ = "recovery_codes"
    __table_args__ = (UniqueConstraint("user_id", "code_sha256"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    code_sha256: Mapped[bytes]
    used_at: Mapped[datetime | None]


class HalfSignIn(Model):
    """A browser whose person gave the right password and still owes a code. It is no session."""

    __tablename__ = "half_sign_ins"
    __table_args__ = (Index("ix_half_sign_ins_user_id", "user_id"),)

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[datetime]


class ProviderSignIn(Model):
    """A browser that was sent to the sign-in provider and has not come back yet. It is no session."""

    __tablename__ = "provider_sign_ins"
    __table_args__ = (Index("ix_provider_sign_ins_expires_at", "expires_at"),)

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    state_sha256: Mapped[bytes]
    nonce: Mapped[str]
    verifier: Mapped[str]
    next_path: Mapped[str]
    expires_at: Mapped[datetime]
    # Whose own provider it is; without one that of the settings.
    organization_id: Mapped[int | None]


class ProviderLink(Numbered, Model):
    """Whose account at a provider is whose here; a subject is never given to another person, an address may be."""

    __tablename__ = "provider_links"
    __table_args__ = (UniqueConstraint("issuer", "subject"), UniqueConstraint("user_id", "issuer"))

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    issuer: Mapped[str]
    subject: Mapped[str]
    created_at: Mapped[datetime]


class OrganizationProvider(Model):
    """Where an organization signs its people in. `proven_at`: somebody has since it was last changed."""

    __tablename__ = "organization_providers"
    __table_args__ = (CheckConstraint("proven_at IS NOT NULL OR NOT is_required", name="proven"),)

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"), primary_key=True, autoincrement=False)
    issuer: Mapped[str]
    client_id: Mapped[str]
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)
    is_required: Mapped[bool]
    proven_at: Mapped[datetime | None]
    changed_at: Mapped[datetime]


class OrganizationProviderLink(Model):
    """Which member an account at an organization's provider belongs to."""

    __tablename__ = "organization_provider_links"
    __table_args__ = (
        UniqueConstraint("organization_id", "user_id"),
        Index("ix_organization_provider_links_user_id", "user_id"),
    )

    organization_id: Mapped[int] = mapped_column(
        ForeignKey("organization_providers.organization_id"), primary_key=True, autoincrement=False
    )
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]


class Passkey(Public, Model):
    """A key pair in a person's device; here is its public half. It stands in for the code of an app."""

    __tablename__ = "passkeys"
    __table_args__ = (Index("ix_passkeys_user_id", "user_id"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    credential_id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int]
    name: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class PasskeyChallenge(Model):
    """What a device was asked to sign, for one use."""

    __tablename__ = "passkey_challenges"
    __table_args__ = (
        Index("ix_passkey_challenges_user_id", "user_id"),
        CheckConstraint(
            "purpose IN ('register', 'use') AND user_id IS NOT NULL"
            " OR purpose = 'sign in' AND token_sha256 IS NOT NULL",
            name="purpose_known",
        ),
    )

    challenge_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    purpose: Mapped[str]
    expires_at: Mapped[datetime]
    # The browser that asked, while nobody knows yet whose it is.
    token_sha256: Mapped[bytes | None]


class SavedFilter(Model):
    """What a person of the staff chooses in a list again and again: the part of its address that chooses, by a name."""

    __tablename__ = "saved_filters"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    page: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    query: Mapped[str]


class ApprovalRequest(Public, Model):
    """A step of staff that waits for a second person, or what became of it.

    `fingerprint` is of what was seen by whoever asked; `facts` say it in short. A request lapses when what it is about
    has changed and is asked for anew.
    """

    __tablename__ = "approval_requests"
    __table_args__ = (
        # One thing waits at most once.
        Index(
            "uq_approval_requests_waiting",
            "subject_kind",
            "subject_id",
            unique=True,
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_approval_requests_subject_kind_subject_id", "subject_kind", "subject_id"),
        Index("ix_approval_requests_organization_id", "organization_id"),
        CheckConstraint("subject_kind IN ('invoice', 'price', 'own price')", name="subject_kind_known"),
        CheckConstraint("state IN ('waiting', 'approved', 'refused', 'lapsed')", name="state_known"),
        CheckConstraint("(state = 'waiting') = (decided_at IS NULL)", name="decided_once"),
        CheckConstraint("(state IN ('approved', 'refused')) = (decided_by_id IS NOT NULL)", name="decided_by_somebody"),
        CheckConstraint("decided_by_id <> asked_by_id", name="two_people"),
    )

    subject_kind: Mapped[str]
    subject_id: Mapped[int]
    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    fingerprint: Mapped[str]
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(server_default="waiting", default="waiting")
    asked_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    comment: Mapped[str | None]

    organization: Mapped[Organization | None] = relationship()

    def is_open(self, now: datetime) -> bool:
        """Whether it can still be decided."""
        return self.state == "waiting" and self.expires_at > now


class AttemptCounter(Model):
    """How much of a limit on guessing is used up: all of it is regained at `full_at`."""

    __tablename__ = "attempt_counters"
    __table_args__ = (Index("ix_attempt_counters_full_at", "full_at"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    full_at: Mapped[datetime]
    # A block is written into the audit log once until then.
    noted_until: Mapped[datetime | None]


class AccountLetter(Numbered, Model):
    """A mail to one person about their account.

    The token of a link is made when the mail is sent, so that it is nowhere but in the mail; here is its hash.
    Without a user or an invitation it is for nobody: a wish for an address that is no account's leaves the same traces.
    """

    __tablename__ = "account_letters"
    __table_args__ = (
        Index("ix_account_letters_user_id", "user_id"),
        Index("ix_account_letters_created_at", "created_at"),
        Index("ix_account_letters_invitation_id", "invitation_id"),
        CheckConstraint(
            "kind IN ('reset_password', 'confirm_email', 'email_changing', 'email_changed', 'password_changed',"
            " 'two_factors_on', 'two_factors_off', 'new_recovery_codes', 'invitation', 'passkey_added',"
            " 'passkey_removed', 'api_key_added', 'api_key_removed', 'approval_wanted')",
            name="kind_known",
        ),
    )

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    invitation_id: Mapped[int | None] = mapped_column(ForeignKey("invitations.id"))
    kind: Mapped[str]
    address: Mapped[str | None]
    new_email: Mapped[str | None]
    # What a passkey or key is called, or what is to be approved, as it was when this happened.
    about: Mapped[str | None]
    token_sha256: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    last_error: Mapped[str | None]

    user: Mapped[User | None] = relationship()
    invitation: Mapped["Invitation | None"] = relationship()


class Invitation(Public, Model):
    """An address that is invited into an organization, in a role; its links are letters. Open until `ended_at`."""

    __tablename__ = "invitations"
    __table_args__ = (
        # One open invitation for an address.
        Index(
            "uq_invitations_open",
            "organization_id",
            text("lower(email)"),
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
        CheckConstraint("role IN ('owner', 'billing', 'developer', 'viewer')", name="role_known"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    email: Mapped[str]
    role: Mapped[str]
    invited_by_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship()


class ApiKey(Public, Model):
    """A key for machines. Without an organization it is the platform's own and may name any organization."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("ix_api_keys_organization_id", "organization_id"),
        Index("ix_api_keys_prefix", "prefix"),
    )

    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    name: Mapped[str]
    prefix: Mapped[str]
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
