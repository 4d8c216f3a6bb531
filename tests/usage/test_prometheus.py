"""Usage from a real Prometheus server: exact sums over resets, gaps and NaN, and nothing twice."""

import dataclasses
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from portal.clock import RECURRING, tick
from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.infra import clock
from portal.usage.recounting import recount_differences
from portal.usage.sources import pulling
from portal.usage.sources.pull_files import Kind, Payer, PullQuery, read_pull_file
from portal.usage.sources.pulling import pull, pull_states
from portal.usage.sources.stepping import Span, Used, steps_of
from tests.factories import acting, make_meter, make_organization, sql
from tests.usage.prometheus_servers import Exporter, latest_value, needs_prometheus, prometheus, wait_for, write_past

T0 = datetime(2026, 10, 5, tzinfo=UTC)
START = int(T0.timestamp())
HOUR = timedelta(hours=1)
LAG = timedelta(minutes=2)


def past() -> str:
    """An hour, minute by minute."""
    lines = ["# TYPE edge_bytes counter"]
    for minute in range(61):  # 100 a minute, with a reset at minute 30 that is at 40 when it is seen
        value = 100 * minute if minute < 30 else 40 + 100 * (minute - 30)
        lines.append(f'edge_bytes_total{{organization="acme",region="fra"}} {value} {START + 60 * minute}')
    for minute in range(61):  # 1 a minute, not seen from minute 20 to minute 31
        if not 20 <= minute <= 31:
            lines.append(f'edge_bytes_total{{organization="umbrella",region="ams"}} {minute} {START + 60 * minute}')
    for minute in range(40, 61):  # begins at 500
        lines.append(f'edge_bytes_total{{organization="umbrella",region="new"}} {460 + minute} {START + 60 * minute}')
    lines.append("# TYPE disk gauge")
    for minute in range(61):
        value = "NaN" if minute == 10 else "2" if minute < 30 else "5"
        lines.append(f'disk{{customer="c1"}} {value} {START + 60 * minute}')
    lines += ["# TYPE debt gauge", f'debt{{customer="c1"}} -1 {START + 600}']
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    needs_prometheus()
    folder = tmp_path_factory.mktemp("prometheus")
    write_past(folder, past())
    with prometheus(folder) as url:
        yield url


@pytest.fixture
def _acme(app, clean_database):
    with acting(app):
        make_organization("acme")
        make_organization("umbrella")
        make_meter("egress_gb", dimensions=("region",))
        make_meter("disk_gb_hours", dimensions=())
        yield


@pytest.fixture
def write(tmp_path, _acme):
    """Writes a file of pulls."""

    def write_file(url, *queries, lag="2m"):
        path = tmp_path / "pulls.yaml"
        path.write_text(f"url: {url}\nlag: {lag}\nqueries:\n" + "".join(queries))
        return str(path)

    return write_file


def query(name="egress", promql="edge_bytes_total", kind="counter", step="1m", **more):
    lines = {"promql": promql, "kind": kind, "step": step, "meter": "egress_gb"}
    lines |= {"organization": "{label: organization}", "properties": "[region]", "start": "2026-10-05T00:00:00Z"} | more
    return f"- name: {name}\n" + "".join(f"  {key}: {value}\n" for key, value in lines.items() if value)


def disk(kind, **more):
    return query(
        kind, "disk", kind, **{"meter": "disk_gb_hours", "organization": "{label: customer, values: {c1: acme}}"} | more
    )


def pull_until(path, now):
    return {each.name: each for each in pull(read_pull_file(path), now=now + LAG)}


def sums():
    """What every organization used, by meter and region."""
    assert recount_differences() == []
    rows = sql(
        "SELECT o.slug, m.code, s.dimensions ->> 'region', sum(d.quantity) FROM usage_daily d"
        " JOIN usage_series s USING (organization_id, series_id) JOIN meters m ON m.id = d.meter_id"
        " JOIN organizations o ON o.id = d.organization_id GROUP BY 1, 2, 3"
    )
    return {tuple(row[:3]): plain(row[3]) for row in rows}


