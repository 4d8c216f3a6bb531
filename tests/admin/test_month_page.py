"""The month over all organizations: a page and its file, before and after the clock has made the first forecasts."""

from typing import Any

from flask import Flask

from portal.forecasting.making import forecast_by_clock
from portal.infra import clock
from tests.factories import acting


def test_the_page_and_its_file_say_the_same(app: Flask, admin: Any, world: Any) -> None:
    assert "No forecast yet" in admin.open("/admin/month").text
    with acting(app):
        made = forecast_by_clock(now=clock.now())
    assert made
    page = admin.open("/admin/month")
    assert page.status == 200
    lines = admin.client.get("/admin/month.csv").text.splitlines()
    assert len(lines) == made + 1
    assert lines[0].lstrip("\ufeff").startswith("Organization,Currency,So far,Expected,Last month,Change")
    assert lines[1].startswith("Acme,")
    assert "Sources that are silent" in page.text
