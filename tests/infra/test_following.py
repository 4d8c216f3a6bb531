"""A request's id is found again wherever it has led to: in the logs and audit entries of its jobs."""

import io
import json
import logging

import pytest
from flask import g

from portal.infra import audit, outbox
from portal.infra.db import transaction
from portal.infra.logs import JsonLines
from portal.infra.outbox import handles, run
from tests.factories import make_organization, sql

pytestmark = pytest.mark.usefixtures("books")
KIND = "test_following"
log = logging.getLogger(__name__)


@handles(KIND)
def _work(lease, *, number: int) -> None:
    log.warning("at work", extra={"number": number})
    with lease.transaction():
        audit.record("did it", subject="test", subject_id=number, organization_id=None)
        if number < 3:
            outbox.enqueue(KIND, dedupe_key=str(number + 1), organization_id=None, number=number + 1)


@pytest.fixture
def lines():
    """What is logged, as the log has it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    log.removeHandler(handler)


def work_off() -> None:
    while open_ids := sql("SELECT id FROM outbox WHERE finished_at IS NULL ORDER BY id"):
        # A worker knows nothing of the click.
        g.pop("request_id", None)
        run(open_ids[0][0])


@pytest.mark.parametrize("many", [False, True])
def test_jobs_and_the_jobs_of_jobs_carry_the_request_on(lines, many):
    organization = make_organization()
    g.request_id = "feedface01234567"
    with transaction():
        if many:
            outbox.enqueue_many(KIND, [("1", organization.id, {"number": 1})])
        else:
            outbox.enqueue(KIND, dedupe_key="1", organization_id=organization.id, number=1)
    organization_id = organization.id
    work_off()
    told = [(line["request_id"], line["job_id"].startswith("outbox-"), line["number"]) for line in lines()]
    assert told == [("feedface01234567", True, number) for number in (1, 2, 3)]
    assert [line.get("organization_id") for line in lines()] == [organization_id, None, None]
    assert sql("SELECT request_id FROM audit_entries WHERE action = 'did it'") == [("feedface01234567",)] * 3


def test_work_of_the_clock_has_no_request(lines):
    g.pop("request_id", None)
    with transaction():
        outbox.enqueue(KIND, dedupe_key="3", organization_id=None, number=3)
    work_off()
    [line] = lines()
    assert "request_id" not in line
