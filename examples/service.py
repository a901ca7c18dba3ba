"""A service to try the dispatcher with: it takes every request, and prints it.

python3 examples/service.py [PORT]
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(BaseHTTPRequestHandler):
    """Answers 200 to any method."""

    def handle_one_request(self) -> None:
        """Read one request, print it, answer it."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print(f"{self.requestline}\n{self.headers}{body.decode(errors='replace')}\n", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing more."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"http://localhost:{port}", flush=True)
    ThreadingHTTPServer(("localhost", port), Service).serve_forever()
