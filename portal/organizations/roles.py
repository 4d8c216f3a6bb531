"""Who may do what: the one table that guards, navigation and documents read."""

from enum import StrEnum


class Permission(StrEnum):
    """One thing that a person may do."""

    VIEW_USAGE = "view usage"
    VIEW_INVOICES = "view invoices"
    MANAGE_BUDGETS = "manage budgets"
    MANAGE_MEMBERS = "manage members"
    MANAGE_KEYS = "manage API keys"
    MANAGE_WEBHOOKS = "manage webhooks"
    VIEW_ORGANIZATIONS = "view organizations"
    VIEW_CATALOG = "view the catalog"
    PUBLISH_PRICES = "publish prices"
    MANAGE_SUBSCRIPTIONS = "manage subscriptions"
    MANAGE_CREDITS = "manage credits, coupons and taxes"
    MANAGE_ITEMS = "manage one-off items"
    FINALIZE_INVOICES = "finalize invoices"
    VOID_INVOICES = "void invoices"
    EDIT_BILLING_DETAILS = "edit billing details"
    REPAIR_SYNC = "repair the Stripe sync"


_BILLING = frozenset(
    {
        Permission.VIEW_USAGE,
        Permission.VIEW_INVOICES,
        Permission.MANAGE_BUDGETS,
        Permission.EDIT_BILLING_DETAILS,
    }
)
CUSTOMER_ROLES: dict[str, frozenset[Permission]] = {
    "owner": _BILLING | {Permission.MANAGE_MEMBERS, Permission.MANAGE_KEYS, Permission.MANAGE_WEBHOOKS},
    "billing": _BILLING,
    "developer": frozenset({Permission.VIEW_USAGE, Permission.MANAGE_KEYS, Permission.MANAGE_WEBHOOKS}),
    "viewer": frozenset({Permission.VIEW_USAGE, Permission.VIEW_INVOICES}),
}
_SUPPORT = frozenset(
    {Permission.VIEW_USAGE, Permission.VIEW_INVOICES, Permission.VIEW_ORGANIZATIONS, Permission.VIEW_CATALOG}
)
_OPERATIONS = _SUPPORT | {
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
