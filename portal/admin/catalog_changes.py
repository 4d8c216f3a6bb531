"""Changing the catalog: a new version of a price after a look at it, archiving and restoring."""

from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.admin.approving import person, publishing_takes_two, within
from portal.admin.catalog import counted_lines
from portal.admin.price_forms import PriceTerms, first_open_day, publish_version, terms_text
from portal.admin.rehearsing import rehearsal
from portal.admin.staff import staff_blueprint
from portal.catalog.listing import Entry, entry_of, meter_of, plan_of, subscribers_of
from portal.catalog.locking import lock_prices
from portal.catalog.models import Price
from portal.catalog.publishing import archive, restore
from portal.catalog.seconding import NewVersion, ask_to_publish
from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import day, quantity
from portal.infra.pages import policy

bp = staff_blueprint("admin_catalog_changes")


@bp.get("/catalog/prices/<uuid:public_id>/versions/new")
@policy("publish prices")
def new_version(public_id: UUID) -> str:
    """The form, with the terms that hold now (or the newest ones), from next month on."""
    entry, now = open_entry(public_id), clock.now()
    like = entry.on(now.date()) or entry.versions[-1]
    form = PriceTerms(formdata=None, terms=terms_text(like.terms), valid_from=str(Month.of(now).next.first_day))
    return _version_form(entry, form)


@bp.post("/catalog/prices/<uuid:public_id>/versions/new")
@policy("publish prices")
def publish(public_id: UUID) -> str | Response | tuple[str, int]:
    """Three steps, each a plain form: preview shows old and new side by side, edit goes back, publish adds it."""
    entry, form = open_entry(public_id), PriceTerms()
    step = request.form.get("step")
    if step == "edit":
        return _version_form(entry, form)
    if not form.validate():
        return _version_form(entry, form), 422
    try:
        if step == "publish":
            return _publish(entry, form)
        return _preview(entry, form)
    except InvalidInput as refusal:
        form.take(refusal)
        return _version_form(entry_of(public_id), form), 422


def open_entry(public_id: UUID) -> Entry:
    """A price that can be given another version. Raises NotFound, and InvalidTransition if it is archived."""
    entry = entry_of(public_id)
    if entry.price.archived_at is not None:
        raise InvalidTransition("The price is archived. Restore it first, then give it another version.")
    return entry


def _version_form(entry: Entry, form: PriceTerms) -> str:
    opens = first_open_day(entry.price)
    return render_template("admin/catalog/version_form.html", entry=entry, form=form, open_from=opens)


def _values(form: PriceTerms) -> dict[str, Any]:
    return {
        "terms": dict(form.terms.document),
        "valid_from": form.valid_from.day,
        "note": (form.note.data or "").strip() or None,
    }


def _preview(entry: Entry, form: PriceTerms) -> str:
    """The sentence that holds until then beside the new one; everything that publishing would refuse is refused."""
    assert form.valid_from.day is not None, "the form is valid"
    before = entry.on(form.valid_from.day)
    later = entry.next_after(form.valid_from.day)
    sentence = entry.sentence(form.read_terms())
    with rehearsal():
        publish_version(entry, **_values(form))
    return render_template(
        "admin/catalog/version_review.html",
        entry=entry_of(entry.price.public_id),
        form=form,
        before=before and before.sentence,
        sentence=sentence,
        later_from=later and later.valid_from,
        takes_two=publishing_takes_two(),
    )


def _publish(entry: Entry, form: PriceTerms) -> Response:
    if publishing_takes_two():
        return _ask(entry, form)
    with transaction():
        version = publish_version(entry, **_values(form))
    flash(f"“{entry.price.name}” has a new version from {day(version.valid_from)}.", "success")
    return redirect(url_for("admin_catalog.price", public_id=entry.price.public_id), 303)


def _ask(entry: Entry, form: PriceTerms) -> Response:
    """Let it wait for a second person; what publishing would refuse is refused here too."""
    with rehearsal():
        publish_version(entry, **_values(form))
    address = url_for("admin_catalog.price", public_id=entry.price.public_id)
    with transaction():
        new = NewVersion.of_price(entry_of(entry.price.public_id), **_values(form))
        ask_to_publish(new, by=person(), now=clock.now(), within=within())
    flash("Nothing is published yet: it waits for a second admin.", "success")
    return redirect(address, 303)


_STEPS = "/catalog/<kind>/<uuid:public_id>/<step>"


@bp.get(_STEPS)
@policy("publish prices")
def confirm(kind: str, public_id: UUID, step: str) -> str:
    """What archiving or restoring does, and the button that does it."""
    found, name, consequence = _found(kind, public_id)
    if step not in consequence:
        raise NotFound("There is no such page.")
    return render_template(
        "admin/catalog/archive.html",
        name=name,
        is_archived=found.archived_at is not None,
        step=step,
        consequence=consequence[step],
        address=_address(kind, public_id),
    )


@bp.post(_STEPS)
@policy("publish prices")
def switch(kind: str, public_id: UUID, step: str) -> Response:
    """Archive or restore; a second time changes nothing."""
    found, name, consequence = _found(kind, public_id)
    if step not in consequence:
        raise NotFound("There is no such page.")
    with transaction():
        lock_prices()
        if step == "archive":
            archive(found, now=clock.now())
        else:
            restore(found, open_from=first_open_day(found) if isinstance(found, Price) else None)
    flash(f"“{name}” is {'archived' if step == 'archive' else 'on sale again'}.", "success")
    return redirect(_address(kind, public_id), 303)


def _address(kind: str, public_id: UUID) -> str:
    return url_for(f"admin_catalog.{kind.removesuffix('s')}", public_id=public_id)


def _found(kind: str, public_id: UUID) -> tuple[Any, str, dict[str, str]]:
    """What is archived or restored, its name, and what each of the two does."""
    if kind == "meters":
        meter = meter_of(public_id)
        consequence = {
            "archive": "It takes no more events from now on. What was reported before is still billed.",
            "restore": "It takes events again.",
        }
        return meter, meter.name, consequence
    if kind == "plans":
        plan = plan_of(public_id)
        subscribers = subscribers_of(plan, clock.now())
        consequence = {
            "archive": "Nobody can subscribe to it any more. Those who have it keep it and go on paying for it:"
            f" {quantity(subscribers.subscriptions)} subscriptions today.",
            "restore": "Organizations can subscribe to it again.",
        }
        return plan, plan.name, consequence
    if kind != "prices":
        raise NotFound("There is no such page.")
    entry = entry_of(public_id)
    consequence = {
        "archive": "It applies no more from today, 00:00 UTC. Usage or plans without another price then keep their"
        f" invoices from being finalized. It stands on {counted_lines(entry)} of invoices; they stay as they are and"
        " explained.",
        "restore": "It applies again, also to the days since it was archived that no final invoice has billed.",
    }
    return entry.price, entry.price.name, consequence
