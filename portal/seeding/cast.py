"""The demo's customers and staff: fictional, each with a shape worth looking at."""

import hashlib
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

PASSWORD = "correct horse battery"
STAFF = (
    ("admin@example.com", "Ada Admin", "admin"),
    ("finance@example.com", "Fred Finance", "finance_lead"),
    ("operations@example.com", "Olga Operations", "billing_operations"),
    ("support@example.com", "Sam Support", "support"),
)


class Shape(StrEnum):
    """How an organization's usage runs over the months."""

    STEADY = "steady"
    GROWING = "growing"
    SPIKY = "spiky"
    IDLE = "idle"
    BRAND_NEW = "brand new"


class Story(StrEnum):
    """What happened to an organization's invoices besides being paid."""

    PAYS = "pays"
    PAYMENT_FAILED = "payment failed"
    HAS_CREDIT = "has a credit"
    ONE_VOID = "one invoice was voided"
    PAYS_LATE = "pays late"


class Agreement(StrEnum):
    """What an organization has agreed besides its plans; seeding/agreements.py says what each means."""

    PLAIN = "plain"
    COUPON = "a coupon"
    PROMOTIONAL_CREDIT = "promotional credit"
    PREPAID_CREDIT = "prepaid credit"
    MORE_SEATS = "more seats since last month"
    RESERVATION = "a reservation"
    COMMITMENT = "a minimum commitment"
    TAXED = "tax is added"
    REVERSE_CHARGE = "reverse charge"


class Oddity(StrEnum):
    """What is odd about an organization's last month; the value is the reason that a review gives for it."""

    JUMP = "above"
    DROP = "below"
    SILENT = "no_usage"
    GAP = "usage_gap"
    NEW_METER = "new_meter"
    UNPRICED = "blocked"
    LATE_SHARE = "late_share"
    LATE_USAGE = "late_usage"
    PRICE_CHANGE = "price_changed"
    NEGATIVE = "negative"
    ZERO = "zero"
    NO_TAX_ID = "tax_id"
    NO_PAYMENT_METHOD = "payment_method"
    LARGE_ITEM = "one_off"
    FIRST = "first"


@dataclass(frozen=True, slots=True)
class Customer:
    """One organization of the demo; `scale` is roughly its monthly bill in dollars.

    `months` is how many months before this one its usage begins; None is as long ago as the portal's.
    """

    slug: str
    name: str
    shape: Shape
    scale: int
    apps: tuple[str, ...]
    currency: str = "USD"
    story: Story = Story.PAYS
    plans: dict[str, int] = field(default_factory=dict)
    stripe_customer_id: str | None = None
    since: date | None = None
    address: str = "2 Sample Road, Springfield"
    tax_id: str | None = None
    in_review: bool = False
    agreement: Agreement = Agreement.PLAIN
    oddity: Oddity | None = None
    months: int | None = None

    @property
    def id_at_stripe(self) -> str:
        """The customer's id at Stripe; the same in every demo."""
        return self.stripe_customer_id or "cus_seed" + hashlib.sha256(self.slug.encode()).hexdigest()[:14]


