"""All work that is asked for can be done: every kind has a handler, and every queue a worker."""

import ast
import importlib
from pathlib import Path

from portal.infra import outbox, queue

PORTAL = Path(__file__).parents[2] / "portal"


def enqueued_kinds() -> set[str]:
    """The first argument of every `enqueue(…)` in the code."""
    kinds = set()
    for path in PORTAL.rglob("*.py"):
        if "sandbox" in path.parts or path == PORTAL / "infra" / "outbox.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "enqueue":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    kinds.add(first.value)
                else:
                    module = ".".join(path.relative_to(PORTAL.parent).with_suffix("").parts)
                    assert isinstance(first, ast.Name), f"{path}:{node.lineno}: say which kind, by its name"
                    kinds.add(getattr(importlib.import_module(module), first.id))
    return kinds


def test_every_kind_of_work_in_the_code_has_a_handler(app):
    kinds = enqueued_kinds()
    assert {"sync_invoice", "finish_finalizing", "apply_stripe_event", "void_at_stripe"} <= kinds
    assert kinds <= set(outbox._handlers)


def test_there_is_one_queue_and_workers_listen_to_it():
    names = {
        node.args[0].value
        for path in PORTAL.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Queue"
        and isinstance(node.args[0], ast.Constant)
    }
    assert names <= {queue.QUEUE}
    assert queue.BillingWorker.__mro__[1].__name__ == "Worker"
