"""What a parent and its children have in common, written once, before the parent begins.

A file without a name that all of them inherit: a byte for the turns of their logs (see
`telemetry.output`), a line of JSON (`Plan`), and after it what only children read: the settings and
rules as they were found, and the layout. So a child that is started again has those that the others
have, whatever became of the environment's files meanwhile, and nobody else can read the secrets in
it. What SIGHUP has put into force since lies in another file like it, which a child makes and the
parent keeps for those that it starts.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dispatcher.node.processes.life import Timings

LISTEN: Final = "LISTEN"
API_LISTEN: Final = "API_LISTEN"
PROXY_LISTEN: Final = "PROXY_LISTEN"


@dataclass(frozen=True, slots=True)
class UnixFile:
    """The file of a unix socket, as it was made: it is removed at the end, unless it is another one
    by then."""

    path: str
    device: int
    inode: int

    def remove(self) -> None:
        """Remove it. Never raises."""
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                os.unlink(self.path)
        except OSError:
            pass  # it is gone, or not ours to remove


@dataclass(frozen=True, slots=True)
class Plan:
    """What the parent is to do.

    `version`     of the program that made it; children are to be the same one.
    `processes`   how many children there are.
    `child`       the command that starts one, which is given the rest as arguments.
    `sockets`     descriptors that are listened on, by the name of their setting.
    `unix_files`  the files of those that are unix sockets.
    `began_s`     when the start began, on the monotonic clock.
    `log_level`, `log_format`, `colors`   of the parent's lines.
    `ready`       the fields of `server.ready` that are known before.
    `watchdog_s`  how long systemd waits for a sign of life; None: it does not.
    """

    version: str
    processes: int
    child: Sequence[str]
    timings: Timings
    log_level: str
    log_format: str
    began_s: float = 0.0
    colors: bool = False
    sockets: Mapping[str, Sequence[int]] = field(default_factory=dict)
    unix_files: Sequence[UnixFile] = ()
    ready: Mapping[str, Any] = field(default_factory=dict)
    watchdog_s: float | None = None

    @property
    def descriptors(self) -> list[int]:
        """All that are listened on."""
        return [one for every in self.sockets.values() for one in every]

    def encode(self) -> bytes:
        """Write it as a line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Plan:
        """Read the line that `encode` wrote."""
        fields = json.loads(line)
        files = [UnixFile(**one) for one in fields["unix_files"]]
        return cls(**fields | {"timings": Timings(**fields["timings"]), "unix_files": files})


def write(plan: Plan, common: bytes) -> int:
    """Write both into a new file without a name; return its descriptor, which is inherited."""
    file = _unnamed(b"\0" + plan.encode() + common)
    os.set_inheritable(file, True)
    return file


def write_taken(common: bytes) -> int:
    """Write settings and rules that SIGHUP has put into force into a file like it; return its
    descriptor."""
    return _unnamed(common)


def _unnamed(content: bytes) -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("dispatcher-plan", 0)
    else:
        with tempfile.TemporaryFile() as unnamed:
            file = os.dup(unnamed.fileno())
    with open(os.dup(file), "wb") as writer:
        writer.write(content)
    return file


def read(file: int) -> tuple[Plan, bytes]:
    """Read what `write` wrote. The position in the file is common to all who have it, and is left
    where it is."""
    line, _, common = _content(file)[1:].partition(b"\n")
    return Plan.decode(line), common


def read_taken(file: int) -> bytes:
    """Read what `write_taken` wrote."""
    return _content(file)


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)
