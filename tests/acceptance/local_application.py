"""An application of functions for tests of `dispatcher run`, without an SDK.

    python local_application.py [--unverified] [--stuck] [--child] [FUNCTION...]

listens on DISPATCH_ENDPOINT_ADDR, dispatches a call of each function that is named, and serves
until SIGINT (exit code 0). Runs without a good signature are refused, unless `--unverified`. It
prints a line when it listens, one for each call that it dispatched, and one for each run. With
`--stuck` it cannot be asked to end; with `--child` it starts a process, and prints its number.

`greet` says hello. `pair` calls `greet` twice. `flaky` fails at its first two runs. `wrong` fails
for good. `held` waits for a call of `promise:go`. `crowd` calls `greet` fifty times, and `held`
twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from base64 import b64decode
from collections import Counter

from dispatcher.protocol.keys import read_verification_keys
from dispatcher.protocol.messages import Call, DispatchRequest, DispatchResponse, RunResponse
from dispatcher.protocol.signing import RUN_PATH, content_digest
from dispatcher.protocol.statuses import Status
from tests.acceptance.functions import (
    DISPATCH,
    PROTO,
    Endpoint,
    Http,
    Run,
    exits,
    fails,
    is_first,
    polls,
)

ENDPOINT = os.environ["DISPATCH_ENDPOINT_URL"]
_HOST, _, _PORT = os.environ["DISPATCH_ENDPOINT_ADDR"].rpartition(":")
_runs: Counter[str] = Counter()


def say(text: str) -> None:
    """Print a line, at once."""
    print(text, flush=True)


def verify(run: Run) -> None:
    """Look at the signature.

    Raises:
        Exception: it is missing or wrong.
    """
    (key,) = read_verification_keys(os.environ["DISPATCH_VERIFICATION_KEY"])
    headers = run.headers
    label, _, params = headers["signature-input"].partition("=")
    assert headers["content-digest"].encode() == content_digest(run.body)
    base = (
        f'"@method": POST\n"@path": {RUN_PATH}\n"@authority": {headers["host"]}\n'
        f'"content-type": {headers["content-type"]}\n"content-digest": '
        f'{headers["content-digest"]}\n"@signature-params": {params}'
    )
    signature = headers["signature"].removeprefix(f"{label}=:").removesuffix(":")
    key.verify(b64decode(signature), base.encode())


def answer(run: Run) -> RunResponse | Http:
    """What a run is answered with."""
    function = run.request.function
    _runs[run.request.dispatch_id] += 1
    if "--unverified" not in sys.argv:
        verify(run)
    say(f"run {function} {'first' if is_first(run) else 'resumed'}")
    match function:
        case "pair" if is_first(run):
            return polls(_call("greet"), _call("greet"), min_results=2)
        case "crowd" if is_first(run):
            greets, held = [_call("greet") for _ in range(50)], [_call("held") for _ in range(2)]
            return polls(*greets, *held, min_results=52, max_results=52)
        case "held" if is_first(run):
            return polls(Call(endpoint="promise:go", function="go"))
        case "flaky" if _runs[run.request.dispatch_id] < 3:
            return fails(Status.TEMPORARY_ERROR.value, "OSError", "the service is away")
        case "wrong":
            return fails(Status.PERMANENT_ERROR.value, "ValueError", "no such name")
    return exits(b"hello")


def _call(function: str) -> Call:
    return Call(endpoint=ENDPOINT, function=function)


def dispatch(function: str) -> str:
    """Dispatch a call. Returns its id."""
    request = urllib.request.Request(
        os.environ["DISPATCH_API_URL"] + DISPATCH,
        DispatchRequest(calls=[_call(function)]).SerializeToString(),
        {"Content-Type": PROTO, "Authorization": f"Bearer {os.environ['DISPATCH_API_KEY']}"},
    )
    with urllib.request.urlopen(request, timeout=20) as answered:
        return DispatchResponse.FromString(answered.read()).dispatch_ids[0]


def main() -> None:
    """Serve until SIGINT."""
    ended = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: ended.set())
    if "--stuck" in sys.argv:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--child" in sys.argv:
        child = subprocess.Popen(["sleep", "600"])
        say(f"child {child.pid}")
    with Endpoint(answer, int(_PORT)):
        say(f"listens, process {os.getpid()}, check {os.environ.get('DISPATCH_CHECK', 'off')}")
        for function in sys.argv[1:]:
            if not function.startswith("--"):
                say(f"dispatched {function} {dispatch(function)}")
        ended.wait()
    say("bye")


if __name__ == "__main__":
    main()
