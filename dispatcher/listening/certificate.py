"""The certificate that a listener shows: PEM files, read at the start and again on SIGHUP."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from dispatcher.errors import ConfigError

_PROTOCOLS: Final = ["http/1.1"]
_OPEN_FILES: Final = "/proc/self/fd"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was read. `begins_at_s` and `expires_at_s` are in seconds since the epoch;
    two with the same `content` are the same."""

    context: ssl.SSLContext
    begins_at_s: int
    expires_at_s: int
    content: bytes

    def is_valid(self, now_s: float) -> bool:
        """Whether others accept it at this instant, as far as its own dates go."""
        return self.begins_at_s <= now_s <= self.expires_at_s


def read_certificate(
    listener: str, cert: Path, key: Path, protocol: int = ssl.PROTOCOL_TLS_SERVER
) -> Certificate:
    """Read a certificate with those that follow it in its file, and its key. Blocks.

    `listener` is `LISTEN` or `API`, as in the names of its settings; `protocol` is the side of the
    connection that shows it.

    Raises:
        ConfigError: naming the setting, the file, and what is wrong.
    """
    from cryptography import x509  # takes a while, and only those with TLS need it

    names = (f"{listener}_TLS_CERT={cert}", f"{listener}_TLS_KEY={key}")
    files = [_read(names[0], cert), _read(names[1], key)]
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.set_alpn_protocols(_PROTOCOLS)
    try:
        with _as_files(files, (cert, key)) as (cert_again, key_again):
            context.load_cert_chain(cert_again, key_again, password=_refuse)
        found = x509.load_pem_x509_certificate(files[0])
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{', '.join(names)}: {_reason(error)}; expected a certificate, followed by those that "
            "lead to its authority, and the key that belongs to it, without a password, both PEM"
        ) from error
    content = hashlib.sha256(b"\0".join(files)).digest()
    begins_at_s, expires_at_s = (
        int(one.timestamp()) for one in (found.not_valid_before_utc, found.not_valid_after_utc)
    )
    return Certificate(context, begins_at_s, expires_at_s, content)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}; expected a readable PEM file") from error


@contextmanager
def _as_files(contents: Sequence[bytes], paths: Sequence[Path]) -> Iterator[Sequence[str | Path]]:
    """What OpenSSL, which reads private keys from files only, is told to read: files in memory with
    what was read already. Those on disk may be others by now, or lie where reading takes long."""
    if not (hasattr(os, "memfd_create") and os.path.isdir(_OPEN_FILES)):
        yield paths  # on other systems than Linux they are read once more
        return
    with ExitStack() as stack:
        made = []
        for content in contents:
            file = stack.enter_context(open(os.memfd_create("pem"), "wb", buffering=0))
            file.write(content)
            made.append(f"{_OPEN_FILES}/{file.fileno()}")
        yield made


def _refuse() -> NoReturn:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").lower().replace("_", " ")
    return str(error)
