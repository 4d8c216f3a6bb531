"""Stripe's v1 idempotency: a key is executed once, and its answer is repeated for 24 hours."""

import threading

from .errors import Answer, StripeError
from .packing import pack, unpack
from .store import Store

REMEMBERED_SECONDS = 24 * 3600
LONGEST_KEY = 255


class Keys:
    """The keys seen so far. Answers are kept in the store; keys in flight only here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._in_flight: dict[str, str] = {}
        self._lock = threading.Lock()

    def begin(self, key: str, path: str, fingerprint: str) -> Answer | None:
        """Claim the key and return None, or return the answer that it already has.

        :raise StripeError: the key belongs to another request, or its first request is still running
        """
        if len(key) > LONGEST_KEY:
            raise StripeError(f"Idempotency keys must be at most {LONGEST_KEY} characters long.")
        with self._lock, self._store.lock:
            self._forget_if_old(key)
            known = self._store.keys.get(key)
            if known is not None:
                _refuse_other_request(key, known["path"], known["fingerprint"], path, fingerprint)
                return Answer(
                    known["status"],
                    unpack(known["body"]),
                    {
                        **known["headers"],
                        "Idempotent-Replayed": "true",
                        "Original-Request": known["request_id"],
                    },
                )
            if key in self._in_flight:
                raise StripeError(
                    "There is currently another in-progress request using this Idempotent Key "
                    "(that probably means you submitted twice, and the other request is still going "
                    f"through): {key}. Please try again later.",
                    status=409,
                    type="idempotency_error",
                    code="idempotency_key_in_use",
                )
            self._in_flight[key] = path
        return None

    def finish(self, key: str, path: str, fingerprint: str, request_id: str, answer: Answer) -> None:
        """Remember the answer, failures included: that is what makes a repeated call harmless."""
        with self._lock, self._store.lock:
            self._in_flight.pop(key, None)
            self._store.keys[key] = {
                "path": path,
                "fingerprint": fingerprint,
                "request_id": request_id,
                "status": answer.status,
                "headers": answer.headers,
                "body": pack(answer.body),
                "created": self._store.clock.now(),
            }

    def abandon(self, key: str) -> None:
        """Nothing was executed, so the key stays free."""
        with self._lock:
            self._in_flight.pop(key, None)

    def forget_old(self) -> None:
        """Drop every key past its time."""
        with self._lock, self._store.lock:
            for key in list(self._store.keys):
                self._forget_if_old(key)

    def _forget_if_old(self, key: str) -> None:
        known = self._store.keys.get(key)
        if known is not None and self._store.clock.now() - known["created"] >= REMEMBERED_SECONDS:
            del self._store.keys[key]


def _refuse_other_request(key: str, path: str, fingerprint: str, other_path: str, other: str) -> None:
    if path != other_path:
        raise StripeError(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for "
            f"('{other_path}' vs '{path}'). Try using a key other than '{key}' if you meant to execute a "
            "different request.",
            type="idempotency_error",
        )
    if fingerprint != other:
        raise StripeError(
            "Keys for idempotent requests can only be used with the same parameters they were first used "
            f"with. Try using a key other than '{key}' if you meant to execute a different request.",
            type="idempotency_error",
        )
