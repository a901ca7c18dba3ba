"""An application behind a receiver: `asgi PORT` or `wsgi PORT` serves it. What its handler has done
is in the file STEPS. It ends when the file `go` is there, and fails where `fail` is."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from dispatcher.receiver import AsgiReceiver, SqliteStore, WsgiReceiver

STEPS = Path(os.environ["STEPS"])
SECRET = os.environ["WEBHOOK_SECRET"]
LEASE_S = float(os.environ.get("LEASE_S", "300"))
STORE = SqliteStore(STEPS.with_name("received.db"))


def handle(body: bytes) -> None:
    """Take a message."""
    note(f"began {body.decode()}")
    while not STEPS.with_name("go").exists():
        time.sleep(0.01)
    if STEPS.with_name("fail").exists():
        raise ZeroDivisionError
    note(f"ended {body.decode()}")


def note(word: str) -> None:
    with STEPS.open("a") as steps:
        steps.write(f"{word}\n")


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await asyncio.to_thread(handle, message["body"])
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def _wsgi(environ: Any, start_response: Any) -> list[bytes]:
    handle(environ["wsgi.input"].read())
    start_response("204 No Content", [])
    return []


asgi = AsgiReceiver(_asgi, secrets=SECRET, store=STORE, lease_s=LEASE_S)
wsgi = WsgiReceiver(_wsgi, secrets=SECRET, store=STORE, lease_s=LEASE_S)


if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "asgi":
        import uvicorn

        uvicorn.run(asgi, host="127.0.0.1", port=port, log_level="error", lifespan="off")
    else:
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", port, wsgi, threaded=True)
