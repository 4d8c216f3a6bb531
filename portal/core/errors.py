"""Refusals that a person can read and a program can match.

One handler per surface turns them into a page, a problem document or an exit code. Their sentences are Said: English
for programs, and the reader's language on a page.
"""

from portal.core.saying import Said


class PortalError(Exception):
    """The base of every refusal: a stable `code`, an HTTP `status` and a sentence for a person."""

    code = "refused"
    status = 400

    def __init__(self, sentence: str, *, field: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence: str = Said(sentence)
        self.field = field


class InvalidInput(PortalError):
    """Something that was sent does not fit; `field` names it."""

    code, status = "invalid_input", 422


class NotFound(PortalError):
    """There is no such record, or it belongs to somebody else; the two are never told apart."""

    code, status = "not_found", 404


class NotAllowed(PortalError):
    """The actor's role does not include this step."""

    code, status = "not_allowed", 403


class InvalidTransition(PortalError):
    """The record is not in a state from which this step is allowed."""

    code, status = "invalid_transition", 409


class DraftChanged(PortalError):
    """What the admin saw is no longer what the draft says; nothing was done."""

    code, status = "draft_changed", 409


class NotReady(PortalError):
    """The step is right but comes too early, or something that it needs is missing."""

    code, status = "not_ready", 409


class NeedsSecondPerson(NotReady):
    """The step is right, and takes two people; one of them is missing."""

    code = "needs_second_person"
