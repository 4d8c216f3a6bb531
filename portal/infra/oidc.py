"""Speaking OpenID Connect with one provider, as a client with a secret: code flow with PKCE, state and nonce.

The issuer comes from the settings. The addresses that its document names must use HTTPS too (plain HTTP only if the
issuer does, which is loopback), no redirect is followed, and documents are cut off. Call none of these inside a
transaction. What the provider publishes is read anew for each sign-in: a key that it has replaced is never believed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError
from joserfc.jwk import KeySet

from portal.config import Settings
from portal.core.errors import PortalError

# Seconds to connect, and between two pieces of an answer.
TIMEOUTS_SECONDS = (3, 5)
LARGEST_ANSWER_BYTES = 256 * 1024
_PIECE_BYTES = 16 * 1024
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
class Provider:
    """The portal as a client of a provider, and the addresses that the provider has published."""

    issuer: str
    client_id: str
    client_secret: str
    back_to: str
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


def find_provider(settings: Settings, *, back_to: str) -> Provider:
    """Read the provider's own document. Raises ProviderFailed."""
    issuer = settings.oidc_issuer or ""
    document = _read(issuer.rstrip("/") + "/.well-known/openid-configuration")
    if document.get("issuer") != issuer:
        raise _strange("its document names another issuer")
    authorization, token, keys = (str(document.get(name)) for name in _ADDRESSES)
    schemes = ("https", "http") if urlsplit(issuer).scheme == "http" else ("https",)
    if not all(_scheme(each) in schemes for each in (authorization, token, keys)):
        raise _strange("an address of its document is missing or not private")
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Provider(
        issuer=issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        back_to=back_to,
        authorization=authorization,
        token=token,
        keys=keys,
        posts_secret="client_secret_basic" not in methods,
    )


def address_to_go_to(provider: Provider, *, state: str, nonce: str, verifier: str) -> str:
    """Where the person signs in. `verifier` stays here; only its hash goes along."""
    with _client(provider) as client:
        address, _ = client.create_authorization_url(
            provider.authorization, state=state, nonce=nonce, code_verifier=verifier
        )
    return str(address)


def redeem(provider: Provider, code: str, *, nonce: str, verifier: str, now: datetime) -> Person:
    """Change a code, which works once, into who it is. Raises ProviderFailed for all that is not as it must be."""
    try:
        with _client(provider) as client:
            answer = client.fetch_token(
                provider.token,
                code=code,
                code_verifier=verifier,
                grant_type="authorization_code",
                timeout=TIMEOUTS_SECONDS,
                allow_redirects=False,
            )
    except requests.RequestException as error:
        raise _down(type(error).__name__) from error
    except (AuthlibBaseError, ValueError) as error:
        raise _strange("it did not take the code") from error
    token = answer.get("id_token") if isinstance(answer, Mapping) else None
    if not isinstance(token, str):
        raise _strange("its answer has no id token")
    return person_of(token, _read(provider.keys), provider, nonce=nonce, now=now)


def person_of(token: str, keys: Mapping[str, Any], provider: Provider, *, nonce: str, now: datetime) -> Person:
    """Read an id token: signature, issuer, audience, times (a minute's difference is forgiven) and nonce.

    Raises ProviderFailed.
    """
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=int(CLOCKS_MAY_DIFFER.total_seconds()),
        iss={"essential": True, "value": provider.issuer},
        aud={"essential": True, "value": provider.client_id},
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
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != provider.client_id:
        raise _strange("wrong azp")
    email = claims.get("email")
    is_confirmed = claims.get("email_verified") is True and isinstance(email, str)
    return Person(provider.issuer, claims["sub"], email if is_confirmed else None)


def _scheme(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return parts.scheme if parts.hostname else ""


def _client(provider: Provider) -> OAuth2Session:
    return OAuth2Session(
        provider.client_id,
        provider.client_secret,
        token_endpoint_auth_method="client_secret_post" if provider.posts_secret else "client_secret_basic",
        scope=SCOPE,
        redirect_uri=provider.back_to,
        code_challenge_method="S256",
    )


def _read(address: str) -> dict[str, Any]:
    """One JSON object. Raises ProviderFailed."""
    try:
        with requests.get(address, timeout=TIMEOUTS_SECONDS, allow_redirects=False, stream=True) as answer:
            status, body = answer.status_code, bytearray()
            for piece in answer.iter_content(_PIECE_BYTES):
                body += piece
                if len(body) > LARGEST_ANSWER_BYTES:
                    raise _strange("its document is too long")
    except requests.RequestException as error:
        raise _down(type(error).__name__) from error
    if status >= 500:
        raise _down(f"status {status}")
    try:
        found = json.loads(body) if status == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _strange("it did not answer with a document")
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
