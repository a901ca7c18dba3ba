"""What came back from a run, in terms of the protocol."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from dispatcher.core.answer import Answer
from dispatcher.core.outcome import AttemptResult
from dispatcher.functions import limits
from dispatcher.protocol.connect import Code, error_of
from dispatcher.protocol.messages import RunResponse
from dispatcher.protocol.statuses import Status, status_of_failure, status_of_http

_PROTO: Final = b"application/proto"
_ASK_AGAIN: Final = (408, 429)
_REFUSED: Final = (401, 403)
_VERIFIES: Final = (
    ". If it verifies signatures, its DISPATCH_VERIFICATION_KEY has to be what `dispatcher keys "
    "show` prints in the server's directory, and not set where the endpoint is a bridge"
)
_NO_STATE: Final = (400, 412)
"""Connect's status of failed_precondition, and what HTTP has for it."""


_GZIP: Final = b"\x1f\x8b"


def read_answer(answer: Answer) -> RunResponse | str:
    """Read a complete 2xx. A string says why it is no RunResponse.

    Parameters of the content type are ignored. An empty body is a RunResponse of which every field
    is missing.
    """
    if answer.status != 200:
        return f"it was answered with HTTP {answer.status}, not 200"
    if not answer.is_whole:
        return f"the answer has more than {limits.MOST_RUN_BYTES} bytes"
    content_type = answer.content_type.partition(b";")[0].strip(b" \t").lower()
    if content_type != _PROTO:
        shown = content_type[:80].decode("latin-1") or "missing"
        return f"the answer's content type is {shown}, not application/proto"
    try:
        return RunResponse.FromString(answer.body)
    except DecodeError:
        if answer.body.startswith(_GZIP):
            return "the answer is compressed with gzip, which the request did not offer to accept"
        return "the answer is no RunResponse: it cannot be parsed"


def said(response: RunResponse, status: Status) -> str:
    """What a run says that did not go well: its error in a few words, or its status."""
    name = status.name
    if status is Status.UNSPECIFIED:
        name = f"UNSPECIFIED ({response.status})"
    if response.exit.result.HasField("error"):
        error = response.exit.result.error
        return f"{name}: {error.type}: {error.message}"
    return f"it ended with status {name} and no error"


def is_final(status: int | None) -> bool:
    """Whether asking again after this HTTP status would not help; it may not have been followed by
    a whole body. A 200 of which the rest is missing is none."""
    if status is None or status == 200 or status in _ASK_AGAIN:
        return False
    return status == 501 or not 500 <= status <= 599


def lacks_state(result: AttemptResult) -> bool:
    """Whether somebody who was given the nonce of a state answers that he does not have it."""
    if result.status not in _NO_STATE or result.failure is not None:
        return False
    return error_of(result.status, result.response_start).code is Code.FAILED_PRECONDITION


def status_of(result: AttemptResult) -> Status:
    """What an attempt without a RunResponse comes to."""
    if result.status is not None and (result.failure is None or is_final(result.status)):
        return status_of_http(result.status)
    assert result.failure is not None
    return status_of_failure(result.failure.value)


def answered(result: AttemptResult) -> str:
    """What an HTTP status says, with the message of a Connect error where there is one."""
    assert result.status is not None
    message = error_of(result.status, result.response_start).message
    message = message.removeprefix(f"HTTP {result.status}").removeprefix(": ")
    said = f"it was answered with HTTP {result.status}" + (f": {message}" if message else "")
    return f"{said.removesuffix('.')}{_VERIFIES}" if result.status in _REFUSED else said
