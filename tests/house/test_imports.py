"""Imports point down the house: a file may import what stands above it in the list, never below, never beside it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PORTAL = Path(__file__).parents[2] / "portal"
# From the foundation up. A room may use every floor before its own. `seed…` and `focus…` stand for all that begin so.
FLOORS = (
    {"core", "setting_texts"},
    {"config"},
    {"infra"},
    {"organizations"},
    {"webhooks", "announcements"},
    {"catalog"},
    {"usage"},
    {"invoicing"},
    {"exports"},
    {"payments", "simulating"},
    {"standing", "went_back"},
    {"forecasting"},
    {"mailing"},
    {"budgets"},
    {
        "billing_cycle",
        "doctor",
        "preflight",
        "signed_in",
        "billing_form",
        "charts",
        "gauges",
        "searching",
        "focus",
        "operator",
        "personal_export",
        "api_description",
        "erasing",
        "retention",
    },
    {"bill_runs", "stepping_up", "doing_again", "comparing_months"},
    {
        "web",
        "admin",
        "api",
        "clock",
        "seed",
        "import_commands",
        "usage_commands",
        "archive_commands",
        "audit_commands",
        "waiting_commands",
        "catalog_commands",
        "price_commands",
        "organization_commands",
        "backup_commands",
        "people_commands",
        "listing_commands",
        "preflight_commands",
        "stripe_commands",
        "subscription_commands",
        "coupon_commands",
        "correction_commands",
        "credit_commands",
        "tax_commands",
        "invoice_commands",
        "run_commands",
        "webhook_commands",
    },
    {"cli"},
    {"__init__"},
)
OUTSIDE = {"sandbox"}
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """`portal.usage.events` is in usage; `portal` itself is the roof."""
    room = module.split(".")[1] if "." in module else "__init__"
    return next((known for known in ("seed", "focus", "operator") if room.startswith(known)), room)


def module_of(path: Path) -> str:
    parts = path.relative_to(PORTAL.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, at any depth, with its line."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            module = base if node.level else node.module or ""
            for alias in node.names:
                inner = PORTAL.parent.joinpath(*module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                yield node.lineno, f"{module}.{alias.name}" if is_module else module


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(PORTAL.rglob("*.py")):
        module = module_of(path)
        room = "__init__" if module == "portal.__init__" else room_of(module)
        found.setdefault(room, []).append(path)
    return found


def wrong_imports(path: Path, room: str) -> list[str]:
    floor = FLOOR_OF[room]
    wrong = []
    for line, module in imports_of(path):
        if module.split(".")[0] != "portal":
            continue
        other = room_of(module)
        if other != room and FLOOR_OF.get(other, len(FLOORS)) >= floor:
            wrong.append(f"{path.relative_to(PORTAL.parent)}:{line} imports {module}, which is not below {room}")
    return wrong


def test_every_room_of_the_house_has_a_floor():
    unknown = set(rooms()) - set(FLOOR_OF) - OUTSIDE
    assert not unknown, f"give {sorted(unknown)} a floor in FLOORS of {__file__}"
    assert {"core", "infra", "usage", "payments", "__init__"} <= set(rooms())


@pytest.mark.parametrize("room", [room for floor in FLOORS for room in sorted(floor)])
def test_every_import_points_down_the_house(room):
    files = rooms()[room]
    wrong = [sentence for path in files for sentence in wrong_imports(path, room)]
    assert not wrong, "\n".join(wrong)


def test_the_check_itself_sees_an_import_that_points_up():
    path, upper = PORTAL / "core" / "lifecycle.py", PORTAL / "billing_cycle.py"
    assert any(module == "portal.core.errors" for _, module in imports_of(path))
    assert wrong_imports(upper, "core")
    assert wrong_imports(upper, "usage")
    assert not wrong_imports(upper, "billing_cycle")


def test_the_core_imports_only_the_standard_library_and_itself():
    wrong = [
        f"{path.name}:{line} imports {module}"
        for path in (PORTAL / "core").glob("*.py")
        for line, module in imports_of(path)
        if not module.startswith("portal.core") and module.split(".")[0] not in sys.stdlib_module_names
    ]
    assert not wrong


def test_the_core_reads_no_clock_no_random_number_and_no_environment():
    wrong = []
    for path in (PORTAL / "core").glob("*.py"):
        wrong += [
            f"{path.name}:{line} imports {module}"
            for line, module in imports_of(path)
            if module.split(".")[0] in {"os", "sys", "time", "random", "secrets", "socket", "uuid1", "threading"}
        ]
        wrong += [
            f"{path.name}:{node.lineno} calls {node.func.attr}()"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"now", "today", "utcnow", "uuid4", "uuid1"}
        ]
    assert not wrong


def test_stripe_is_spoken_in_one_file_only():
    speakers = {
        str(path.relative_to(PORTAL))
        for path in PORTAL.rglob("*.py")
        for _, module in imports_of(path)
        if module.split(".")[0] == "stripe"
    }
    assert speakers == {"payments/gateway.py"}


def test_the_sandbox_imports_nothing_of_the_portal():
    wrong = [
        f"{path.name}:{line} imports {module}"
        for path in (PORTAL / "sandbox").rglob("*.py")
        for line, module in imports_of(path)
        if module.split(".")[0] in ("portal", "stripe") and not module.startswith("portal.sandbox")
    ]
    assert not wrong


def test_only_the_database_module_commits():
    """`transaction()` is the one place that commits, so that wake-ups go out after it and never before."""
    wrong = [
        f"{path.relative_to(PORTAL)}:{node.lineno}"
        for path in PORTAL.rglob("*.py")
        if "sandbox" not in path.parts and path != PORTAL / "infra" / "db.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]
    assert not wrong


def test_only_the_clock_reads_the_time_of_day_in_the_capabilities():
    """`now` is a parameter; jobs and edges ask infra.clock."""
    wrong = []
    for room in ("organizations", "catalog", "usage", "invoicing", "payments"):
        for path in (PORTAL / room).rglob("*.py"):
            wrong += [
                f"{path.relative_to(PORTAL)}:{node.lineno}"
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"now", "utcnow", "today"}
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"datetime", "date"}
            ]
    assert not wrong, f"{wrong}: use infra.clock.now()"
