"""What a record of the results' log says, for people (`dispatcher log dump`)."""

from __future__ import annotations

from collections.abc import Iterable
from struct import error as StructError  # noqa: N812  # as other exceptions are spelled

from dispatcher.core.instants import rfc3339
from dispatcher.functions.results.records import (
    ResultKind,
    decode_forgotten,
    decode_known,
    decode_result,
    parts_of_key,
    result_facts,
)
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import RecordError
from dispatcher.queue.records.shown import Shown


def is_of_results(payload: bytes) -> bool:
    """Whether a record is of a kind that only the results' log has."""
    return bool(payload) and payload[0] in ResultKind.__members__.values()


def show_result_record(payload: bytes, *, partition: int = 0) -> Shown:
    """Return the fields of such a record. One that cannot be read says so in `unreadable`."""
    kind = ResultKind(payload[0])
    shown: Shown = {"kind": kind.name.lower()}
    try:
        return {**shown, **_fields(kind, payload, partition)}
    except (RecordError, StructError, ValueError, IndexError) as error:
        return {**shown, "unreadable": str(error)}


def _fields(kind: ResultKind, payload: bytes, partition: int) -> Shown:
    if kind is ResultKind.RESULT:
        return _result(payload, partition)
    if kind is ResultKind.FORGOTTEN:
        return {"ids": _ids(decode_forgotten(payload), partition)}
    found = list(decode_known(payload))
    return {
        "first": _ids(((one.incarnation, one.low) for one in found), partition),
        "last": _ids(((one.incarnation, one.high) for one in found), partition),
    }


def _result(payload: bytes, partition: int) -> Shown:
    result, facts = decode_result(payload), result_facts(payload)
    shown: Shown = {
        "id": _id(parts_of_key(result.key), partition),
        "function": result.function,
        "endpoint": result.endpoint,
        "how": result.how.name.lower(),
        "ended_at": rfc3339(result.ended_us),
        "result_bytes": facts.size_bytes,
    }
    return shown | ({"chunks": len(facts.chunks)} if facts.chunks else {})


def _ids(names: Iterable[tuple[int, int]], partition: int) -> list[str]:
    return [_id(one, partition) for one in names]


def _id(name: tuple[int, int], partition: int) -> str:
    return wire_id(partition, *name).decode()
