"""/metrics: off without a token, closed without it, true numbers with it; alerts name only what is there."""

import json
import re
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from portal import ROOT, create_app
from portal.infra.db import db
from portal.infra.processes import heartbeat_of
from tests.factories import acting, make_final, make_organization, sql

TOKEN = "only-for-tests"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "billing_portal.json"
PROMTOOL = Path("/usr/bin/promtool")


@contextmanager
def another(app, **settings):
    """The portal with other settings; its connections end with it."""
    portal = create_app(replace(app.config["SETTINGS"], **settings))
    yield portal
    with portal.app_context():
        db.engine.dispose()


@pytest.fixture
def counted(app, clean_database, clean_redis):
    """The same portal with metrics on, with an invoice that is on its way and a dead job."""
    with acting(app):
        make_final(make_organization(), "12.00")
        heartbeat_of("worker").beat()
        sql("INSERT INTO outbox (kind, dedupe_key, arguments, dead_at) VALUES ('sync_invoice', 'x', '{}', now())")
    with another(app, metrics_token=TOKEN) as portal:
        yield portal


def read(app, *, token: str = TOKEN):
    return app.test_client().get("/metrics", headers={"Authorization": f"Bearer {token}"})


def samples(answer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(answer.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_without_a_token_in_the_settings_there_is_no_such_page(app):
    assert read(app).status_code == 404


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_another_token_opens_nothing(counted, token):
    answer = read(counted, token=token)
    assert answer.status_code == 401
    assert "portal_" not in answer.text


def test_it_says_how_the_portal_stands(counted):
    found = samples(read(counted))
    assert found["portal_jobs_dead", ()] == 1
    assert found["portal_jobs_open", (("kind", "sync_invoice"),)] == 1
    assert found["portal_invoices_away", (("sync_state", "pending"),)] == 1
    assert found["portal_invoices_away", (("sync_state", "dead"),)] == 0
    assert found["portal_processes_alive", (("kind", "worker"),)] == 1
    assert found["portal_processes_alive", (("kind", "clock"),)] == 0
    assert found["portal_database_away", ()] == 0


def test_requests_are_counted_by_page_and_never_by_id(counted):
    client = counted.test_client()
    for path in ("/healthz", "/healthz", "/nothing-here", "/invoices/01a20693-fb29-7721-9dd2-469f65f12b39"):
        client.get(path)
    client.open("/healthz", method="BREW")
    answer = read(counted)
    found = samples(answer)

    def count(endpoint: str, status: str, method: str = "GET") -> float:
        return found["portal_requests_total", (("endpoint", endpoint), ("method", method), ("status", status))]

    assert count("health.healthz", "2xx") == 2
    assert count("none", "4xx") == 1
    assert count("invoices.show", "3xx") == 1
    assert count("none", "4xx", "other") == 1
    assert found["portal_request_seconds_count", (("endpoint", "health.healthz"),)] == 2
    assert "01a20693" not in answer.text


def test_while_the_database_is_away_it_says_so(app):
    with another(app, metrics_token=TOKEN, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none") as away:
        found = samples(read(away))
    assert found["portal_database_away", ()] == 1
    assert not any(name == "portal_jobs_dead" for name, _ in found)


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bportal_[a-z_]+", text))


def test_alerts_and_dashboard_name_only_what_is_there(counted):
    client = counted.test_client()
    client.get("/healthz")
    counted.extensions["metrics"].events.labels("accepted").inc()
    there = {name for name, _ in samples(read(counted))}
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) > 8
    for rule in rules:
        assert names_in(rule["expr"]) <= there, rule["alert"]
    exprs = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    assert len(exprs) > 8
    for expr in exprs:
        assert names_in(expr) <= there, expr


def test_every_alert_has_its_section_in_the_runbook():
    runbook = (ROOT / "docs" / "operations.md").read_text()
    alerts = [rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert [alert for alert in alerts if f"\n### {alert}\n" not in runbook] == []


@pytest.mark.skipif(not PROMTOOL.exists(), reason="promtool is not installed")
def test_prometheus_itself_takes_the_files():
    for words in (["check", "rules", str(ALERTS)],):
        checked = subprocess.run([PROMTOOL, *words], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(not PROMTOOL.exists(), reason="promtool is not installed")
def test_prometheus_takes_what_the_page_says(counted):
    counted.test_client().get("/healthz")
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=read(counted).text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
