"""Whose certificates are accepted, and what is shown to a destination that asks for one.

Where no rule says otherwise, those of the system are accepted, or of SSL_CERT_FILE and
SSL_CERT_DIR, and none is shown. The system's are read again when their file was replaced; what a
rule names is read with the rule, so other contents are another `Trust`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from dispatcher.core.rules.rule import PemFile, Rule
from dispatcher.delivery.lacking import is_ours
from dispatcher.errors import ConfigError

_Stamp: TypeAlias = tuple[int, int, int] | None
"""Inode, size and time of the last change of a file; None where there is none."""


class Trust:
    """The context for TLS connections, made anew when the system's certificates were replaced.

    `mark` is different for every content of the files of a rule: what was connected with one
    `Trust` does not carry messages of another.
    """

    __slots__ = ("_context", "_loading", "_rule", "_stamp", "mark")

    def __init__(self) -> None:
        """That of the system."""
        self._rule: Rule | None = None
        self._context: ssl.SSLContext | None = None
        self._stamp: _Stamp = None
        self._loading = asyncio.Lock()
        self.mark = b""

    @staticmethod
    def of_rule(rule: Rule, known: Mapping[bytes, Trust]) -> Trust | None:
        """Read the `ca`, `cert` and `key` of a rule; None where it has none of them. What is
        `known`, by its mark, is returned as it is, and its connections stay in use. Blocks: files
        are read.

        Raises:
            ConfigError: one of them is not what it should be.
        """
        if rule.ca is None and rule.cert is None:
            return None
        mark = _mark(rule)
        if mark in known:
            return known[mark]
        made = Trust()
        made._rule = rule
        made._stamp = _stamp()
        made._context = _client_context(rule)
        made.mark = mark
        return made

    async def context(self) -> ssl.SSLContext:
        """Return the context that is valid now.

        Raises:
            OSError: the certificates cannot be opened, for want of a descriptor or memory.
            MemoryError: they cannot be read, for want of a thread.
        """
        async with self._loading:  # many may wait for the first one
            stamp = _stamp()
            if self._context is not None and stamp == self._stamp:
                return self._context
            try:
                fresh = await asyncio.to_thread(_client_context, self._rule)
            except RuntimeError as error:
                raise MemoryError(str(error)) from error
            except ConfigError:
                # The certificate of the rule is being replaced; SIGHUP will say when that is done.
                assert self._context is not None
                return self._context
            # OpenSSL says nothing when a file is missing or half written. A context that trusts
            # nobody is not kept, or it would stay so.
            if fresh.cert_store_stats()["x509_ca"]:
                self._context, self._stamp = fresh, stamp
            return self._context or fresh


def _mark(rule: Rule) -> bytes:
    digest = hashlib.sha256()
    for file in (rule.ca, rule.cert, rule.key):
        content = b"" if file is None else file.content
        digest.update(b"%d " % len(content) + content)
    return digest.hexdigest().encode()


def _file() -> str:
    paths = ssl.get_default_verify_paths()
    return os.environ.get(paths.openssl_cafile_env, paths.openssl_cafile)


def _stamp() -> _Stamp:
    try:
        found = os.stat(_file())
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _client_context(rule: Rule | None) -> ssl.SSLContext:
    ca = None if rule is None else rule.ca
    context = _trusting_system() if ca is None else _trusting(ca)
    if rule is not None and rule.cert is not None:
        _show(context, rule.cert, rule.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _trusting_system() -> ssl.SSLContext:
    try:
        os.close(os.open(_file(), os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if is_ours(error):  # OpenSSL would not say so, and trust nobody
            raise
    return ssl.create_default_context()


# What is wrong with the files of a rule was found when it was read. But OpenSSL reads private keys
# from files only, so they are read once more, and have to be what they were.


def _trusting(ca: PemFile) -> ssl.SSLContext:
    with _unchanged(ca):
        return ssl.create_default_context(cafile=ca.path)


def _show(context: ssl.SSLContext, cert: PemFile, key: PemFile | None) -> None:
    with _unchanged(cert, key or cert):
        context.load_cert_chain(cert.path, None if key is None else key.path, _no_passphrase)


@contextmanager
def _unchanged(*files: PemFile) -> Iterator[None]:
    try:
        yield
        changed = not all(map(_is_unchanged, files))
    except OSError:
        changed = True
    if changed:
        paths = " or ".join(file.path for file in dict.fromkeys(files))
        raise ConfigError(f"{paths} changed while it was read; expected files that are complete")


def _is_unchanged(file: PemFile) -> bool:
    with open(file.path, "rb") as opened:
        return opened.read() == file.content


def _no_passphrase() -> str:
    """In place of OpenSSL's question at the terminal, which would wait for ever."""
    return ""
