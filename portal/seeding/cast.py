"""The demo's customers and staff: fictional, each with a shape worth looking at."""

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


@dataclass(frozen=True, slots=True)
class Customer:
    """One organization of the demo; `scale` is roughly its monthly bill in dollars."""

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
