"""A year of one customer, month by month through the real verbs: what test_a_year_of_one_customer works out by hand.

It holds a leap day, both changes of the clocks in Europe and in America, a year's end, and whatever can happen to an
agreement and to an invoice. Each function lives one month and finalizes it on the third of the next, at noon UTC.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid5

from portal.catalog.coupons import create_coupon, redeem
from portal.catalog.models import Meter, Plan, Subscription
from portal.catalog.publishing import ensure_meter, ensure_plan, publish_price
from portal.catalog.subscribing import cancel_subscription, change_subscription, subscribe
from portal.catalog.tax_rates import add_tax_rate
from portal.core.periods import Month
from portal.core.quantities import Aggregation, Counting
from portal.infra.db import transaction
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.models import Invoice
from portal.invoicing.queries import open_from
from portal.invoicing.voiding import reissue_invoice
from portal.usage.levels import count_levels_by_clock
from tests.factories import add, cancel_usage, finalize_now, make_draft, make_organization, use

FIRST_MONTH = Month(2027, 7)
_TOKENS = UUID("019b0000-0000-7000-8000-000000000000")


def at(month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """A moment of the year: months 7 to 12 are of 2027, the others of 2028."""
    return datetime(2027 if month > 6 else 2028, month, day, hour, minute, tzinfo=UTC)


class Year:
    """The customer, its agreement, and every invoice that it got, in the order in which they were made."""

    def __init__(self) -> None:
        self.organization = make_organization("acme")
        self.issued: list[Invoice] = []
        self.notes: list[CreditNote] = []
        with transaction():
            self.egress = ensure_meter("egress_gb", name="Egress", product="Bandwidth", unit="GB")
            self.volume = ensure_meter(
                "volume_gb",
                name="Volumes",
                product="Storage",
                unit="GB-month",
                counting=Counting(Aggregation.LEVEL, per="month"),
            )
            self.standard = ensure_plan("standard", name="Standard", unit="seat")
            self.premium = ensure_plan("premium", name="Premium", unit="seat")
            self._publish("Egress", "0.10", date(2027, 7, 1), meter=self.egress, free_quantity="100")
            self._publish("Volumes", "0.50", date(2027, 7, 1), meter=self.volume)
            self._publish("Standard", "30", date(2027, 7, 1), plan=self.standard)
            self._publish("Premium", "90", date(2027, 7, 1), plan=self.premium)
            add_tax_rate(Decimal(10), valid_from=date(2027, 7, 1), open_from=None)
            create_coupon("welcome", name="Welcome", percent=Decimal(10), months=2)
            create_coupon("spring", name="Spring", amount=2000, currency="USD", months=1)

    def july(self) -> Invoice:
        """A subscription in the middle of the month."""
        with transaction():
            self.subscription: Subscription = subscribe(
                self.organization, self.standard, starts_at=at(7, 11), open_from=None, align_to_month=True
            )
        self._use(600, at(7, 20))
        return self._finalize(7)

    def august(self) -> Invoice:
        """A coupon for two months."""
        with transaction():
            redeem(
                self.organization,
                "welcome",
                first_month=Month(2027, 8),
                today=date(2027, 8, 5),
                open_from=self._open_from(),
            )
        self._use(1100, at(8, 31, 23, 59))
        return self._finalize(8)

    def september(self) -> Invoice:
        """From one seat to three."""
        self._change(at(9, 16), quantity=3)
        self._use(300, at(9, 1))
        return self._finalize(9)

    def october(self) -> Invoice:
        """Europe's hour that is there twice; the month's last instant; work done, and a credit."""
        self._use(200, at(10, 31, 0, 30))
        self._use(250, at(10, 31, 1, 30))
        self._use(150, at(10, 31, 23, 59).replace(second=59, microsecond=999_999))
        self._use(70, at(11, 1))
        draft = make_draft(self.organization, Month(2027, 10))
        self._item(draft, "150.00", "Migration assistance")
        self._item(draft, "-40.00", "Goodwill credit")
        return self._finalize(10)

    def november(self) -> Invoice:
        """America's hour that is there twice; another plan, and a volume from the middle of the month on."""
        self._use(130, at(11, 7, 6, 30))
        self._change(at(11, 16), plan=self.premium)
        self._use(10, at(11, 16), meter=self.volume)
        return self._finalize(11)

    def december(self) -> Invoice:
        """Usage of October that is heard of when October is final; finalized in the next year."""
        self._use(100, at(12, 31, 23, 59))
        use(self.organization, self.egress, 100, at=at(10, 20), event_id="late", now=at(12, 10))
        return self._finalize(12)

    def january(self) -> Invoice:
        """Another tax rate from the first, another price from the 16th; the volume grows at noon."""
        with transaction():
            add_tax_rate(Decimal(20), valid_from=date(2028, 1, 1), open_from=self._open_from())
            self._publish("Egress", "0.12", date(2028, 1, 16), meter=self.egress, free_quantity="100")
        self._use(300, at(1, 5))
        self._use(20, at(1, 16, 12), meter=self.volume)
        self._use(50, at(1, 20), event_id="january-20")
        return self._finalize(1)

    def february(self) -> Invoice:
        """A leap day: the volume is gone on it, egress is on it; fewer seats in the very middle of the month."""
        self._change(at(2, 15, 12), quantity=1)
        self._use(0, at(2, 29), meter=self.volume)
        self._use(200, at(2, 29, 12))
        return self._finalize(2)

    def march(self) -> Invoice:
        """The hours that are left out, in America and in Europe; an item that should not be there alone."""
        self._use(400, at(3, 12, 7, 30))
        self._use(600, at(3, 26, 1, 30))
        self._item(make_draft(self.organization, Month(2028, 3)), "25.00", "Training")
        return self._finalize(3)

    def march_again(self) -> Invoice:
        """March is void, and issued anew with a credit more."""
        with transaction():
            draft = reissue_invoice(self.issued[-1].id, reason="The discount was forgotten.", now=at(4, 5))
        self._item(draft, "-5.00", "Discount for training")
        return self._finalize(3, day=6)

    def april(self) -> Invoice:
        """A part of February's invoice is given back; a coupon of a fixed amount; no usage at all."""
        february = next(each for each in self.issued if each.month == Month(2028, 2))
        with transaction():
            note = issue_credit_note(
                february.id,
                Wish(amount=2400),
                reason="A day without service.",
                by="Ada",
                form_token=self._token("note"),
                now=at(4, 10),
            )
            redeem(
                self.organization,
                "spring",
                first_month=Month(2028, 4),
                today=date(2028, 4, 10),
                open_from=self._open_from(),
            )
        self.notes.append(note)
        return self._finalize(4)

    def may(self) -> Invoice:
        """An event of January is taken back, and a credit is larger than the month."""
        cancel_usage(self.organization, "january-20", now=at(5, 10))
        self._use(350, at(5, 20))
        self._item(make_draft(self.organization, Month(2028, 5)), "-220.00", "Service credit")
        return self._finalize(5)

    def june(self) -> Invoice:
        """The subscription ends in the middle of the month."""
        with transaction():
            cancel_subscription(
                self.subscription.id,
                at=at(6, 16),
                now=at(6, 10),
                open_from=self._open_from(),
                reason="Moves away.",
            )
        self._use(600, at(6, 20))
        return self._finalize(6)

    def live(self) -> dict[str, Invoice]:
        """Live the year through: each chapter's invoice by its name."""
        chapters = (
            *(self.july, self.august, self.september, self.october, self.november, self.december, self.january),
            *(self.february, self.march, self.march_again, self.april, self.may, self.june),
        )
        return {chapter.__name__: chapter() for chapter in chapters}

    def _publish(
        self, name: str, amount: str, day: date, *, meter: Meter | None = None, plan: Plan | None = None, **more: str
    ) -> None:
        publish_price(
            name=name,
            currency="USD",
            terms={"model": "per_unit", "unit_amount": amount, **more},
            valid_from=day,
            open_from=open_from("USD"),
            meter=meter,
            plan=plan,
        )

    def _use(self, quantity: int, moment: datetime, *, meter: Meter | None = None, event_id: str | None = None) -> None:
        """Usage that is heard of at once."""
        used = meter or self.egress
        named = event_id or f"{used.code} at {moment.isoformat()}"
        use(self.organization, used, quantity, at=moment, event_id=named, now=moment)

    def _item(self, draft: Invoice, amount: str, description: str) -> None:
        add(draft, amount, description, token=self._token(description))

    def _change(self, moment: datetime, **what: object) -> None:
        with transaction():
            change_subscription(self.subscription.id, at=moment, now=moment, open_from=self._open_from(), **what)

    def _open_from(self) -> date | None:
        return open_from(organization_id=self.organization.id)

    def _finalize(self, number: int, *, day: int = 3) -> Invoice:
        month = Month.of(at(number, 1))
        now = month.end.replace(day=day, hour=12)
        # As the clock does every day.
        count_levels_by_clock(now=now)
        invoice = finalize_now(make_draft(self.organization, month), now=now)
        self.issued.append(invoice)
        return invoice

    @staticmethod
    def _token(name: str) -> UUID:
        return uuid5(_TOKENS, name)
