"""Whose certificates are accepted: those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TypeAlias

from dispatcher.delivery.lacking import is_ours

_Stamp: TypeAlias = tuple[int, int, int] | None
"""Inode, size and time of the last change of a file; None where there is none."""


class Trust:
    """The context for TLS connections, made anew when the file of certificates was replaced."""

    __slots__ = ("_context", "_loading", "_stamp")

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._stamp: _Stamp = None
        self._loading = asyncio.Lock()

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
                fresh = await asyncio.to_thread(_client_context)
            except RuntimeError as error:
                raise MemoryError(str(error)) from error
            # OpenSSL says nothing when a file is missing or half written. A context that trusts
            # nobody is not kept, or it would stay so.
            if fresh.cert_store_stats()["x509_ca"]:
                self._context, self._stamp = fresh, stamp
            return self._context or fresh


def _file() -> str:
    paths = ssl.get_default_verify_paths()
    return os.environ.get(paths.openssl_cafile_env, paths.openssl_cafile)


def _stamp() -> _Stamp:
    try:
        found = os.stat(_file())
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _client_context() -> ssl.SSLContext:
    try:
        os.close(os.open(_file(), os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if is_ours(error):  # OpenSSL would not say so, and trust nobody
            raise
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
