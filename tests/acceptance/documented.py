"""The commands of the documentation, and which of them a test may run.

They are those of the shell blocks of README.md, CONTRIBUTING.md and docs/. A page may say anything,
so only programs that are known to be harmless are run; for every other command there is a reason in
`ELSEWHERE`.
"""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass, replace

from tests.acceptance.running import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
SHELLS = {"sh", "bash", "shell"}
SESSIONS = {"console"}

_IMAGE = "needs Docker: tests/container/check.py builds the image, runs it and stops it"
_ROOT = "changes the machine, as root: tests/unit/test_deployment.py looks at the unit itself"
_BACKUP = "needs a place for it: tests/acceptance/test_backup.py makes one and restores it"
_SDK = "needs a package index: tests/dispatch_py installs the SDK and runs applications with it"
_LOGIN = "changes what its user has kept: tests/integration/test_cli_login.py has another home"
_NOTIFY = "needs tables: tests/acceptance/test_notifying.py has two and sends to both"
_RUN = "runs until it is stopped: tests/acceptance/test_cli_run.py starts applications so"
_GROUP = "needs a group: tests/acceptance/test_groups.py has one and sends it"
_INIT = "runs until it is stopped: tests/acceptance/test_cli_init.py starts what init wrote"
_REPLAY = "needs a history: tests/acceptance/test_replay.py makes one and replays it"
_RECEIVING = "runs until it is stopped: tests/acceptance/test_receiving.py starts it, with a secret"
BY_CI = "takes minutes, or needs a package index: .ci/run runs it"
_OF_MACHINES = "on three machines: tests/unit/test_deployment_cluster.py has its file checked"
_NATS_COMMAND = "needs the command line of NATS, and servers"

