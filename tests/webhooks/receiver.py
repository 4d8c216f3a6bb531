"""A program that receives webhooks, as a process of its own: it writes down what comes and answers as its path says.

`python receiver.py PORT FOLDER`: every request is a line of FOLDER/heard; `/ok`, `/status/503`, `/redirect`, `/large`,
`/drip` (a byte of the answer every tenth of a second), `/hang` (no answer until FOLDER/answer is there).
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[2])


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        heard = {"path": self.path, "headers": dict(self.headers.items()), "body": body}
        with (FOLDER / "heard").open("a") as file:
            file.write(json.dumps(heard) + "\n")
        match self.path.split("/")[1]:
            case "status":
                self.answer(int(self.path.split("/")[2]), b"no\x00 thanks")
            case "redirect":
                self.send_response(302)
                self.send_header("Location", "/ok")
                self.end_headers()
            case "large":
                self.answer(200, b"x" * 5_000_000)
            case "drip":
                self.drip()
            case "hang":
                while not (FOLDER / "answer").exists():
                    time.sleep(0.02)
                self.answer(200, b"at last")
            case _:
                self.answer(200, b"thanks")

    def answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def drip(self) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 600:
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:  # noqa: N802
        self.answer(200, b"here")

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
