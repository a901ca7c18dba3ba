"""The clients: how each is started, and told of its proxy in the way of its kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.proxy_clients.environment import compile_go, environment, undici

PROGRAMS = Path(__file__).parent / "programs"
NAMES = (
    *("curl", "requests", "httpx", "urllib", "go"),
    *("java-urlconnection", "java-httpclient", "node-http", "node-fetch"),
)
_TIMEOUT_S = 120
_OF_A_PROXY = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is, and the key for it, if it needs one. `tunnels` says whether URLs with
    `https` go there too."""

    host: str
    port: int
    key: str = ""
    tunnels: bool = False

    @property
    def variable(self) -> dict[str, str]:
        """The environment of a program that is to use it."""
        key = f"any:{self.key}@" if self.key else ""
        url = f"http://{key}{self.host}:{self.port}"
        return {"http_proxy": url} | ({"https_proxy": url} if self.tunnels else {})

    @property
    def properties(self) -> list[str]:
        """The same for Java, which has properties in place of variables."""
        key = [f"-Dkey={self.key}"] if self.key else []
        schemes = ("http", "https") if self.tunnels else ("http",)
        hosts = [f"-D{scheme}.proxyHost={self.host}" for scheme in schemes]
        ports = [f"-D{scheme}.proxyPort={self.port}" for scheme in schemes]
        return [*hosts, *ports, *key]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was answered."""

    status: int
    id: str


@dataclass(frozen=True, slots=True)
class Client:
    """A client that can be started. `command` makes its command and what is added to its
    environment, of the proxy (None: directly)."""

    command: Callable[[Proxy | None], tuple[list[str], Mapping[str, str]]]

    def send(
        self,
        *urls: str,
        proxy: Proxy | None,
        method: str = "POST",
        body: str = "",
        header: str = "-",
    ) -> list[Answer]:
        """Send a request to each URL, one after the other, and return the answers.

        Raises:
            AssertionError: the client failed, and said why.
        """
        command, more = self.command(proxy)
        theirs = {name: value for name, value in os.environ.items() if not _is_of_a_proxy(name)}
        ended = subprocess.run(
            [*command, method, body, header, *urls],
            env={**theirs, **more},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        found = [line.partition(" ") for line in ended.stdout.splitlines()]
        return [Answer(int(status), number.strip()) for status, _, number in found]


def _is_of_a_proxy(name: str) -> bool:
    return name.lower() in _OF_A_PROXY


class Missing(Exception):
    """A program is not installed that a client needs."""


class Clients:
    """Makes clients, and what they need once. `directory` is for what is compiled."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._makers: Mapping[str, Callable[[], Client]] = {
            "curl": self._curl,
            "requests": lambda: _python("client_requests.py"),
            "httpx": lambda: _python("client_httpx.py"),
            "urllib": lambda: _python("client_urllib.py"),
            "go": self._go,
            "java-urlconnection": lambda: self._java("UrlConnection"),
            "java-httpclient": lambda: self._java("NewClient"),
            "node-http": lambda: self._node("client_http.mjs"),
            "node-fetch": self._node_fetch,
        }
        self._made: dict[str, Client] = {}

    def client(self, name: str) -> Client:
        """Return a client of this name.

        Raises:
            Missing: it cannot be started here.
        """
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def _curl(self) -> Client:
        curl = _program("curl")
        begin = ["bash", str(PROGRAMS / "client_curl.sh"), curl]
        return Client(lambda proxy: (begin, _variable(proxy)))

    def _go(self) -> Client:
        program = self._directory / "client"
        tools = environment()
        compile_go(tools, PROGRAMS / "client.go", program)
        return Client(lambda proxy: ([str(program)], _variable(proxy)))

    def _java(self, name: str) -> Client:
        java, compiler = _program("java"), _program("javac")
        source = str(PROGRAMS / f"{name}.java")
        subprocess.run([compiler, "-d", self._directory, source], check=True, timeout=_TIMEOUT_S)
        begin = [java, "-XX:TieredStopAtLevel=1", "-cp", str(self._directory)]
        return Client(lambda proxy: ([*begin, *(proxy.properties if proxy else ()), name], {}))

    def _node(self, program: str) -> Client:
        # Beside what is compiled: Node looks for packages in the directory of the program.
        begin = [str(environment().node), str(shutil.copy(PROGRAMS / program, self._directory))]
        return Client(lambda proxy: (begin, {"NODE_USE_ENV_PROXY": "1", **_variable(proxy)}))

    def _node_fetch(self) -> Client:
        try:
            (self._directory / "node_modules").symlink_to(undici())
        except subprocess.SubprocessError as error:
            raise Missing(f"undici cannot be installed: {error}") from error
        return self._node("client_fetch.mjs")


def _python(program: str) -> Client:
    begin = [sys.executable, str(PROGRAMS / program)]
    return Client(lambda proxy: (begin, _variable(proxy)))


def _variable(proxy: Proxy | None) -> Mapping[str, str]:
    return {} if proxy is None else proxy.variable


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found