ELSEWHERE = {
    "dispatcher status": "ends as its server is: tests/acceptance/test_cli_status.py",
    "python3 -m venv .venv && .venv/bin/pip install . && LISTEN=127.0.0.1:8080 .venv/bin/dispatcher"
    " serve": "needs a package index: tests/acceptance/test_wheel.py installs it and runs it",
    "python3 examples/service.py 9000": "runs until it is stopped:"
    " tests/acceptance/test_examples.py starts it and sends it a message",
    "python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[dev]' && .venv/bin/python -m"
    " pytest -n 3 --dist loadfile --no-loadscope-reorder": BY_CI,
    ".venv/bin/pip install '.[otel]'": "needs a package index: the extra dev has the same packages,"
    " and tests/integration/test_tracing.py uses them",
    ".venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy &&"
    " .venv/bin/lint-imports": BY_CI,
    'python3 -m venv app && app/bin/pip install "dispatch-py[fastapi]==0.8.0"'
    ' "http-message-signatures<1" uvicorn': _SDK,
    "export DISPATCH_API_URL=http://127.0.0.1:8081 DISPATCH_API_KEY=any": _SDK,
    "export DISPATCH_ENDPOINT_URL=http://127.0.0.1:8000"
    ' DISPATCH_VERIFICATION_KEY="$(.venv/bin/dispatcher keys show)"': _SDK,
    'export DISPATCH_VERIFICATION_KEY="$(.venv/bin/dispatcher keys show)"': _SDK,
    "app/bin/uvicorn app:web --port 8000": _SDK,
    "DISPATCH_API_URL=http://HOST:8081 DISPATCH_BRIDGE_URL=http://HOST:8081"
    " DISPATCH_API_KEY=SECRET dispatch run -- uvicorn app:web": "needs that program:"
    " tests/dispatch_py/test_bridge.py has a client that does the same",
    "sudo apt-get install nginx wrk strace": _ROOT,
    ".venv/bin/python -m benchmarks.throughput": "takes minutes and a quiet machine:"
    " tests/unit/test_benchmarks.py runs what the scripts are made of",
    "dispatcher login https://dispatcher.example.com": _LOGIN,
    "dispatcher logout": _LOGIN,
    "dispatcher notify test": _NOTIFY,
    "dispatcher notify test 2": _NOTIFY,
    "dispatcher run -- python app.py": _RUN,
    "dispatcher run --session hello -- python app.py": _INIT,
    "dispatcher init hello && cd hello": _INIT,
    ".venv/bin/dispatcher init hello && cd hello": _INIT,
    "../.venv/bin/dispatcher run --session hello -- ../.venv/bin/python app.py": _INIT,
    "dispatcher run --session shop --reload -- python app.py": _RUN,
    "dispatcher run --endpoint 127.0.0.1:8000 -- uvicorn app:web --port 8000": _RUN,
    "dispatcher run --api-url http://HOST:8081 --session shop -- uvicorn app:web": _RUN,
    "dispatcher replay --since 2h --destination https://example.com --dry-run": _REPLAY,
    "dispatcher replay --since 2h --destination https://example.com --rate 50/s": _REPLAY,
    "dispatcher replay --since 2026-01-31 --until 2026-01-31T12:00:00Z"
    " --to https://new.example.com": _REPLAY,
    "curl -i http://127.0.0.1:8080/new -H 'X-Dispatcher-Origin-Host: group:orders'"
    " -d '{\"id\": 7}'": _GROUP,
    "uvicorn app:app --port 9000": _RECEIVING,
    "flask --app app run --port 9000": _RECEIVING,
    'export WEBHOOK_SECRET="whsec_$(openssl rand -base64 32)"': _RECEIVING,
    "docker build -t dispatcher .": _IMAGE,
    "docker run --detach --name dispatcher --restart unless-stopped --stop-timeout 20"
    " -p 127.0.0.1:8080:80 -v dispatcher-data:/var/lib/dispatcher dispatcher": _IMAGE,
    "docker run --rm -v dispatcher-data:/var/lib/dispatcher dispatcher log verify": _IMAGE,
    "docker build --build-arg BASE=registry.example.com/python:3.13-slim --build-arg"
    " PIP_INDEX_URL=https://pypi.example.com/simple -t dispatcher .": _IMAGE,
    "sudo python3 -m venv /opt/dispatcher && sudo /opt/dispatcher/bin/pip install .": _ROOT,
    "sudo install -m 0644 config/systemd/dispatcher.sysusers.conf"
    " /usr/lib/sysusers.d/dispatcher.conf": _ROOT,
    "sudo install -m 0644 config/systemd/dispatcher.service /etc/systemd/system/": _ROOT,
    "sudo install -D -m 0600 config/systemd/environment /etc/dispatcher/environment": _ROOT,
    "sudo systemd-sysusers && sudo systemctl daemon-reload && sudo systemctl enable --now"
    " dispatcher": _ROOT,
    "sudo -u dispatcher TRANSACTION_LOG=/var/lib/dispatcher/transaction.log"
    " /opt/dispatcher/bin/dispatcher log verify": _ROOT,
    "dispatcher backup /mnt/backups/2026-01-31": _BACKUP,
    "dispatcher restore /mnt/backups/2026-01-31": _BACKUP,
    "kubectl apply -f config/kubernetes/dispatcher.yaml": "needs a cluster:"
    " tests/unit/test_deployment.py looks at the file itself",
    "export NAME=nats1 PASSWORD=n0123456789abcdef": _OF_MACHINES,
    'export ROUTES="[nats://route:$PASSWORD@10.0.0.1:6222, nats://route:$PASSWORD@10.0.0.2:6222,'
    ' nats://route:$PASSWORD@10.0.0.3:6222]"': _OF_MACHINES,
    "nats-server -c /etc/nats.conf": _OF_MACHINES,
    "nats account backup --force --server nats://dispatcher:PASSWORD@10.0.0.1:4222"
    " /mnt/backups/2026-01-31": _NATS_COMMAND,
    "nats account restore --server nats://dispatcher:PASSWORD@10.0.0.1:4222"
    " /mnt/backups/2026-01-31": _NATS_COMMAND,
}
"""Commands that no test here runs, each as one line, and why."""

HARMLESS = {
    "dispatcher",
    "jq",
    "sort",
    "uniq",
    "tar",
    "mkdir",
    ".venv/bin/python -m pytest",
}
"""Programs that may be run, and curl: they change nothing outside of a test's directory, nor go
beyond the addresses that are put in. Whatever else a page may say is not tried out."""

AFTER_STOP = re.compile(r"log repair|\btar\b|\brestored\b")
"""Commands that are for a server that was stopped."""
SERVES = re.compile(r"([A-Z_]+=\S+ )*dispatcher( serve)?")
"""Commands that are a server themselves."""
LOOKS = re.compile(
    r"dispatcher (stats|explain|dead list|dead groups|dead purge .*--dry-run|log verify)\b"
    r"[^|]*"
)
"""Commands that change nothing and only show: what they print is compared with the page."""

