"""What went back of a payment stands on its invoice, so that lists can say it; mails tell of refunds and disputes."""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"

MOVING_BEFORE = (
    "state, sync_state, payment_state, stripe_id, stripe_status, hosted_invoice_url, sync_message, synced_at, "
    "amount_paid, paid_at, payment_message, voided_at, void_reason"
)
MOVING = f"{MOVING_BEFORE}, amount_refunded"
KINDS_BEFORE = "'issued', 'receipt', 'failed_payment', 'reminder', 'credited', 'voided', 'budget', 'webhook'"
KINDS = f"{KINDS_BEFORE}, 'refunded', 'disputed'"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.add_column("invoices", sa.Column("amount_refunded", sa.BigInteger(), server_default="0", nullable=False))
    _let_move(MOVING)
    op.execute("SET LOCAL ROLE portal_system")
    op.execute(
        """
        UPDATE invoices AS i SET amount_refunded = g.amount FROM (
            SELECT invoice_id, sum(amount) AS amount FROM (
                SELECT invoice_id, amount FROM refunds WHERE state = 'succeeded'
                UNION ALL SELECT invoice_id, amount FROM disputes WHERE status = 'lost'
                UNION ALL SELECT invoice_id, to_refund FROM credit_notes WHERE sync_state = 'synced'
            ) AS each GROUP BY invoice_id
        ) AS g
        WHERE g.invoice_id = i.id AND g.amount > 0 AND i.payment_state IN ('paid', 'refunded', 'disputed')
        """
    )
    op.execute("RESET ROLE")
    _let_mails_be(KINDS)


def downgrade() -> None:
    op.execute("SET LOCAL ROLE portal_system")
    op.execute("DELETE FROM mails WHERE kind IN ('refunded', 'disputed')")
    op.execute("RESET ROLE")
    _let_mails_be(KINDS_BEFORE)
    _let_move(MOVING_BEFORE)
    op.drop_column("invoices", "amount_refunded")


def _let_move(columns: str) -> None:
    """What of a final invoice may still change, and nothing else (see 0008)."""
    op.execute(f"""
        CREATE OR REPLACE FUNCTION freeze_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state NOT IN ('finalized', 'void') THEN
                RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
            END IF;
            IF TG_OP = 'DELETE' THEN
                RAISE EXCEPTION 'invoice % is final and cannot be deleted', OLD.number
                    USING ERRCODE = 'restrict_violation';
            END IF;
            IF NEW.state <> OLD.state AND NOT (OLD.state = 'finalized' AND NEW.state = 'void') THEN
                RAISE EXCEPTION 'invoice % is %', OLD.number, OLD.state USING ERRCODE = 'restrict_violation';
            END IF;
            IF to_jsonb(NEW) - string_to_array('{columns}', ', ')
               <> to_jsonb(OLD) - string_to_array('{columns}', ', ') THEN
                RAISE EXCEPTION 'invoice % is final and its content cannot change', OLD.number
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
    """)


def _let_mails_be(kinds: str) -> None:
    op.drop_constraint(op.f("ck_mails_kind_known"), "mails")
    op.create_check_constraint(op.f("ck_mails_kind_known"), "mails", f"kind IN ({kinds})")