def events():
    rows = sql("SELECT event_key, quantity, occurred_at FROM usage_events")
    return {(row[0], row[1], row[2]) for row in rows}


EGRESS = {
    ("acme", "egress_gb", "fra"): "5940",  # 2,900 before the reset, 40 seen after it, 3,000 since
    ("umbrella", "egress_gb", "ams"): "60",
    ("umbrella", "egress_gb", "new"): "20",  # its first sample is where counting begins
}


def test_a_counter_comes_to_its_increases_over_resets_and_gaps(server, write):
    pulled = pull_until(write(server, query()), T0 + HOUR)["egress"]
    assert pulled.error is None
    assert sums() == EGRESS
    assert pulled.watermark == T0 + HOUR
    assert "samples missing" in pulled.note
    assert "1 counters counted from their first sample on" in pulled.note
    assert min(moment for _, _, moment in events()) == T0
    assert max(moment for _, _, moment in events()) == T0 + timedelta(minutes=59)


def test_the_same_range_again_stores_nothing_twice(server, write):
    path = write(server, query())
    first = pull_until(path, T0 + HOUR)["egress"]
    before = events()
    assert pull_until(path, T0 + HOUR)["egress"].stored == 0
    sql("DELETE FROM usage_pulls")
    again = pull_until(path, T0 + HOUR)["egress"]
    assert (again.stored, again.there_already) == (0, first.stored)
    assert events() == before


@pytest.mark.parametrize("cuts", [(28,), (1, 29, 30, 31), (24, 26, 32, 33), tuple(range(1, 60, 7))])
def test_pulling_in_parts_gives_the_very_same_events(server, write, owner_connection, cuts):
    path = write(server, query())
    pull_until(path, T0 + HOUR)
    whole = events()
    owner_connection.execute("TRUNCATE usage_events, usage_daily, usage_series, usage_pulls")
    for minute in (*cuts, 60):
        assert pull_until(path, T0 + timedelta(minutes=minute, seconds=30))["egress"].error is None
    assert events() == whole
    assert sums() == EGRESS


def test_a_resolution_finer_than_the_step_sees_the_reset_inside_it(server, write):
    pull_until(write(server, query(step="1h", resolution="1m")), T0 + HOUR)
    assert sums() == EGRESS
    assert len(events()) == 3


def test_a_span_is_bounded_by_what_one_answer_may_hold(server, write, monkeypatch):
    monkeypatch.setattr(pulling, "MOST_POINTS", 7)
    pull_until(write(server, query()), T0 + HOUR)
    assert sums() == EGRESS


def test_a_multiplier_is_exact(server, write):
    pull_until(write(server, query(multiply="0.000000001")), T0 + HOUR)
    assert sums()["acme", "egress_gb", "fra"] == "0.00000594"


def test_a_gauge_becomes_its_average_or_its_integral_and_nothing_is_invented(server, write):
    hours = "0.000277777777777777777777777778"  # 1 / 3600
    queries = (
        disk("gauge_average", step="1h", resolution="1m", properties=""),
        disk("gauge_integral", step="1h", resolution="1m", properties="", multiply=hours, meter="egress_gb"),
    )
    pulled = pull_until(write(server, *queries), T0 + HOUR)
    average = plain(((29 * 2 + 30 * Decimal(5)) / 59).quantize(Decimal("1e-12")))
    assert sums() == {("acme", "disk_gb_hours", None): average, ("acme", "egress_gb", None): "3.466666666667"}
    assert pulled["gauge_average"].note == "1 samples not a number"


