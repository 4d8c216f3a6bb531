"""Speaking OpenID Connect with one provider, as a client with a secret: code flow with PKCE, state and nonce.

The issuer comes from the settings, or is an organization's own. The addresses that its document names must use HTTPS
too (plain HTTP only if the issuer does, which is loopback), no redirect is followed, documents are cut off, and what an
organization has chosen leads to public addresses only (calling.py). Call none of these inside a transaction. What the
provider publishes is read anew for each sign-in: a key that it has replaced is never believed.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError
from joserfc.jwk import KeySet

from portal.core.errors import PortalError
from portal.infra.calling import Answer, CannotCall, call

LARGEST_ANSWER_BYTES = 256 * 1024
CLOCKS_MAY_DIFFER = timedelta(minutes=1)
SCOPE = "openid email"
_ADDRESSES = ("authorization_endpoint", "token_endpoint", "jwks_uri")
# Signed with the provider's private key; neither "none" nor the client's secret signs anything here.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")


class ProviderFailed(PortalError):
    """The provider's answer cannot be had or not be believed; `why` is for the audit log."""

    code, status = "provider_failed", 422

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


@dataclass(frozen=True, slots=True)
class Client:
    """The portal as a client of a provider. `private_too`: its operator has chosen it, so it may lie in a network."""

    issuer: str
    client_id: str
    client_secret: str
    back_to: str
    private_too: bool


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as the portal knows it, and the addresses that it has published."""

    client: Client
    authorization: str
    token: str
    keys: str
    posts_secret: bool


@dataclass(frozen=True, slots=True)
class Person:
    """Who has signed in at the provider. `email` is None unless the provider says that it is confirmed."""

    issuer: str
    subject: str
    email: str | None


def find_provider(client: Client) -> Provider:
    """Read the provider's own document. Raises ProviderFailed."""
    issuer = client.issuer
    document = _read(issuer.rstrip("/") + "/.well-known/openid-configuration", client)
    if document.get("issuer") != issuer:
        raise _strange("its document names another issuer")
    authorization, token, keys = (str(document.get(name)) for name in _ADDRESSES)
    schemes = ("https", "http") if urlsplit(issuer).scheme == "http" else ("https",)
    if not all(_scheme(each) in schemes for each in (authorization, token, keys)):
        raise _strange("an address of its document is missing or not private")
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Provider(
        client=client,
        authorization=authorization,
        token=token,
        keys=keys,
        posts_secret="client_secret_basic" not in methods,
    )


def address_to_go_to(provider: Provider, *, state: str, nonce: str, verifier: str) -> str:
    """Where the person signs in. `verifier` stays here; only its hash goes along."""
    hashed = hashlib.sha256(verifier.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": provider.client.client_id,
        "redirect_uri": provider.client.back_to,
        "scope": SCOPE,
        "state": state,
        "nonce": nonce,
        "code_challenge": base64.urlsafe_b64encode(hashed).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return f"{provider.authorization}{'&' if urlsplit(provider.authorization).query else '?'}{urlencode(asked)}"


def redeem(provider: Provider, code: str, *, nonce: str, verifier: str, now: datetime) -> Person:
    """Change a code, which works once, into who it is. Raises ProviderFailed for all that is not as it must be."""
    client = provider.client
    sent = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.back_to,
        "code_verifier": verifier,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if provider.posts_secret:
        sent |= {"client_id": client.client_id, "client_secret": client.client_secret}
    else:
        # Source: RFC 6749, section 2.3.1: each is encoded as in a form before they are joined.
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    answer = _document(_call(provider.token, urlencode(sent).encode(), headers, client), "it did not take the code")
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise _strange("its answer has no id token")
    return person_of(token, _read(provider.keys, client), client, nonce=nonce, now=now)


def person_of(token: str, keys: Mapping[str, Any], client: Client, *, nonce: str, now: datetime) -> Person:
    """Read an id token: signature, issuer, audience, times (a minute's difference is forgiven) and nonce.

    Raises ProviderFailed.
    """
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=int(CLOCKS_MAY_DIFFER.total_seconds()),
        iss={"essential": True, "value": client.issuer},
        aud={"essential": True, "value": client.client_id},
        nonce={"essential": True, "value": nonce},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        public = [key for key in keys["keys"] if key.get("kty") in ("RSA", "EC")]
        claims = jwt.decode(token, KeySet.import_key_set({"keys": public}), algorithms=ALGORITHMS).claims
        registry.validate(claims)
    except ExpiredTokenError as error:
        raise _late("the token's time is over") from error
    except InvalidClaimError as error:
        if error.claim in ("iat", "nbf"):
            raise _late(f"the token's {error.claim} is in the future") from error
        raise _strange(f"wrong {error.claim}") from error
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _strange(type(error).__name__) from error
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != client.client_id:
        raise _strange("wrong azp")
    email = claims.get("email")
    is_confirmed = claims.get("email_verified") is True and isinstance(email, str)
    return Person(client.issuer, claims["sub"], email if is_confirmed else None)


def _scheme(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return parts.scheme if parts.hostname else ""


def _read(address: str, client: Client) -> dict[str, Any]:
    """One JSON object. Raises ProviderFailed."""
    return _document(_call(address, None, {"Accept": "application/json"}, client), "it did not answer with a document")


def _call(address: str, body: bytes | None, headers: Mapping[str, str], client: Client) -> Answer:
    try:
        return call(address, body, headers, private_too=client.private_too, most_bytes=LARGEST_ANSWER_BYTES + 1)
    except CannotCall as error:
        raise _down(str(error)) from error


def _document(answer: Answer, otherwise: str) -> dict[str, Any]:
    """The JSON object of an answer; for any other the reason is `otherwise`."""
    if len(answer.body) > LARGEST_ANSWER_BYTES:
        raise _strange("its document is too long")
    if answer.status >= 500:
        raise _down(f"status {answer.status}")
    try:
        found = json.loads(answer.body) if answer.status == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _strange(otherwise)
    return found


def _down(why: str) -> ProviderFailed:
    return ProviderFailed("The provider does not answer just now. Try again in a minute, or use your password.", why)


def _late(why: str) -> ProviderFailed:
    return ProviderFailed(
        "The clocks of the provider and this portal differ, or this took too long. Begin again; if it stays, tell us.",
        why,
    )


def _strange(why: str) -> ProviderFailed:
    return ProviderFailed(
        "The provider's answer is not one that we can believe. Begin again; if it stays, tell us.", why
    )
