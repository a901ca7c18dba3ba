"""A request as a command of `curl` that repeats it.

What is pasted into a shell comes from strangers, so nothing is left to the shell: every argument is
in single quotes, or in `$'…'` where it has bytes that a terminal would not pass on. What curl would
add by itself is taken away (`-H 'Accept:'`), what it would change is said in a way in which it does
not (`--request-target` for a target with `..` or `#`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

INLINE_BYTES: Final = 4096
"""Longer bodies are read from a file: lines of a terminal have an end."""
_EXPECT_ABOVE_BYTES: Final = 1024
"""curl asks before it sends a longer body, which the dispatcher never does."""
_PLAIN_TARGET: Final = re.compile(
    r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]+)?"
)
_DOTS: Final = re.compile(r"/\.{1,2}(/|\?|$)|%2e", re.IGNORECASE)
"""Segments that curl would take away."""
_SAFE: Final = re.compile(r"[A-Za-z0-9._/:-]+")
_OWN: Final = ("accept", "user-agent")
"""What curl adds to every request."""
_NAMED: Final = {
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\\": "\\\\",
    "'": "\\'",
    "!": "\\x21",  # which bash would take for an event of its history
}


@dataclass(frozen=True, slots=True)
class Repeated:
    """A request to repeat.

    `url` is scheme and authority. `headers` are names and values, bytes as Latin-1, `Host` and
    `Content-Length` among them. `body` is all of it, None where it is in the file `body_file`, of
    `size_bytes`.
    """

    method: str
    url: str
    target: str
    headers: Sequence[tuple[str, str]]
    size_bytes: int
    body: bytes | None
    body_file: str


def is_inline(body: bytes) -> bool:
    """Whether a body can be a word of a command."""
    if len(body) > INLINE_BYTES:
        return False
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(one.isprintable() or one in "\n\r\t" for one in text)


def command(request: Repeated) -> str:
    """The command, over several lines, without a line end after the last one."""
    return " \\\n  ".join(_words(request))


def _words(request: Repeated) -> Iterator[str]:
    yield "curl -i" + (" --http1.1" if request.url.startswith("https:") else "")
    has_body = bool(request.size_bytes) or _has_length(request)
    if request.method == "HEAD" and not has_body:
        yield "--head"
    elif request.method != "GET" or has_body:
        yield f"--request {quoted(request.method.encode())}"
    if _PLAIN_TARGET.fullmatch(request.target) and not _DOTS.search(request.target):
        yield quoted((request.url + request.target).encode())
    else:
        yield f"--request-target {quoted(request.target.encode('latin-1'))}"
        yield f"--globoff {quoted(f'{request.url}/'.encode())}"
    authority = request.url.partition("://")[2]
    for name, value in request.headers:
        lower = name.lower()
        if lower != "content-length" and (lower, value) != ("host", authority):
            yield f"-H {_header(name, value)}"
    for name in _unwanted(request, has_body=has_body):
        yield f"-H '{name}:'"
    if request.body is None:
        yield f"--data-binary @{quoted(request.body_file.encode())}"
    elif has_body:
        yield f"--data-raw {quoted(request.body)}"


def _header(name: str, value: str) -> str:
    # `Name:` would take the header away.
    return quoted((f"{name}: {value}" if value else f"{name};").encode("latin-1"))


def _unwanted(request: Repeated, *, has_body: bool) -> Iterable[str]:
    """Headers that curl adds, and the request has not."""
    names = {name.lower() for name, _ in request.headers}
    wanted: list[str] = list(_OWN)
    if has_body:
        wanted.append("content-type")
    if request.size_bytes > _EXPECT_ABOVE_BYTES:
        wanted.append("expect")
    return (name.title() for name in wanted if name not in names)


def _has_length(request: Repeated) -> bool:
    return any(name.lower() == "content-length" for name, _ in request.headers)


def quoted(word: bytes) -> str:
    """A word for a shell (sh, bash, zsh) that stands for these bytes."""
    text = word.decode("utf-8", "surrogateescape")
    if _SAFE.fullmatch(text):
        return text
    if all(one.isprintable() or one == "\n" for one in text):
        return "'" + text.replace("'", "'\\''") + "'"
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character.isprintable():
        return character
    raw = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\x{byte:02x}" for byte in raw)
