"""Puts the sandbox together: the API, the control endpoints and the pages, over one store."""

import atexit
from functools import partial
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.serving import BaseWSGIServer, make_server

from . import card_pages, control, hosted, pages, switches
from .api import Api
from .errors import StripeError
from .keeping import Keeper
from .routes import ROUTES
from .store import Store
from .webhooks import Deliverer
from .wire import RequestHandler, Wire

LARGEST_BODY_BYTES = 64 * 1024 * 1024


def create_sandbox(*, webhook_url: str, webhook_secret: str, state_path: str | Path | None = None) -> Flask:
    """Make a sandbox. Without a webhook URL events are only stored; without a path nothing is kept."""
    app = Flask("portal.sandbox", template_folder=str(Path(__file__).parent / "templates"))
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    # Bulk calls carry thousands of form fields; the body's size is the only limit that matters here.
    app.config["MAX_FORM_PARTS"] = None
    store = Store()
    deliverer = Deliverer(store, webhook_url, webhook_secret)
    if state_path is not None:
        keeper = Keeper(store, Path(state_path))
        keeper.start()
        atexit.register(keeper.stop)
        app.extensions["sandbox_keeper"] = keeper
    deliverer.start()
    app.extensions["sandbox_deliverer"] = deliverer
    api = Api(store, deliverer)
    for route in ROUTES:
        view = partial(api.handle, route)
        app.add_url_rule(route.path, f"{route.method} {route.path}", view, methods=[route.method])
    app.register_blueprint(control.make_blueprint(api))
    app.register_blueprint(hosted.make_blueprint(api))
    app.register_blueprint(card_pages.make_blueprint(api))
    app.register_blueprint(switches.make_blueprint(api))
    app.register_blueprint(pages.make_blueprint(api))
    app.register_error_handler(404, _unknown_url)
    app.register_error_handler(405, _unknown_url)
    app.wsgi_app = Wire(app.wsgi_app)  # type: ignore[method-assign]
    return app


def make_threaded_server(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """A server for the app, one thread per connection; port 0 picks a free one."""
    return make_server(host, port, app, threaded=True, request_handler=RequestHandler)


def close_sandbox(app: Flask) -> None:
    """Stop the background work of a sandbox and write its last state."""
    app.extensions["sandbox_deliverer"].stop()
    if keeper := app.extensions.get("sandbox_keeper"):
        keeper.stop()


def _unknown_url(error: Exception) -> Response:
    answer = StripeError(f"Unrecognized request URL ({request.method}: {request.path}).", status=404).answer()
    return Response(answer.body, answer.status, content_type=answer.content_type)