def test_a_query_without_a_past_begins_now(server, write):
    path = write(server, query(start=""))
    begun = pull_until(path, T0 + timedelta(minutes=20))["egress"]
    assert (begun.stored, begun.watermark) == (0, T0 + timedelta(minutes=20))
    pull_until(path, T0 + timedelta(minutes=25))
    assert sums() == {("acme", "egress_gb", "fra"): "500"}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"promql": "rate("}, "Prometheus answered 400"),
        ({"promql": "1"}, "names no organization"),
        ({"promql": '"a text"'}, "Prometheus answered 400"),
        ({"organization": "nobody"}, "There is no active organization “nobody”"),
        ({"organization": "{label: region}"}, "There is no active organization"),
        ({"organization": "{label: shop}"}, "names no organization"),
        ({"meter": "tape"}, "There is no meter “tape”"),
        ({"promql": "debt", "kind": "gauge_average", "organization": "acme"}, "quantity is zero or more"),
        ({"start": "2026-10-05T00:00:30Z"}, "is no beginning of a step"),
    ],
)
def test_an_error_moves_no_watermark_stores_nothing_and_stops_no_other_query(server, write, wrong, sentence):
    good = query("good", organization="acme")
    pulled = pull_until(write(server, query(**wrong), good), T0 + HOUR)
    assert sentence in pulled["egress"].error
    assert pulled["egress"].watermark is None
    assert (pulled["good"].error, pulled["good"].watermark) == (None, T0 + HOUR)
    assert {region for _, _, region in sums()} == {"fra", "ams", "new"}
    assert {state.name: state.last_error for state in pull_states()} == {"egress": pulled["egress"].error, "good": None}
    pulled = pull_until(write(server, query()), T0 + HOUR)
    assert pulled["egress"].error is None
    assert pull_states()[0].last_error is None


