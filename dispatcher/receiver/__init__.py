"""For applications that messages are delivered to: each message handled once, and only when it is
signed by who may send.

    app.add_middleware(AsgiReceiver, secrets=[…], store=SqliteStore("received.db"))   # FastAPI
    app.wsgi_app = WsgiReceiver(app.wsgi_app, secrets=[…], store=…)                   # Flask

    verify(secrets, headers, body)            # by hand: raises SignatureRefused
    with once(store, message_id) as first: …  # by hand: False for a duplicate

It needs the standard library only, and nothing of the server.
"""

from dispatcher.protocol.webhooks import (
    SignatureExpired,
    SignatureMalformed,
    SignatureMissing,
    SignatureRefused,
    SignatureWrong,
)
from dispatcher.receiver.asgi import AsgiReceiver
from dispatcher.receiver.checking import sign, verify
from dispatcher.receiver.inbox import MessageRunning, once
from dispatcher.receiver.memory import MemoryStore
from dispatcher.receiver.rules import UNSIGNED
from dispatcher.receiver.sqlite import SqliteStore
from dispatcher.receiver.store import (
    Claimed,
    Handled,
    Running,
    Standing,
    Store,
    StoreUnavailable,
)
from dispatcher.receiver.wsgi import WsgiReceiver

__all__ = [
    "UNSIGNED",
    "AsgiReceiver",
    "Claimed",
    "Handled",
    "MemoryStore",
    "MessageRunning",
    "Running",
    "SignatureExpired",
    "SignatureMalformed",
    "SignatureMissing",
    "SignatureRefused",
    "SignatureWrong",
    "SqliteStore",
    "Standing",
    "Store",
    "StoreUnavailable",
    "WsgiReceiver",
    "once",
    "sign",
    "verify",
]
