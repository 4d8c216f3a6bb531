"""Simulating a draft of a price over closed months: what to simulate, how far it is, what it says, and its file."""

from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from portal.admin.catalog_changes import open_entry
from portal.admin.price_forms import publish_version, terms_text
from portal.admin.rehearsing import rehearsal
from portal.admin.simulation_forms import SimulationForm, closed_months
from portal.admin.simulation_picture import picture_of
from portal.admin.staff import staff_blueprint
from portal.catalog.listing import Entry, entry_of
from portal.core.errors import InvalidInput
from portal.core.money import major_text
from portal.core.periods import Month
from portal.core.pricing import terms_from_json
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.pages import csv_response, policy
from portal.signed_in import me
from portal.simulating.models import PriceSimulation, SimulationState
from portal.simulating.queries import (
    distribution_of,
    largest_of,
    months_of,
    progress_of,
    results_of,
    simulation_of,
    summary_of,
)
from portal.simulating.steering import cancel_simulation, start_simulation

MOST_SHOWN = 10
MONTHS_AT_FIRST = 3
SECONDS_BETWEEN_LOOKS = 2
CSV_HEAD = ("organization", "public_id", "month", "currency", "old", "new", "difference")
bp = staff_blueprint("admin_simulations")


@bp.post("/catalog/prices/<uuid:public_id>/simulate")
@policy("publish prices")
def choose(public_id: UUID) -> str | Answer | tuple[str, int]:
    """From the preview of a version: first which months and whose, then the simulation is started."""
    entry, form = open_entry(public_id), SimulationForm()
    months = closed_months(Month.of(clock.now()))
    form.months.choices = [(str(month), str(month)) for month in months]
    if request.form.get("step") != "start":
        form.months.data = [str(month) for month in months[:MONTHS_AT_FIRST]]
        return _form_page(entry, form, months)
    if not form.validate():
        return _form_page(entry, form, months), 422
    try:
        return _start(entry, form)
    except InvalidInput as refusal:
        form.take(refusal)
        return _form_page(entry_of(public_id), form, months), 422


def _form_page(entry: Entry, form: SimulationForm, months: list[Month]) -> str:
    return render_template("admin/simulations/form.html", entry=entry, form=form, months=months)


def _start(entry: Entry, form: SimulationForm) -> Answer:
    """Everything that publishing would refuse is refused here too, so that what was simulated can be published."""
    assert form.valid_from.day is not None, "the form is valid"
    months, organization_ids = form.read_months(), form.read_organizations()
    draft: dict[str, Any] = {
        "terms": dict(form.terms.document),
        "valid_from": form.valid_from.day,
        "note": (form.note.data or "").strip() or None,
    }
    with rehearsal():
        publish_version(entry, **draft)
    price = entry_of(entry.price.public_id).price
    with transaction():
        simulation = start_simulation(
            price, **draft, months=months, organization_ids=organization_ids, by=me().name, now=clock.now()
        )
    return _to(simulation)


@bp.get("/catalog/simulations/<uuid:public_id>")
@policy("view the catalog")
def show(public_id: UUID) -> str:
    """What a simulation says, or has said so far."""
    simulation = simulation_of(public_id)
    entry = entry_of(simulation.price.public_id)
    before = entry.on(clock.now().date())
    return render_template(
        "admin/simulations/show.html",
        entry=entry,
        before=before and before.sentence,
        sentence=entry.sentence(terms_from_json(simulation.terms)),
        terms=terms_text(terms_from_json(simulation.terms)),
        summary=summary_of(simulation),
        by_month=months_of(simulation),
        rises=largest_of(simulation, rises=True, limit=MOST_SHOWN),
        falls=largest_of(simulation, rises=False, limit=MOST_SHOWN),
        chart=picture_of(distribution_of(simulation)),
        **_moving(simulation, now=clock.now()),
    )


@bp.get("/catalog/simulations/<uuid:public_id>/progress")
@policy("view the catalog")
def progress(public_id: UUID) -> Response:
    """The part of the page that moves; it polls itself while the simulation runs, and asks for the page at its end."""
    simulation = simulation_of(public_id)
    response = Response(render_template("admin/simulations/_progress.html", **_moving(simulation, now=clock.now())))
    if simulation.state != SimulationState.RUNNING:
        response.headers["HX-Refresh"] = "true"
    return response


@bp.get("/catalog/simulations/<uuid:public_id>.csv")
@policy("view the catalog")
def as_csv(public_id: UUID) -> Response:
    """Every organization and month that was rated, with amounts in the major unit."""
    simulation = simulation_of(public_id)
    currency = simulation.price.currency
    rows = [
        (slug, organization, Month.of(month), currency, *(major_text(each, currency) for each in amounts))
        for slug, organization, month, *amounts in results_of(simulation)
    ]
    return csv_response(f"simulation-{public_id}", CSV_HEAD, rows)


@bp.post("/catalog/simulations/<uuid:public_id>/cancel")
@policy("publish prices")
def cancel(public_id: UUID) -> Answer:
    """End it; what it has rated so far stays."""
    with transaction():
        simulation = cancel_simulation(public_id, now=clock.now())
    return _to(simulation)


def _moving(simulation: PriceSimulation, *, now: datetime) -> dict[str, Any]:
    running = simulation.state == SimulationState.RUNNING
    return {
        "simulation": simulation,
        "progress": progress_of(simulation, now=now),
        "poll_seconds": SECONDS_BETWEEN_LOOKS if running else None,
    }


def _to(simulation: PriceSimulation) -> Answer:
    return redirect(url_for(".show", public_id=simulation.public_id), 303)
