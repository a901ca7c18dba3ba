"""`dispatcher run` as a process: an application beside a server of its own, and how both end."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.local_run import SECONDS, Local
from tests.acceptance.receiver import eventually
from tests.acceptance.running import ROOT
from tests.acceptance.served import ServerProcess
from tests.integration.cli_terminal import INTERRUPT, Terminal

APPLICATION = str(Path(__file__).with_name("local_application.py"))


Start = Callable[..., Local]


@pytest.fixture
def application(tmp_path: Path) -> Start:
    """Runs the application with these functions, in a directory of the test."""

    def start(*words: str, options: tuple[str, ...] = ()) -> Local:
        return Local(tmp_path, list(options), [sys.executable, APPLICATION, *words])

    return start


def lives(process: int) -> bool:
    """Whether a process runs."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def resolve(promise: str, url: str, key: str) -> None:
    """Complete a promise, as another terminal could."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/promises/{promise}", b"7", headers)
    urllib.request.urlopen(request, timeout=SECONDS).close()


def test_run_serves_calls_and_tells_of_them_until_interrupted(application: Start) -> None:
    """The variables that it sets are all that an application needs, signatures included. Ctrl-C
    ends the application, and its exit code is the run's."""
    with application("pair", "wrong", "--child", options=("--check",)) as run:
        child = int(run.until(r"child (\d+)")[1])
        run.until(r"^local_application.py \| listens, process \d+, check 1$")
        run.until(r"^dispatcher           \| [\d:.]+Z  suspended    \w+  pair  waits for 2 calls$")
        run.until(r"  ended        \w+  pair  succeeded after [\d.]+ m?s$")
        run.until(r"  ended        \w+  wrong  failed after [\d.]+ m?s: ValueError: no such name$")
        run.signal(signal.SIGINT)
        assert run.wait() == 0
        assert "bye" in run.text
        assert "Traceback" not in run.text
        assert not lives(child)
        assert list(run.temporary.iterdir()) == []


_CLOCK = """\
import asyncio, time
import dispatcher.sdk as dispatch

@dispatch.function(durable=True)
async def clock() -> float:
    return time.time()

app = dispatch.Dispatch(clock)

async def main():
    async with app.serving():
        await clock()
        await clock()

asyncio.run(main())
"""
_READS = (
    r"^app.py +\| .*clock \(call \w+\) reads the clock, at \S*app.py:6 in clock\. A replay "
    r"reads another time\. Write dispatch\.now\(\), or read it in a step\.$"
)


def test_run_names_what_a_function_must_not_do(tmp_path: Path) -> None:
    """Once, with the line, and what to write; the calls go on."""
    (tmp_path / "app.py").write_text(_CLOCK)
    with Local(tmp_path, [], [sys.executable, "app.py"]) as run:
        run.until(_READS)
        run.until(r"ended        \w+  clock  succeeded")
        run.until(r"ended        \w+  clock  succeeded")
        assert run.wait() == 0
        assert run.text.count("reads the clock") == 1
        assert "was replayed" not in run.text


def test_run_replays_what_a_function_does_when_it_checks(tmp_path: Path) -> None:
    """And says where that came to something else; the call goes on."""
    (tmp_path / "app.py").write_text(_CLOCK)
    with Local(tmp_path, ["--check"], [sys.executable, "app.py"]) as run:
        run.until(_READS)
        run.until(r"^app.py +\| .*clock \(call \w+\) was replayed at once, to check it, and went ")
        run.until(r"ended        \w+  clock  succeeded")
        assert run.wait() == 0


def test_run_draws_the_tree_of_calls_on_a_terminal(tmp_path: Path) -> None:
    """Below what the application prints, and once more at the end; Ctrl-C is not the application's
    alone."""
    place = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = (sys.executable, APPLICATION, "pair", "wrong", "held")
    with Terminal("run", "--", *command, **place) as terminal:
        terminal.until("waits for somebody to complete it")
        terminal.press(INTERRUPT)
        assert terminal.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.shown)
    last = plain.rpartition("call          attempts  duration")[2]
    assert "local_application.py │ bye" in plain
    rows = [line.split() for line in last.splitlines() if line.strip()]
    assert [row[:3] for row in rows[:4]] == [
        ["✔", "pair", "1"],
        ["✗", "wrong", "1"],
        ["•", "held", "1"],
        ["•", "go", rows[3][2]],
    ]
    assert "2 calls below" in last
    assert "ValueError: no such name" in last
    assert "2 calls have not ended, and are gone: --session NAME keeps them." in last


def test_run_kills_what_does_not_end_when_interrupted_twice(application: Start) -> None:
    """The command and its children. What has not ended is gone, and that is said."""
    with application("held", "--stuck", "--child") as run:
        child = int(run.until(r"child (\d+)")[1])
        run.until(r"suspended    \w+  held")
        run.signal(signal.SIGTERM)
        run.until(r"local_application.py has not ended yet. Ctrl-C again kills it.$")
        assert lives(child)
        run.signal(signal.SIGINT)
        assert run.wait() == 128 + signal.SIGKILL
        assert not lives(child)
        assert list(run.temporary.iterdir()) == []


def test_nothing_outlives_a_run_that_is_killed(application: Start) -> None:
    """The application, its child, the server, the temporary directory."""
    with application("held", "--child") as run:
        child = int(run.until(r"child (\d+)")[1])
        run.until(r"suspended    \w+  held")
        others = [child, *run.processes()]
        assert len(others) == 4  # with the guard
        run.signal(signal.SIGKILL)
        eventually(lambda: not any(map(lives, others)))
        assert list(run.temporary.iterdir()) == []