def test_a_server_that_is_away_or_is_another_is_said_and_the_watermark_stays(server, write):
    pull_until(write(server, query()), T0 + timedelta(minutes=10))
    away = pull_until(write("http://127.0.0.1:9", query()), T0 + HOUR)["egress"]
    assert "did not answer" in away.error
    assert away.watermark == T0 + timedelta(minutes=10)

    class Other(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>hello</h1>")

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        file = write(f"http://127.0.0.1:{other.server_address[1]}", query())
        assert "is no Prometheus server" in pull_until(file, T0 + HOUR)["egress"].error
    pull_until(write(server, query()), T0 + HOUR)
    assert sums() == EGRESS


def test_no_series_is_said(server, write):
    assert pull_until(write(server, query(promql="nothing_total")), T0 + HOUR)["egress"].note == "no series"


def test_two_at_once_store_everything_once(server, write, app):
    path = write(server, query())
    failures = []

    def run():
        with acting(app):
            try:
                pull_until(path, T0 + HOUR)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sums() == EGRESS


def test_the_commands_pull_and_list(server, write, runner, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: T0 + HOUR + LAG)
    path = write(server, query(), query("broken", meter="tape"))
    result = runner.invoke(args=["usage", "pull", "prometheus", "--file", path])
    assert result.exit_code == 1
    assert "egress: " in result.output
    assert "There is no meter “tape”" in result.output
    listed = runner.invoke(args=["usage", "pulls"]).output
    assert "egress" in listed
    assert "There is no meter" in listed
    assert runner.invoke(args=["usage", "pull", "prometheus", "--file", path, "--query", "egress"]).exit_code == 0
    assert runner.invoke(args=["usage", "pull", "prometheus", "--file", path, "--query", "x"]).exit_code == 2
    assert "PROMETHEUS_PULLS" in runner.invoke(args=["usage", "pull", "prometheus"]).output
    assert sums() == EGRESS


def test_the_clock_pulls_what_the_setting_names(server, write, app, monkeypatch):
    [job] = [job for job in RECURRING if "Prometheus" in job.name]
    assert tick(app, job)
    assert sums() == {}
    settings = dataclasses.replace(app.config["SETTINGS"], prometheus_pulls=write(server, query()))
    monkeypatch.setitem(app.config, "SETTINGS", settings)
    monkeypatch.setattr(clock, "now", lambda: T0 + HOUR + LAG)
    assert tick(app, job)
    assert sums() == EGRESS
    missing = dataclasses.replace(settings, prometheus_pulls="/nowhere.yaml")
    monkeypatch.setitem(app.config, "SETTINGS", missing)
    assert tick(app, job)


@pytest.mark.slow
def test_live_scrapes_with_a_restart_add_up(write, tmp_path):
    needs_prometheus()
    exporter = Exporter()
    page = '# TYPE jobs_total counter\njobs_total{{organization="acme",region="fra"}} {}\n'
    try:
        exporter.page = page.format(5)
        with prometheus(tmp_path, scrape=exporter.address) as url:
            file = read_pull_file(write(url, query(promql="jobs_total", step="1s", start=""), lag="1s"))

            def pulled_up_to(total):
                assert [each.error for each in pull(file, now=clock.now())] == [None]
                return sums() == {("acme", "egress_gb", "fra"): total}

            wait_for(lambda: latest_value(url, "jobs_total") == "5")
            list(pull(file, now=clock.now() + timedelta(seconds=2)))
            # 7, a restart that has come to 3, and 7 more; each is there before the next one comes.
            for value, total in ((12, "7"), (3, "10"), (10, "17")):
                exporter.page = page.format(value)
                wait_for(partial(pulled_up_to, total))
            list(pull(file, now=clock.now() + timedelta(seconds=1)))
            assert pulled_up_to("17")
    finally:
        exporter.stop()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The file is a mapping"),
        ("url: x\nqueries: [a]\n", "query 1 is a mapping"),
        ("url: x\nqueries: []\n", "at least one query"),
        ("url: x\nqueries:\n" + query(), "url starts with http"),
        ("url: http://x\nqueries:\n" + query(kind="rate"), "kind is counter, gauge_average, gauge_integral"),
        ("url: http://x\nqueries:\n" + query(step="7m"), "step is a part of a day"),
        ("url: http://x\nqueries:\n" + query(step="1m", resolution="40s"), "resolution a part of step"),
        ("url: http://x\nqueries:\n" + query(step="90"), "is a duration such as 30s"),
        ("url: http://x\nqueries:\n" + query(multiply="1/3"), "multiply is a number such as"),
        ("url: http://x\nqueries:\n" + query(start="2026-10-05"), "start needs its zone"),
        ("url: http://x\nqueries:\n" + query() + query(), "Two queries have the name egress"),
        ("url: http://x\nqueries:\n" + query(colour="red"), "query 1 has no “colour”"),
        ("url: http://x\ntoken_file: /nowhere\nqueries:\n" + query(), "/nowhere No such file"),
        ("url: [", "Line 1, column 7"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_place(tmp_path, text, sentence):
    path = tmp_path / "pulls.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        read_pull_file(str(path))
    assert sentence in refused.value.sentence


def steps(samples, base=None, kind=Kind.COUNTER, step=4, resolution=2, span=(0, 8)):
    asked = PullQuery("q", "x", kind, step, resolution, "m", Payer("acme"), {}, Decimal(1), None)
    found = steps_of(asked, {at: value and Decimal(value) for at, value in samples.items()}, Span(*span), base)
    return [Used(start, plain(quantity)) for start, quantity in found]


def test_steps_of_a_counter():
    assert steps({0: "1", 2: "2", 4: "4", 6: "1", 8: "3"}, Decimal(1)) == [(0, "3"), (4, "3")]
    assert steps({2: "2", 4: "4"}) == [(0, "2")]
    assert steps({2: None, 4: "4", 8: "4.5"}, Decimal(1)) == [(0, "3"), (4, "0.5")]
    assert steps({}, Decimal(1)) == []


def test_steps_of_a_gauge():
    assert steps({0: "1", 2: "2", 4: "0", 6: "0"}, kind=Kind.GAUGE_AVERAGE) == [(0, "1.5"), (4, "0")]
    assert steps({0: "1", 2: None, 6: "3", 8: "9"}, kind=Kind.GAUGE_INTEGRAL) == [(0, "2"), (4, "6")]
