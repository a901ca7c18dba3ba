"""What `dispatcher log` does: read a log, and print what is found.

Apart from `log`, which names the commands: this loads the transaction log, which takes longer than
most other commands run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dispatcher.audit.shown import is_of_audit, show_audit_record
from dispatcher.cli import output
from dispatcher.errors import LogCorrupt, LogError
from dispatcher.functions.results.shown import is_of_results, show_result_record
from dispatcher.functions.store.shown import is_of_calls, show_call_record
from dispatcher.node import layout
from dispatcher.node.places import numbers_in, place_of
from dispatcher.queue.records.shown import Shown, as_text, show_record
from dispatcher.settings import Settings
from dispatcher.txlog.files import inspect
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.frame import DATA, offset_of, segment_of
from dispatcher.txlog.files.holes import Loss
from dispatcher.txlog.files.repair import Plan
from dispatcher.txlog.files.scan import Damage, Found
from dispatcher.txlog.files.segment import Sizes, name_of

_DISK: Final = RealDisk()
_SIZES: Final = Sizes()


def verify(path: Path | None, *, as_json: bool = False) -> int:
    """Read the whole log and say whether it is intact; without a path that of each partition.
    Returns the exit code."""
    codes = [_verify(directory, as_json=as_json) for directory in _directories(path)]
    if path is None:
        codes.append(_verify_layout(Settings.load(os.environ).transaction_log, as_json=as_json))
    return max(codes)


def _verify_layout(directory: Path, *, as_json: bool) -> int:
    """The same of the file that says how many partitions there are, where there is one."""
    path = directory / layout.NAME
    if not path.exists():
        return 0
    try:
        found = layout.read_layout(directory)
    except LogCorrupt as error:
        if as_json:
            output.print_json({"file": str(path), "intact": False, "reason": str(error)})
        else:
            print(error)
        return error.exit_code
    if as_json:
        output.print_json({"file": str(path), "intact": True, **found.document})
        return 0
    before = ", ".join(str(one.spread) for one in found.former)
    print(f"{path}: intact, {found.spread} partitions" + (f", before {before}" if before else ""))
    return 0


def _verify(directory: Path, *, as_json: bool) -> int:
    result = inspect.verify(directory, _DISK, _SIZES)
    if as_json:
        output.print_json(_document(directory, result))
        return 0 if isinstance(result, Found) else LogCorrupt.exit_code
    if isinstance(result, Found):
        _show_found(directory, result)
        return 0
    print(_damage_line(directory, result))
    try:
        rest = inspect.plan(directory, _DISK, _SIZES).losses
    except LogError as error:
        print(str(error))
    else:
        for loss in rest:
            if (loss.damage.number, loss.damage.offset) != (result.number, result.offset):
                print(_damage_line(directory, loss.damage))
        print("`dispatcher log repair` says what a repair would lose, and changes nothing.")
    return LogCorrupt.exit_code


def repair(path: Path | None, *, apply: bool, as_json: bool = False) -> None:
    """Say what a repair would lose; with `apply`, do it. Without a path, of each partition.

    Raises:
        LogError: a log is in use, or cannot be repaired; those before it are done.
    """
    for directory in _directories(path):
        _repair(directory, apply=apply, as_json=as_json)


def _repair(directory: Path, *, apply: bool, as_json: bool) -> None:
    if as_json:
        output.print_json(_repaired(directory, apply=apply))
        return
    if not apply:
        planned = inspect.dry_run(directory, _DISK, _SIZES)
        _show_plan(directory, planned, "would be lost")
        if planned.is_needed:
            print("Nothing was changed. --apply does it, and keeps a copy of what it changes.")
        return
    planned, copies = inspect.repair(directory, _DISK, _SIZES)
    _show_plan(directory, planned, "were lost")
    for copy in copies:
        print(f"{copy}: the file as it was")
    if planned.is_needed:
        print(f"{directory}: repaired")


def _repaired(directory: Path, *, apply: bool) -> dict[str, object]:
    """What a repair would lose or lost, for programs. `records` of a loss is null where their
    number is unknown, and an upper bound otherwise."""
    copies: Sequence[Path] = ()
    if apply:
        planned, copies = inspect.repair(directory, _DISK, _SIZES)
    else:
        planned = inspect.dry_run(directory, _DISK, _SIZES)
    return {
        "log": str(directory),
        "applied": apply and planned.is_needed,
        "losses": [
            {
                **_place(directory, loss.damage),
                "records": loss.records,
                "size_bytes": loss.size_bytes,
            }
            for loss in planned.losses
        ],
        "copies": [str(copy) for copy in copies],
    }


def dump(path: Path | None, *, payload: bool, as_json: bool = False) -> int:
    """Print a line for each frame, up to the end or the first damage; without a path, of the log of
    each partition. Returns the exit code."""
    directories = _directories(path)
    codes: list[int] = []
    for directory in directories:
        of_several = {"log": str(directory)} if len(directories) > 1 else {}
        if of_several and not as_json:
            print(f"{directory}:")
        codes.append(_dump(directory, of_several, payload=payload, as_json=as_json))
    return max(codes)


def _dump(
    directory: Path, of_several: Mapping[str, object], *, payload: bool, as_json: bool
) -> int:
    damaged = False
    for line in inspect.dump(directory, _DISK, _SIZES):
        if as_json:
            output.print_json({**of_several, **_frame(line, payload=payload)})
        else:
            record = as_text(_record(line)) if _is_record(line) else ""
            print(output.clean(inspect.describe(line, record)))
            if payload and line.payload:
                print(f"    {line.payload.hex()}")
        damaged = line.damaged
    return LogCorrupt.exit_code if damaged else 0


def _directories(path: Path | None) -> list[Path]:
    if path is not None:
        return [path]
    first = Settings.load(os.environ).transaction_log
    return [place_of(first, number) for number in numbers_in(first)]


def _frame(line: inspect.Line, *, payload: bool) -> dict[str, object]:
    """A line of `dump`, for programs."""
    frame = line.frame
    if frame is None:
        return {"position": line.position, "note": line.note, "damaged": line.damaged}
    shown: dict[str, object] = {
        "position": line.position,
        "sequence": frame.sequence,
        "type": frame.type,
        "length": frame.length,
        "durable_upto": frame.durable_upto,
        "batch": frame.batch,
        "last": bool(frame.flags & 1),
    }
    if _is_record(line):
        shown["record"] = _record(line)
    return {**shown, "payload": line.payload.hex()} if payload else shown


def _is_record(line: inspect.Line) -> bool:
    return line.frame is not None and line.frame.type == DATA


def _record(line: inspect.Line) -> Shown:
    if is_of_audit(line.payload):
        return show_audit_record(line.payload)
    if is_of_results(line.payload):
        return show_result_record(line.payload)
    if is_of_calls(line.payload):
        return show_call_record(line.position, line.payload)
    return show_record(line.position, line.payload)


def _place(directory: Path, damage: Damage) -> dict[str, object]:
    file = str(directory / damage.name)
    return {"file": file, "offset": damage.offset, "reason": damage.reason}


def _document(directory: Path, result: Found | Damage) -> dict[str, object]:
    """What `verify` found, for programs: of several damages the first one."""
    if isinstance(result, Damage):
        return {"log": str(directory), "intact": False, "damage": _place(directory, result)}
    tails = [
        {
            "file": str(directory / name_of(piece.number)),
            "offset": piece.offset,
            "size_bytes": len(piece.data),
        }
        for piece in result.remains
        if piece.torn
    ]
    return {
        "log": str(directory),
        "intact": True,
        "records": result.chain.records,
        "end": result.end,
        "torn_tails": tails,
    }


def _show_found(directory: Path, found: Found) -> None:
    segments = found.active - segment_of(found.first) + 1
    print(
        f"{directory}: intact: {_count(found.chain.records, 'record')} in"
        f" {_count(segments, 'segment')},"
        f" up to offset {offset_of(found.end)} of {name_of(found.active)}"
    )
    for piece in found.remains:
        if piece.torn:
            print(
                f"{directory / name_of(piece.number)}: a torn tail of {len(piece.data)} bytes at"
                f" offset {piece.offset}: the next start cuts it off and keeps a copy."
                " Nobody was told that it was stored."
            )


def _show_plan(directory: Path, planned: Plan, verb: str) -> None:
    for loss in planned.losses:
        print(_damage_line(directory, loss.damage))
        print(f"    {_loss(loss, verb)}")
    if planned.losses:
        print("And then:")
    else:
        print(f"{directory}: there is nothing to repair")
    _show_found(directory, planned.found)


def _loss(loss: Loss, verb: str) -> str:
    if loss.records is None:
        size = f", {loss.size_bytes} bytes," if loss.size_bytes else ""
        return f"an unknown number of records{size} {verb}"
    if not (loss.records or loss.size_bytes):
        return f"nothing {verb.replace('were', 'was')} by that"
    return f"at most {_count(loss.records, 'record')}, {loss.size_bytes} bytes, {verb}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _damage_line(directory: Path, damage: Damage) -> str:
    path = directory / damage.name
    return f"{path}: damaged at offset {damage.offset}: {damage.reason}"