CUSTOMERS = (
    Customer(
        "fly",
        "Fly",
        Shape.STEADY,
        900,
        ("api", "web", "worker", "cron", "search", "images", "auth", "mail"),
        plans={"support_premium": 1, "dedicated_ipv4": 12},
        stripe_customer_id="cus_1234",
        since=date(2023, 4, 1),
    ),
    Customer(
        "acme-rockets",
        "Acme Rockets",
        Shape.STEADY,
        320,
        ("telemetry", "launchpad"),
        plans={"support_standard": 1, "dedicated_ipv4": 2},
        in_review=True,
    ),
    Customer("brightside-bakery", "Brightside Bakery", Shape.STEADY, 60, ("shop",), story=Story.PAYMENT_FAILED),
    Customer(
        "cloudberry-games",
        "Cloudberry Games",
        Shape.SPIKY,
        750,
        ("lobby", "match", "stats"),
        in_review=True,
        agreement=Agreement.RESERVATION,
    ),
    Customer(
        "dandelion-data",
        "Dandelion Data",
        Shape.GROWING,
        480,
        ("ingest", "query"),
        plans={"support_standard": 1},
        agreement=Agreement.COMMITMENT,
    ),
    Customer(
        "evergreen-analytics",
        "Evergreen Analytics",
        Shape.GROWING,
        1500,
        ("events", "warehouse", "dash"),
        plans={"support_premium": 1, "dedicated_ipv4": 4},
        in_review=True,
        agreement=Agreement.MORE_SEATS,
    ),
    Customer("foxglove-films", "Foxglove Films", Shape.IDLE, 0, ("archive",), plans={"dedicated_ipv4": 1}),
    Customer("ginkgo-gardens", "Ginkgo Gardens", Shape.BRAND_NEW, 40, ("garden",)),
    Customer(
        "hoshizora",
        "Hoshizora KK",
        Shape.STEADY,
        260,
        ("sora", "hoshi"),
        currency="JPY",
        plans={"support_standard": 1},
        address="3-1 Mihon-cho, Chiyoda, Tokyo",
        in_review=True,
        agreement=Agreement.TAXED,
    ),
    Customer(
        "isarblick",
        "Isarblick GmbH",
        Shape.STEADY,
        410,
        ("portal", "karten"),
        currency="EUR",
        plans={"support_standard": 1, "dedicated_ipv4": 1},
        address="Musterweg 5, 80000 München",
        tax_id="DE000000000",
        in_review=True,
        agreement=Agreement.REVERSE_CHARGE,
    ),
    Customer(
        "juniper-journal", "Juniper Journal", Shape.STEADY, 25, ("blog",), in_review=True, agreement=Agreement.COUPON
    ),
    Customer("kestrel-kites", "Kestrel Kites", Shape.STEADY, 90, ("kites",), story=Story.HAS_CREDIT),
    Customer(
        "lighthouse-labs",
        "Lighthouse Labs",
        Shape.STEADY,
        530,
        ("lab", "notebook"),
        story=Story.ONE_VOID,
        plans={"support_standard": 1},
        in_review=True,
        agreement=Agreement.PREPAID_CREDIT,
    ),
    Customer(
        "marmalade-music",
        "Marmalade Music",
        Shape.SPIKY,
        180,
        ("player", "studio"),
        story=Story.PAYS_LATE,
        agreement=Agreement.PROMOTIONAL_CREDIT,
    ),
)


def _odd(slug: str, name: str, scale: int, oddity: Oddity, *, months: int = 4) -> Customer:
    return Customer(slug, name, Shape.STEADY, scale, ("app",), in_review=True, oddity=oddity, months=months)


# A few months old, and one thing about each one's last month is for a review to find: Oddity says what, and why.
ODD_CUSTOMERS = (
    _odd("nimbus-news", "Nimbus News", 140, Oddity.JUMP),
    _odd("orchid-optics", "Orchid Optics", 240, Oddity.DROP),
    _odd("pebble-post", "Pebble Post", 110, Oddity.SILENT),
    _odd("quartz-quilts", "Quartz Quilts", 160, Oddity.GAP),
    _odd("rowan-robotics", "Rowan Robotics", 210, Oddity.NEW_METER),
    _odd("saffron-soups", "Saffron Soups", 95, Oddity.UNPRICED),
    _odd("thistle-tea", "Thistle Tea", 125, Oddity.LATE_SHARE),
    _odd("umber-umbrellas", "Umber Umbrellas", 150, Oddity.LATE_USAGE),
    _odd("velvet-video", "Velvet Video", 330, Oddity.PRICE_CHANGE),
    _odd("willow-wagons", "Willow Wagons", 85, Oddity.NEGATIVE),
    _odd("xylem-xeriscapes", "Xylem Xeriscapes", 175, Oddity.ZERO),
    _odd("yarrow-yachts", "Yarrow Yachts", 260, Oddity.NO_TAX_ID),
    _odd("zephyr-zines", "Zephyr Zines", 70, Oddity.NO_PAYMENT_METHOD),
    _odd("amber-archives", "Amber Archives", 120, Oddity.LARGE_ITEM),
    _odd("birch-bikes", "Birch Bikes", 100, Oddity.FIRST, months=1),
)
# Roles of the first customer's people, so that every role can be tried.
ROLES = ("owner", "billing", "developer", "viewer")
SMOKE_CUSTOMER = "acme-rockets"


def more_customers(count: int) -> list[Customer]:
    """As many further customers as are wanted, for demos of any size."""
    shapes = (Shape.STEADY, Shape.GROWING, Shape.SPIKY)
    return [
        Customer(f"org-{number:06d}", f"Organization {number:06d}", shapes[number % 3], 20 + number % 400, ("app",))
        for number in range(1, count + 1)
    ]


def big_month_customers(count: int, anomalies: int) -> list[Customer]:
    """As many calm customers as a big month has, but for the first ones, each odd in the next of all ways."""
    oddities = list(Oddity)
    customers = []
    for number in range(1, count + 1):
        oddity = oddities[(number - 1) % len(oddities)] if number <= anomalies else None
        customers.append(
            Customer(
                f"big-{number:06d}",
                f"Big month {number:06d}",
                Shape.STEADY,
                # An odd one is large enough for a change of it to be worth a look.
                120 if oddity else 20 + number % 400,
                ("app",),
                in_review=True,
                oddity=oddity,
                months=1 if oddity is Oddity.FIRST else 2,
            )
        )
    return customers