_TO_PROXY = re.compile(r"http_proxy=http://(any:SECRET@)?localhost:3128")
_BY_PROXY = "http://shop.example.com/"
"""What curl may be told to ask that proxy for: the proxy is this machine's."""

_VARIES = {
    r"\b[0-9a-f]{28}\b": "ID",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z": "TIME",
    r"https?://[^\s/`]+": "DESTINATION",
    r"(?<= )/\S*": "PATH",
    r"\b[0-9.]+ ([KMG]i)?B\b": "SIZE",
    r"\b\d+\b|(?<=http_)\d+": "NUMBER",
    r"  +": "  ",
}
"""What differs from one run to the next, and between the pages and here. Blanks fill columns."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `output` is what the page shows under it, `exit_code` what it then shows for
    `echo $?`."""

    page: str
    text: str
    output: str = ""
    exit_code: int | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the page shows it failing."""
        return self.output.startswith("dispatcher: error: ")


def is_harmless(command: Command) -> bool:
    """Whether all programs of a command are harmless; curl is when it asks this machine."""
    if re.search(r"`|\$\(", command.text):
        return False
    lexer = shlex.shlex(command.text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return all(_is_harmless(words) for words in _simple_commands(list(lexer)))


def _simple_commands(words: list[str]) -> list[list[str]]:
    """Split at pipes and `&&`; any other operator is left in and is no program's name."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("|", "&&"):
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def _is_harmless(words: list[str]) -> bool:
    is_proxied = False
    while words and re.match(r"[A-Z_]+=|http_proxy=", words[0]):
        is_proxied |= _TO_PROXY.fullmatch(words[0]) is not None
        words = words[1:]
    if not words or any(re.fullmatch(r"[();<>|&]+", word) for word in words):
        return False
    if words[0] == "curl":
        text = " ".join(words)
        if is_proxied and _BY_PROXY in text and "://" not in text.replace(_BY_PROXY, ""):
            return True
        hosts = {host for word in words for host in re.findall(r"^https?://([^/:]*)", word)}
        return hosts in ({"localhost"}, {"127.0.0.1"})
    return words[0] in HARMLESS or " ".join(words[:3]) in HARMLESS


def commands_in(page: str, text: str) -> list[Command]:
    """The commands of the shell blocks of a page, in order."""
    found: list[Command] = []
    for language, block in re.findall(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        joined = re.sub(r"\s*\\\n\s*", " ", block)
        if language in SHELLS:
            lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
            found += [Command(page, line) for line in lines]
        elif language in SESSIONS:
            found += _session(page, joined)
    return found


def _session(page: str, block: str) -> list[Command]:
    """What was typed after each prompt, with what was answered."""
    found: list[Command] = []
    for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        text, _, output = typed.partition("\n")
        if text == "echo $?":
            found[-1] = replace(found[-1], exit_code=int(output))
        else:
            found.append(Command(page, text, output.strip()))
    return found


def shape(output: str) -> list[str]:
    """The lines of an output without what differs from run to run; rows that look the same come
    once."""
    for pattern, name in _VARIES.items():
        output = re.sub(pattern, name, output)
    return [line for line, _ in itertools.groupby(output.strip().splitlines())]


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


COMMANDS = [command for page in PAGES for command in commands_in(page, read(page))]


def kind(command: Command) -> str:
    """How a command is run: one word for each test of `test_documented_commands.py`."""
    if command.text in ELSEWHERE:
        return "elsewhere"
    if command.is_refused:
        return "refused"
    if AFTER_STOP.search(command.text):
        return "after_stop"
    if command.text.startswith(".venv/bin/"):
        return "checkout"
    if SERVES.fullmatch(command.text):
        return "serving"
    is_endless = re.match(r"dispatcher (tail(?!.* -n)|.* --watch)", command.text)
    return "endless" if is_endless else "beside"


def all_of(wanted: str) -> list[Command]:
    """The harmless commands of a kind, in order. Those that are documented twice come once."""
    found = [one for one in COMMANDS if is_harmless(one) and kind(one) == wanted]
    return list({one.text: one for one in found}.values())


def looking() -> list[Command]:
    """The harmless commands that only look at something and of which a page shows the output."""
    return [
        one
        for one in COMMANDS
        if is_harmless(one)
        and kind(one) == "beside"
        and one.output
        and LOOKS.fullmatch(one.text) is not None
    ]