def test_session_goes_on_when_its_run_was_killed(application: Start, tmp_path: Path) -> None:
    """Calls, keys and addresses are those from before; nobody else may have it meanwhile."""
    named = ("--session", "shop")
    with application("held", options=named) as run:
        run.until(r"suspended    \w+  held")
        before = run.own_server()
        with application(options=named) as other:
            assert other.wait() == 4
            said = r"error: session shop is running already, in process \d+\. Stop that one first"
            other.until(said)
        run.signal(signal.SIGKILL)
        run.wait()
    with application(options=named) as run:
        assert run.own_server() == before
        run.until(r"^dispatcher +\| Session shop: 2 calls go on\.$")
        run.until("listens")
        resolve("go", *run.own_server())
        run.until(r"ended        \w+  held  succeeded")
        run.signal(signal.SIGTERM)
        run.wait()
        assert "not ended" not in run.text
    assert (tmp_path / "state" / "dispatcher" / "sessions" / "shop").stat().st_mode & 0o77 == 0


def test_session_says_how_it_goes_on_when_its_server_was_killed(application: Start) -> None:
    """The application is stopped, for there is nobody to run its calls; they are on disk."""
    with application("held", options=("--session", "shop")) as run:
        run.until(r"suspended    \w+  held")
        os.kill(run.server(), signal.SIGKILL)
        assert run.wait() == 1
        run.until(r"The server was ended by SIGKILL; local_application.py is stopped\.$")
        run.until(r"`dispatcher run --session shop -- .*` goes on with what has not ended\.$")


def test_run_starts_anew_when_a_file_changes(tmp_path: Path) -> None:
    """Also a command that has ended; Ctrl-C ends the wait, with the code of the last end."""
    script = tmp_path / "app.py"
    script.write_text("raise SystemExit(3)\n")
    with Local(tmp_path, ["--reload"], [sys.executable, "app.py"]) as run:
        run.until(
            r"app.py ended with 3, before it dispatched or ran a function\. "
            r"It is started anew when a file changes\.$"
        )
        script.write_text("import time\nprint('second')\ntime.sleep(600)\n")
        run.until(r"^dispatcher \| app.py has changed: app.py is started anew\.$")
        run.until(r"^app.py     \| second$")
        script.write_text("print('third', flush=True)\nraise SystemExit(5)\n")
        run.until(r"third(.|\n)*app.py ended with 5")
        run.signal(signal.SIGINT)
        assert run.wait() == 5


def test_run_ends_with_the_exit_code_of_its_command(tmp_path: Path) -> None:
    """What was left behind in the background is ended; that nothing was called is said."""
    script = "sleep 600 & echo pid $!; seq -f %04.0f 5000; printf no-newline; exit 7"
    with Local(tmp_path, [], ["sh", "-c", script]) as run:
        assert run.wait() == 7
        assert "sh         | no-newline\n" in run.text
        numbers = re.findall(r"^sh         \| (\d{4})$", run.text, re.M)
        assert numbers == [f"{number:04}" for number in range(1, 5001)]
        run.until(r"sh ended with 7, before it dispatched or ran a function\.$")
        assert not lives(int(run.until(r"pid (\d+)$")[1]))


def test_run_fetches_its_calls_from_another_server(application: Start, tmp_path: Path) -> None:
    """With the key of an application. What it has not ended waits there for the next run."""
    file = tmp_path / "key"
    file.write_text("application's")
    settings = {"API_KEYS": "me:admin:mine,shop:dispatch:application's", "CALL_RETRY_DELAY": "50"}
    with ServerProcess(tmp_path, **settings) as server:
        url = "http://{}:{}".format(*server.api)
        options = ("--api-url", url, "--key-file", str(file), "--session", "shop")
        with application("pair", "wrong", "held", "--unverified", options=options) as run:
            run.until(rf"^dispatcher +\| Calls run on {url}, in session shop\.$")
            run.until(r"created      \w+  pair$")
            run.until(r"suspended    \w+  pair  waits for 2 calls$")
            run.until(r"run          \w+  pair  attempt 1: ok in \d+ ms$")
            run.until(r"ended        \w+  pair  succeeded after [\d.]+ m?s$")
            run.until(
                r"ended        \w+  wrong  failed after [\d.]+ m?s: ValueError: no such name$"
            )
            run.until(r"suspended    \w+  held")
            run.signal(signal.SIGINT)
            assert run.wait() == 0
            run.until(
                rf"1 call waits there\. `dispatcher run --api-url {url} --session shop -- .* held "
                r"--unverified` goes on\.$"
            )
        with application("--unverified", options=options) as run:
            run.until(r"in session shop, where 1 call waits\.$")
            resolve("go", url, "application's")
            run.until(r"resumed      \w+  held(.|\n)*ended        \w+  held  succeeded")
    with application(options=("--api-url", url)) as run:
        assert run.wait() == 7
        run.until(rf"^dispatcher: error: {url}: Connection refused\.")


def test_run_refuses_an_endpoint_that_is_in_use(tmp_path: Path) -> None:
    """Calls would go to another program."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Local(tmp_path, ["--endpoint", f":{port}"], ["true"]) as run:
            assert run.wait() == 3
            run.until(rf"^dispatcher: error: 127.0.0.1:{port} is in use: stop what listens there\.")
