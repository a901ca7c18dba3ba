"""Accounts of NATS for tests: an operator, an account with JetStream, and a file of credentials.

The documents are JWTs whose algorithm is `ed25519-nkey`, as `nsc` makes them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nkeys


@dataclass(frozen=True, slots=True)
class Accounts:
    """`configuration` is what a server of the operator has in its file; `credentials` is the file
    of a user of the account."""

    configuration: str
    credentials: Path


def make_accounts(directory: Path) -> Accounts:
    """Make all of it anew."""
    operator, account, system, user = (
        nkeys.from_seed(nkeys.encode_seed(os.urandom(32), prefix))
        for prefix in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
        )
    )
    everything = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    open_limits = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1}
    limits = {**open_limits, "payload": -1, "wildcards": True}
    of_operator = _signed(operator, operator, "operator", {"system_account": _name(system)})
    of_account = _signed(account, operator, "account", {"limits": limits | everything})
    of_system = _signed(system, operator, "account", {"limits": limits})
    of_user = _signed(user, account, "user", {"subs": -1, "data": -1, "payload": -1})
    credentials = directory / "user.creds"
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    configuration = (
        f"operator: {of_operator}\nsystem_account: {_name(system)}\nresolver: MEMORY\n"
        f"resolver_preload: {{\n {_name(account)}: {of_account}\n"
        f" {_name(system)}: {of_system}\n}}\n"
    )
    return Accounts(configuration, credentials)


def _name(key: Any) -> str:
    public: bytes = key.public_key
    return public.decode()


def _signed(of: Any, by: Any, kind: str, says: dict[str, Any]) -> str:
    claims = {"iat": 1, "iss": _name(by), "name": kind, "sub": _name(of)}
    claims["nats"] = says | {"type": kind, "version": 2}
    digest = hashlib.sha256(json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    header = _encoded({"typ": "JWT", "alg": "ed25519-nkey"})
    text = f"{header}.{_encoded(claims)}"
    return f"{text}.{_bare(by.sign(text.encode()))}"


def _encoded(fields: dict[str, Any]) -> str:
    return _bare(json.dumps(fields).encode())


def _bare(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
