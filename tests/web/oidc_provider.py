"""A small OpenID Connect provider in a process of its own, and the hand that breaks it.

`python -m tests.web.oidc_provider PORT`. Who signs in and what goes wrong is set by POST /_ctl; asking for
authorization shows a page with a button, as a real one does.
"""

import base64
import hashlib
import json
import secrets
import sys
import time
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, redirect, request
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "portal", "only-for-tests-0123456789-0123456789"
GOOD: dict[str, Any] = {"sub": "subject-1", "email": "owner@acme.example", "email_verified": True}


def make_provider(issuer: str) -> Flask:
    """The provider's application; `issuer` is its own address."""
    app = Flask(__name__)
    key, other = (RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}) for _ in range(2))
    state: dict[str, Any] = {"person": GOOD, "fault": None}
    codes: dict[str, dict[str, str]] = {}

    @app.post("/_ctl")
    def control() -> Response:
        state.update({"person": GOOD, "fault": None} | (request.get_json() or {}))
        return Response(status=204)

    @app.get("/.well-known/openid-configuration")
    def document() -> Any:
        if state["fault"] == "moved":
            return redirect(f"{issuer}/elsewhere")
        if state["fault"] == "broken":
            return Response("no", 503)
        return {
            "issuer": "https://other.example" if state["fault"] == "other document" else issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": "file:///etc/hostname" if state["fault"] == "odd address" else f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
        }

    @app.get("/authorize")
    def ask() -> str:
        return "<!doctype html><title>Provider</title><form method='post'><button>Yes, it is me</button></form>"

    @app.post("/authorize")
    def authorize() -> Any:
        asked = request.args
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        if state["fault"] == "denied":
            return redirect(f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': asked['state']})}")
        code = secrets.token_urlsafe(16)
        codes[code] = dict(asked)
        return redirect(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    @app.post("/token")
    def token() -> Any:
        if state["fault"] == "token down":
            return Response("no", 502)
        asked = codes.pop(request.form["code"], None)
        hashed = hashlib.sha256(request.form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
        authorization = request.authorization
        is_client = authorization is not None and (authorization.username, authorization.password) == (
            CLIENT_ID,
            CLIENT_SECRET,
        )
        fits = asked is not None and (asked["code_challenge"], asked["redirect_uri"]) == (
            challenge,
            request.form["redirect_uri"],
        )
        if asked is None or not is_client or not fits or state["fault"] == "refused code":
            return {"error": "invalid_grant"}, 400
        answer = {"access_token": "unused", "token_type": "Bearer", "id_token": signed(asked["nonce"])}
        if state["fault"] == "no token":
            del answer["id_token"]
        return answer

    @app.get("/keys")
    def keys() -> Any:
        return {"keys": [key.as_dict(private=False)]}

    def signed(nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": issuer, "aud": CLIENT_ID, "nonce": nonce, "iat": now, "exp": now + 300, **state["person"]}
        wrong = {
            "nonce": {"nonce": "another"},
            "audience": {"aud": "another"},
            "audiences": {"aud": [CLIENT_ID, "another"], "azp": "another"},
            "issuer": {"iss": "https://other.example"},
            "expired": {"iat": now - 600, "exp": now - 300},
            "future": {"iat": now + 600, "exp": now + 900},
        }
        claims |= wrong.get(state["fault"] or "", {})
        if state["fault"] == "none":
            parts = [{"alg": "none"}, claims]
            encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
            return ".".join([*encoded, ""])
        if state["fault"] == "client secret":
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET))
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, other if state["fault"] == "key" else key)

    return app


if __name__ == "__main__":
    port = int(sys.argv[1])
    make_provider(f"http://127.0.0.1:{port}").run("127.0.0.1", port)
