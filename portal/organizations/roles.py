"""Who may do what: the one table that guards, navigation and documents read."""

from enum import StrEnum


class Permission(StrEnum):
    """One thing that a person may do."""

    VIEW_USAGE = "view usage"
    VIEW_INVOICES = "view invoices"
    MANAGE_BUDGETS = "manage budgets"
    MANAGE_MEMBERS = "manage members"
    MANAGE_KEYS = "manage API keys"
    MANAGE_PAYMENT = "manage payment methods"
    MANAGE_WEBHOOKS = "manage webhooks"
    VIEW_ORGANIZATIONS = "view organizations"
    VIEW_AS = "view as a customer"
    MANAGE_ORGANIZATIONS = "manage organizations"
    VIEW_CATALOG = "view the catalog"
    PUBLISH_PRICES = "publish prices"
    MANAGE_SUBSCRIPTIONS = "manage subscriptions"
    MANAGE_CREDITS = "manage credits, coupons and taxes"
    MANAGE_ITEMS = "manage one-off items"
    FINALIZE_INVOICES = "finalize invoices"
    VOID_INVOICES = "void invoices"
    EDIT_BILLING_DETAILS = "edit billing details"
    REPAIR_SYNC = "repair the Stripe sync"
    MANAGE_STAFF = "manage staff"


_BILLING = frozenset(
    {
        Permission.VIEW_USAGE,
        Permission.VIEW_INVOICES,
        Permission.MANAGE_BUDGETS,
        Permission.EDIT_BILLING_DETAILS,
        Permission.MANAGE_PAYMENT,
    }
)
CUSTOMER_ROLES: dict[str, frozenset[Permission]] = {
    "owner": _BILLING | {Permission.MANAGE_MEMBERS, Permission.MANAGE_KEYS, Permission.MANAGE_WEBHOOKS},
    "billing": _BILLING,
    "developer": frozenset({Permission.VIEW_USAGE, Permission.MANAGE_KEYS, Permission.MANAGE_WEBHOOKS}),
    "viewer": frozenset({Permission.VIEW_USAGE, Permission.VIEW_INVOICES}),
}
_SUPPORT = frozenset(
    {
        Permission.VIEW_USAGE,
        Permission.VIEW_INVOICES,
        Permission.VIEW_ORGANIZATIONS,
        Permission.VIEW_AS,
        Permission.VIEW_CATALOG,
    }
)
_OPERATIONS = _SUPPORT | {
    Permission.MANAGE_ORGANIZATIONS,
    Permission.MANAGE_ITEMS,
    Permission.MANAGE_SUBSCRIPTIONS,
    Permission.EDIT_BILLING_DETAILS,
    Permission.REPAIR_SYNC,
}
_FINANCE = _OPERATIONS | {Permission.FINALIZE_INVOICES, Permission.VOID_INVOICES, Permission.MANAGE_CREDITS}
STAFF_ROLES: dict[str, frozenset[Permission]] = {
    "support": _SUPPORT,
    "billing_operations": _OPERATIONS,
    "finance_lead": _FINANCE,
    "admin": frozenset(Permission),
}
# What a member of staff can be given; the rest is about one's own organization.
STAFF_PERMISSIONS = tuple(
    each for each in Permission if each in _FINANCE or not any(each in held for held in CUSTOMER_ROLES.values())
)
