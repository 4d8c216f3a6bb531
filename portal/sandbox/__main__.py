"""Runs the sandbox: `python -m portal.sandbox --port 12111`."""

import argparse
import signal
import sys
from types import FrameType

from .server import close_sandbox, create_sandbox, make_threaded_server


def main() -> None:
    """Serve until interrupted or terminated."""
    parser = argparse.ArgumentParser(prog="python -m portal.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--webhook-url", default="", help="where events are delivered; empty: nowhere")
    parser.add_argument("--webhook-secret", default="whsec_sandbox")
    parser.add_argument("--state", default=None, metavar="FILE", help="keep the state here between runs")
    options = parser.parse_args()
    app = create_sandbox(
        webhook_url=options.webhook_url, webhook_secret=options.webhook_secret, state_path=options.state
    )
    server = make_threaded_server(app, options.host, options.port)
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, _leave)
    sys.stdout.write(f"Stripe sandbox on http://{options.host}:{server.port}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    finally:
        close_sandbox(app)


def _leave(signum: int, frame: FrameType | None) -> None:
    # Raised inside serve_forever, so that what follows it still runs.
    sys.exit(0)


if __name__ == "__main__":
    main()
