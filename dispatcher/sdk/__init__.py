"""The SDK, for applications that write durable functions: `import dispatcher.sdk as dispatch`.

    @dispatch.function
    async def greet(name: str) -> str:
        return f"Hello, {name}!"

    @dispatch.function
    async def welcome(names: list[str]) -> list[str]:
        await dispatch.sleep(60)  # durable: no process has to live that long
        return await greet.gather(names)

Importing it needs the standard library, protobuf and cryptography, and nothing of the server.
"""

from dispatcher.protocol.statuses import Status
from dispatcher.sdk import http
from dispatcher.sdk.app import Dispatch
from dispatcher.sdk.client.batch import Batch, SyncBatch
from dispatcher.sdk.client.blocking import SyncClient
from dispatcher.sdk.client.client import Client
from dispatcher.sdk.client.errors import (
    AlreadyCompleted,
    CallsRefused,
    CallUnknown,
    ClientError,
    KeyRefused,
    NotEnded,
    ResultGone,
    Unreachable,
)
from dispatcher.sdk.client.information import CallInfo, CallPage
from dispatcher.sdk.errors import register
from dispatcher.sdk.exceptions import (
    CallError,
    Cancelled,
    DecodeError,
    DispatchError,
    DNSError,
    EncodeError,
    Expired,
    HTTPError,
    Interrupted,
    InvalidArgumentError,
    InvalidResponseError,
    NotFoundError,
    PermanentError,
    PermissionDeniedError,
    TCPError,
    TemporaryError,
    ThrottledError,
    TimeoutError,
    TLSError,
    UnauthenticatedError,
)
from dispatcher.sdk.functions.ambient import now, random, replaying, uuid4
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.call import Call
from dispatcher.sdk.functions.concurrently import any, gather, race
from dispatcher.sdk.functions.current import Current, current
from dispatcher.sdk.functions.decorator import function
from dispatcher.sdk.functions.describing import describe
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.functions.log import log
from dispatcher.sdk.functions.patching import patched
from dispatcher.sdk.functions.ports import Handle, SyncHandle
from dispatcher.sdk.functions.promises import Channel, Promise, channel, promise
from dispatcher.sdk.functions.remote import Remote, remote
from dispatcher.sdk.functions.reset import Reset
from dispatcher.sdk.functions.sleeping import sleep
from dispatcher.sdk.functions.stepping import step
from dispatcher.sdk.serving.mounts import aiohttp, django, fastapi, flask, starlette

__all__ = [
    "AlreadyCompleted",
    "Batch",
    "BuiltCall",
    "Call",
    "CallError",
    "CallInfo",
    "CallPage",
    "CallUnknown",
    "CallsRefused",
    "Cancelled",
    "Channel",
    "Client",
    "ClientError",
    "Current",
    "DNSError",
    "DecodeError",
    "Dispatch",
    "DispatchError",
    "EncodeError",
    "Expired",
    "Function",
    "HTTPError",
    "Handle",
    "Interrupted",
    "InvalidArgumentError",
    "InvalidResponseError",
    "KeyRefused",
    "NotEnded",
    "NotFoundError",
    "PermanentError",
    "PermissionDeniedError",
    "Promise",
    "Remote",
    "Reset",
    "ResultGone",
    "Status",
    "SyncBatch",
    "SyncClient",
    "SyncHandle",
    "TCPError",
    "TLSError",
    "TemporaryError",
    "ThrottledError",
    "TimeoutError",
    "UnauthenticatedError",
    "Unreachable",
    "aiohttp",
    "any",
    "channel",
    "current",
    "describe",
    "django",
    "fastapi",
    "flask",
    "function",
    "gather",
    "http",
    "log",
    "now",
    "patched",
    "promise",
    "race",
    "random",
    "register",
    "remote",
    "replaying",
    "sleep",
    "starlette",
    "step",
    "uuid4",
]
