"""What every answer carries, and what is refused before any page looks at it."""

import json

import pytest

from devkit.audit import bill_of_materials
from devkit.secret_scan import secrets_in
from devkit.testservers import TEST_SETTINGS
from portal import create_app
from portal.config import settings_from_env
from portal.core.keys import key_text

HEADERS = (
    *("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"),
    *("Cross-Origin-Resource-Policy", "Permissions-Policy", "X-Request-Id", "Strict-Transport-Security"),
)
PRODUCTION = {
    **TEST_SETTINGS,
    **{"PORTAL_ENV": "production", "STRIPE_SECRET_KEY": "sk_live_1", "STRIPE_API_BASE": ""},
    **{"PORTAL_URL": "https://portal.example", "TRUSTED_HOSTS": "portal.example", "PROXY_HOPS": "0"},
    **{"DATABASE_URL": "postgresql://127.0.0.1:9/none_test", "REDIS_URL": "redis://127.0.0.1:9/0"},
}
HOST = "https://portal.example"


@pytest.fixture(scope="module")
def production():
    """The portal as it runs in production, on servers that nobody calls."""
    return create_app(settings_from_env(PRODUCTION))


@pytest.fixture
def visitor(production):
    return production.test_client()


REQUESTS = {
    "a page": ("GET", "/sign-in", {}, 200),
    "no page": ("GET", "/console", {}, 404),
    "a static file": ("GET", "/static/css/layout.css", {}, 200),
    "no static file": ("GET", "/static/nothing.css", {}, 404),
    "a redirect": ("GET", "/invoices", {}, 303),
    "a wrong method": ("DELETE", "/sign-in", {}, 405),
    "OPTIONS": ("OPTIONS", "/sign-in", {}, 200),
    "TRACE": ("TRACE", "/sign-in", {}, 405),
    "no form token": ("POST", "/sign-in", {"data": {}}, 400),
    "a large form": ("POST", "/sign-in", {"data": {"email": "x" * 2**20}}, 413),
    "many parts": (
        *("POST", "/sign-in"),
        *({"data": {str(n): "" for n in range(300)}, "content_type": "multipart/form-data"}, 413),
    ),
    "a wrong host": ("GET", "/sign-in", {"base_url": "https://evil.example"}, 400),
    "the API without a key": ("GET", "/api/v1/invoices", {}, 401),
    "the API's description": ("GET", "/api/v1/openapi.json", {}, 200),
    "no address of the API": ("GET", "/api/v1/nothing", {}, 404),
    "a webhook without a signature": ("POST", "/webhooks/stripe", {"data": b"{}"}, 400),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_answer_has_all_headers(visitor, name):
    method, path, more, status = REQUESTS[name]
    answer = visitor.open(path, method=method, **{"base_url": HOST, **more})
    text = answer.text
    answer.close()
    assert answer.status_code == status
    assert [header for header in HEADERS if not answer.headers.get(header)] == []
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "Traceback" not in text
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert name == "a static file" or answer.headers["Cache-Control"] == "private, no-store"


def test_files_are_packed_and_pages_are_not(visitor):
    """What a page's packed length would tell of its secrets (BREACH) stays untold."""
    for path, packed in {"/static/vendor/bootstrap.min.css": "br", "/sign-in": None}.items():
        answer = visitor.get(path, base_url=HOST, headers={"Accept-Encoding": "gzip, br"})
        assert (answer.status_code, answer.headers.get("Content-Encoding")) == (200, packed)
        assert "Accept-Encoding" in answer.headers["Vary"]
        answer.close()


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_the_method_is_what_was_sent(visitor, header):
    answer = visitor.get("/sign-in?_method=DELETE", base_url=HOST, headers={header: "DELETE"})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Original-URL"])
def test_what_a_proxy_would_say_means_nothing_without_one(visitor, header):
    answer = visitor.get("/invoices", base_url=HOST, headers={header: "evil.example"})
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=/invoices")


def test_cookies_are_for_this_host_over_https_and_no_script(visitor):
    [cookie] = visitor.get("/sign-in", base_url=HOST).headers.getlist("Set-Cookie")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nX: y", "javascript:1"]
)
def test_signing_in_leads_nowhere_else(visitor, target):
    page = visitor.get("/sign-in", base_url=HOST, query_string={"next": target}).text
    assert 'name="next" value="/"' in page


def test_the_list_of_packages_names_each_with_its_hashes():
    pinned = (("flask==3.1.0", "a"), ("flask-wtf==1.3 ; python_version > '3'", "b"))
    lock = "".join(f"{name} \\\n    --hash=sha256:{digit * 64}\n" for name, digit in pinned)
    document = bill_of_materials(lock, "1")
    assert [each["purl"] for each in document["components"]] == ["pkg:pypi/flask@3.1.0", "pkg:pypi/flask-wtf@1.3"]
    assert document["components"][1]["externalReferences"][0]["hashes"][0]["content"] == "b" * 64
    assert (document["bomFormat"], json.loads(json.dumps(document))) == ("CycloneDX", document)


def test_the_scan_finds_keys_and_says_where():
    content = f"one\n{key_text('live', 'A1' * 22)}\n-----BEGIN PRIVATE KEY-----\nabc".encode()
    assert secrets_in(content) == ["an API key of this portal in line 2", "a private key in line 3"]
    assert secrets_in(b"Bearer blk_test_nobody, sk_test_sandbox, redis://127.0.0.1:9/0") == []
