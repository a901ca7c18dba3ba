"""Everything that is logged: the one list of events.

An event is a method of `Events`: its name is `noun.verbed`, its level says who needs it, its
keyword arguments are the fields of the line, and its docstring is what docs/events.md says of it.
Levels: what goes well is `debug`, a failed attempt `info`, a dead letter `warning`, what a person
must act on `error`; the life of the process is `info`.

Instants are text (RFC 3339), durations and sizes have their unit in their name. No field ever holds
a body, a key or the credentials of a URL.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec

if TYPE_CHECKING:  # a process that has to stay small has events, and not all of this
    from structlog.typing import FilteringBoundLogger

    from dispatcher.telemetry.log import Level
    from dispatcher.telemetry.plain import PlainLog

_Fields = ParamSpec("_Fields")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the list: what docs/events.md shows."""

    name: str
    level: Level
    fields: tuple[str, ...]
    meaning: str


_EVENTS: list[Event] = []


def _event(
    level: Level, name: str
) -> Callable[
    [Callable[Concatenate[Events, _Fields], None]], Callable[Concatenate[Events, _Fields], None]
]:
    """Make a method of a signature and a docstring log an event of that level and name."""

    def make(
        declared: Callable[Concatenate[Events, _Fields], None],
    ) -> Callable[Concatenate[Events, _Fields], None]:
        fields = tuple(inspect.signature(declared).parameters)[1:]
        meaning = " ".join((declared.__doc__ or "").split())
        _EVENTS.append(Event(name, level, fields, meaning))

        def log(self: Events, /, *args: _Fields.args, **fields: _Fields.kwargs) -> None:
            getattr(self._log, level)(name, **fields)

        log.__doc__ = declared.__doc__
        return log

    return make


def _events(
    level: Level, noun: str, verbs: Mapping[str, str]
) -> Callable[
    [Callable[Concatenate[Events, str, _Fields], None]],
    Callable[Concatenate[Events, str, _Fields], None],
]:
    """The same for several events with the same fields: the method is given the verb first. `verbs`
    say what each means."""

    def make(
        declared: Callable[Concatenate[Events, str, _Fields], None],
    ) -> Callable[Concatenate[Events, str, _Fields], None]:
        fields = tuple(inspect.signature(declared).parameters)[2:]
        for verb, meaning in verbs.items():
            _EVENTS.append(Event(f"{noun}.{verb}", level, fields, meaning))

        def log(self: Events, verb: str, /, *args: _Fields.args, **fields: _Fields.kwargs) -> None:
            getattr(self._log, level)(f"{noun}.{verb}", **fields)

        log.__doc__ = declared.__doc__
        return log

    return make


class Events:
    """Logs events. Calls below the level of the log do nothing.

    `is_debug` says whether debug events are written: what happens with every message asks it first,
    because even a call that does nothing has to gather its arguments.
    """

    __slots__ = ("_log", "is_debug")

    def __init__(self, log: FilteringBoundLogger | PlainLog) -> None:
        self._log = log
        self.is_debug = log.is_enabled_for(logging.DEBUG)

    # The process

    @_event("info", "server.starting")
    def server_starting(
        self,
        *,
        version: str,
        pid: int,
        changed: Mapping[str, object],
        settings: Mapping[str, object],
    ) -> None:
        """`settings` (JSON only): all in force, secrets hidden; `changed`: those not at default."""

    @_event("info", "api.key_made")
    def api_key_made(self, *, path: str) -> None:
        """`serve --make-api-key` made a key for the API, in `path`."""

    @_event("warning", "setting.misspelt")
    def setting_misspelt(self, *, variable: str, meant: str) -> None:
        """A variable is not used; probably `meant` was meant."""

    @_event("warning", "key.role_misspelt")
    def key_role_misspelt(self, *, setting: str, key: str, meant: str | None) -> None:
        """An entry of `setting` (`key-2`: its second) looks like `name:role:secret`, but its role
        does not exist: all of it is the secret of an administrator. `meant`: the nearest role."""

    @_event("warning", "setting.reduced")
    def setting_reduced(self, *, setting: str, value: int, in_force: int, descriptors: int) -> None:
        """`descriptors` open files allow `in_force` connections only. Raise the limit
        (`LimitNOFILE=`)."""

    @_event("warning", "signing_key.unkept")
    def signing_key_unkept(self, *, path: str, reason: str) -> None:
        """The key that signs runs of calls cannot be made in `path`: another one is made at every
        start. Set `SIGNING_KEY` to a file that can be written."""

    @_event("warning", "rule.unreached")
    def rule_unreached(self, *, match: str, before: str) -> None:
        """No message ever has the rule `match`: the rule `before` it takes them all. Put the
        narrower one first."""

    @_event("info", "settings.reloaded")
    def settings_reloaded(self, *, replaced: Sequence[str]) -> None:
        """SIGHUP: the keys, certificates and tables of rules `replaced` are in force."""

    @_event("warning", "settings.kept")
    def settings_kept(self, *, reason: str) -> None:
        """SIGHUP changed nothing: the settings or rules are wrong, or no file holds any."""

    @_event("warning", "settings.need_restart")
    def settings_need_restart(self, *, settings: Sequence[str]) -> None:
        """SIGHUP: these changed, and need a restart."""

    @_event("warning", "certificate.not_valid")
    def certificate_not_valid(
        self, *, listener: str, path: str, valid_from: str, valid_until: str
    ) -> None:
        """The certificate in `path`, which `listen` or `api` shows, has expired or is not valid
        yet: who connects refuses it. Renew it, or set the clock right."""

    @_event("debug", "handshake.failed")
    def handshake_failed(self, *, listener: str, reason: str, detail: str, address: str) -> None:
        """A TLS handshake with `listen` or `api`. `reason`: `plain` (no TLS), `unsupported` (no
        common version or cipher), `refused` (by the other side, mostly the certificate), `broken`,
        `timeout`, `closed`."""

    @_event("info", "server.ready")
    def server_ready(
        self,
        *,
        send_to: str,
        dashboard: str,
        listen: Sequence[str],
        proxy_listen: Sequence[str],
        api_listen: str,
        pending: int,
        took_ms: int,
    ) -> None:
        """Messages are accepted at `listen` and `proxy_listen`. `send_to` and `dashboard` are
        addresses for this machine."""

    @_event("info", "server.stopping")
    def server_stopping(self, *, signal: str, in_flight: int | None) -> None:
        """A signal came: `DRAIN_NOTICE` begins, then `DRAIN_TIMEOUT`. With several processes
        `in_flight` is null: each says its own."""

    @_event("warning", "server.abandoned")
    def server_abandoned(self, *, in_flight: int | None) -> None:
        """Attempts did not end in time; they are made again after the next start."""

    @_event("warning", "server.log_abandoned")
    def server_log_abandoned(self, *, pending: int) -> None:
        """A stop did not wait for a disk that does not answer. Some messages may be delivered
        again."""

    @_event("info", "server.stopped")
    def server_stopped(self, *, exit_code: int, pending: int | None) -> None:
        """The last line; `pending` is null if the log was not read yet."""

    @_event("error", "server.crashed")
    def server_crashed(self, *, exc_info: BaseException) -> None:
        """Unforeseen: the server ends with exit code 1. Please report it."""

    # One of several processes. What such a process logs has its number in `process`.

    @_event("info", "process.started")
    def process_started(self, *, process: int, pid: int) -> None:
        """One of several processes of a server begins."""

    @_event("info", "process.ready")
    def process_ready(self, *, pending: int, took_ms: int) -> None:
        """It accepts messages; `server.ready` is logged when all do."""

    @_event("info", "process.stopping")
    def process_stopping(self, *, signal: str, in_flight: int | None) -> None:
        """It was told to stop; `signal` is `none` where what started it is gone."""

    @_event("info", "process.stopped")
    def process_stopped(self, *, exit_code: int, pending: int | None) -> None:
        """Its last line."""

    @_event("error", "process.hung")
    def process_hung(self, *, process: int, pid: int, signal: str) -> None:
        """Its event loop stands still: it is sent `signal`, and writes to standard error where it
        was. Please report it."""

    @_event("error", "process.ended")
    def process_ended(
        self, *, process: int, pid: int, exit_code: int, reason: str | None, restart_in_ms: int
    ) -> None:
        """It ended by itself, with this code, or by a signal (negative), or cannot start for this
        `reason`. What it accepted is delivered by the next one; the others go on."""

    @_event("error", "task.died")
    def task_died(self, *, task: str, exc_info: BaseException) -> None:
        """Unforeseen, in the background: periodic work is tried again, other work stops. Please
        report it."""

    @_event("warning", "library.warned")
    def library_warned(self, *, logger: str, text: str, exc_info: BaseException | None) -> None:
        """A library logged a warning or error."""

    # The logs on disk

    @_event("info", "log.opened")
    def log_opened(self, *, path: str, messages: int, size_bytes: int, took_ms: int) -> None:
        """A log was read; `messages` in it are not settled."""

    @_event("warning", "log.torn_tail_cut")
    def log_torn_tail_cut(self, *, path: str, position: int, size_bytes: int, backup: str) -> None:
        """The incomplete end of a log was cut off, as after a crash; `backup` is a copy."""

    @_event("error", "log.disk_full")
    def log_disk_full(self, *, path: str) -> None:
        """No space for this log. Callers get 503, or (dead-letter log) letters wait in memory."""

    @_event("info", "log.space_again")
    def log_space_again(self, *, path: str) -> None:
        """Everything goes on."""

    @_event("warning", "log.sync_slow")
    def log_sync_slow(self, *, path: str, waiting_ms: int) -> None:
        """A batch waits for more than a second. Said again after ten quick seconds at the
        earliest."""

    @_event("error", "log.disk_stalled")
    def log_disk_stalled(self, *, path: str, waiting_ms: int) -> None:
        """The disk has not answered for five seconds; new callers get 503, unless it is the
        log of dead letters or of results."""

    @_event("info", "log.disk_moves")
    def log_disk_moves(self, *, path: str, waited_ms: int) -> None:
        """It answers again."""

    @_event("error", "log.late")
    def log_late(self, *, path: str, waiting_ms: int) -> None:
        """The servers that a log is on have not answered for two seconds; new callers get 503,
        unless it is the log of dead letters."""

    @_event("info", "log.answers")
    def log_answers(self, *, path: str, waited_ms: int) -> None:
        """They answer again."""

    @_event("info", "backup.made")
    def backup_made(self, *, directory: str, size_bytes: int, took_ms: int) -> None:
        """Copied, synced and checked."""

    @_event("error", "backup.failed")
    def backup_failed(self, *, directory: str, reason: str) -> None:
        """What there was of it is removed."""

    @_event("error", "log.failed")
    def log_failed(self, *, path: str, reason: str) -> None:
        """A write or sync failed. The process ends with exit code 1; look at the disk."""

    @_event("info", "partition.lost")
    def partition_lost(self, *, partition: int, reason: str) -> None:
        """This node lets go of it: another one has its log, or nobody reaches that. What follows is
        `partition.taken` or `partition.in_doubt`."""

    @_event("warning", "cluster.waiting")
    def cluster_waiting(self, *, reason: str) -> None:
        """The start waits for NATS. Once in 10 s while it does."""

    @_event("warning", "cluster.server_unknown")
    def cluster_server_unknown(self, *, monitoring: str) -> None:
        """This NATS server did not say how it is configured, so nobody knows whether what it stores
        is durable. It is asked again; as long as most are known the node goes on."""

    @_event("error", "cluster.server_unfit")
    def cluster_server_unfit(self, *, reason: str) -> None:
        """A NATS server that was away before cannot keep logs. Change its configuration."""

    @_event("info", "cluster.joined")
    def cluster_joined(self, *, node: str, member: int, address: str, partitions: int) -> None:
        """This node is a member of the cluster, which has so many partitions; others reach it at
        `address`."""

    @_event("error", "cluster.number_taken")
    def cluster_number_taken(self, *, node: str) -> None:
        """This node was not heard of for too long, and `node` has taken its number, or a second one
        has its name. It ends with exit code 4, and has to be started anew."""

    @_event("warning", "cluster.store_away")
    def cluster_store_away(self, *, reason: str) -> None:
        """NATS does not answer, or stores nothing, as it has no majority. Within 3 s this node
        starts no attempt until it does."""

    @_event("info", "cluster.store_back")
    def cluster_store_back(self, *, after_ms: int) -> None:
        """It answers, and stores again."""

    @_event("info", "partition.claimed")
    def partition_claimed(self, *, partition: int, epoch: int, former: str) -> None:
        """It is this node's, and its log is being read. `former` is the node that was not heard of
        any more; empty: nobody had it."""

    @_event("info", "partition.opened")
    def partition_opened(self, *, partition: int, epoch: int) -> None:
        """This node accepts messages for it, and delivers them."""

    @_event("info", "partition.released")
    def partition_released(self, *, partition: int) -> None:
        """It was handed over; the next node may have it."""

    @_event("warning", "partition.taken")
    def partition_taken(self, *, partition: int, owner: str) -> None:
        """The node `owner` took it over, as this one was not heard of. Messages that were under way
        may be delivered twice."""

    @_event("warning", "partition.in_doubt")
    def partition_in_doubt(self, *, partition: int, reason: str) -> None:
        """Its log was opened by another node, or does not answer. It is opened again, if it is
        still this node's."""

    @_event("warning", "partition.waits")
    def partition_waits(self, *, partition: int, reason: str) -> None:
        """Its log cannot be opened for the moment, and is tried again each second: look whether the
        NATS servers run, and have space."""

    @_event("error", "partition.failed")
    def partition_failed(self, *, partition: int, reason: str) -> None:
        """Its log cannot be opened: messages in it wait until somebody has seen to it."""

    @_event("info", "peer.connected")
    def peer_connected(self, *, peer: int) -> None:
        """This process can ask that one, `peer`, which is of the same server."""

    @_event("info", "peer.lost")
    def peer_lost(self, *, peer: int, reason: str) -> None:
        """It can't any more, as when that one stops, and tries to connect anew."""

    @_event("error", "peer.misused")
    def peer_misused(self, *, peer: int | None, reason: str) -> None:
        """What came is not of a process of this server, or of another version. It is cut off."""

    @_event("warning", "peer.refused")
    def peer_refused(self, *, address: str, reason: str, detail: str, unheard: int) -> None:
        """The connection with a node at this address was closed before anything was said: `reason`
        is `wrong_key`, `wrong_version`, `not_served`, `not_understood`, `tls`, `late` or `closed`,
        `detail` says what to do. Once in 10 s for a reason; `unheard` are those in between."""

    @_event("error", "message.body_lost")
    def message_body_lost(self, *, path: str, id: str, destination: str) -> None:
        """A repaired log lost a part of this body: the message is gone. Tell its sender."""

    @_event("error", "dead_letter.too_large")
    def dead_letter_too_large(self, *, id: str, destination: str, size_bytes: int) -> None:
        """It is not stored, as no record holds it. What died stays in the transaction log, is not
        sent any more, and dies again after a start. Please report it."""

    # Messages

    @_event("debug", "message.accepted")
    def message_accepted(
        self, *, id: str, method: str, destination: str, size_bytes: int, label: str = ""
    ) -> None:
        """It is durable and was answered 202."""

    @_event("debug", "message.delivered")
    def message_delivered(
        self,
        *,
        id: str,
        destination: str,
        attempt: int,
        status: int,
        duration_ms: int,
        label: str = "",
    ) -> None:
        """Its destination answered with success."""

    @_event("info", "attempt.finished")
    def attempt_finished(
        self,
        *,
        id: str,
        destination: str,
        attempt: int,
        status: int | None,
        error: str | None,
        detail: str,
        duration_ms: int,
        next_attempt_at: str | None,
        label: str = "",
    ) -> None:
        """It failed. `next_attempt_at` is null when there is no other."""

    @_event("warning", "message.dead_lettered")
    def message_dead_lettered(
        self,
        *,
        id: str,
        destination: str,
        attempts: int,
        reason: str,
        last_status: int | None,
        last_error: str | None,
        label: str = "",
    ) -> None:
        """It was given up, and is kept."""

    @_event("warning", "idempotency_keys.dropped")
    def idempotency_keys_dropped(self, *, count: int) -> None:
        """Keys of messages that are done were forgotten before their window was over, as a full
        disk had no space to keep them. The same requests again are stored again."""

    @_event("warning", "dead_letters.dropped")
    def dead_letters_dropped(self, *, count: int, reason: str) -> None:
        """Gone for good, by `DEAD_LETTER_RETENTION` (`age`) or `DEAD_LETTER_MAX_BYTES`
        (`bytes`)."""

    @_event("warning", "destination.breaker_opened")
    def destination_breaker_opened(
        self,
        *,
        destination: str,
        until: str,
        last_status: int | None,
        last_error: str | None,
        detail: str,
    ) -> None:
        """Ten attempts in a row failed, the last one like this: one message at a time is tried from
        then on. Told once, until it has answered."""

    @_event("info", "destination.backed_off")
    def destination_backed_off(self, *, destination: str, until: str, reason: str) -> None:
        """Nothing is sent for a while (`retry_after`). Told once, until it has answered."""

    @_event("info", "destination.reopened")
    def destination_reopened(self, *, destination: str) -> None:
        """It answers again."""

    # Function calls

    @_event("debug", "call.created")
    def call_created(self, *, id: str, endpoint: str, function: str) -> None:
        """It is durable."""

    @_event("debug", "call.ran")
    def call_ran(
        self, *, id: str, endpoint: str, function: str, attempt: int, duration_ms: int
    ) -> None:
        """A run was answered with status OK."""

    @_event("info", "call.run_failed")
    def call_run_failed(
        self,
        *,
        id: str,
        endpoint: str,
        function: str,
        attempt: int,
        status: str,
        detail: str | None,
        duration_ms: int,
        next_run_at: str | None,
    ) -> None:
        """A run was not. `next_run_at` is null when the same is not tried again."""

    @_event("debug", "call.suspended")
    def call_suspended(
        self, *, id: str, endpoint: str, function: str, waits_for: int, until: str | None
    ) -> None:
        """It waits for other calls, or until a time."""

    @_event("debug", "call.resumed")
    def call_resumed(self, *, id: str, endpoint: str, function: str, results: int) -> None:
        """It is to be run again, with so many results at most."""

    @_event("info", "call.restarted")
    def call_restarted(self, *, id: str, endpoint: str, function: str) -> None:
        """Its state cannot be used any more: it begins anew, from its input."""

    @_event("debug", "call.tail_called")
    def call_tail_called(self, *, id: str, endpoint: str, function: str) -> None:
        """`function` named another one that goes on in its place."""

    @_event("debug", "call.cancel_asked")
    def call_cancel_asked(self, *, id: str, endpoint: str, function: str) -> None:
        """An operator, or its caller, wants it to end: it may clean up before."""

    @_event("debug", "call.ended")
    def call_ended(self, *, id: str, endpoint: str, function: str, state: str) -> None:
        """`state` is how."""

    @_event("warning", "call.dead_lettered")
    def call_dead_lettered(
        self,
        *,
        id: str,
        endpoint: str,
        function: str,
        attempts: int,
        reason: str,
        last_error: str | None,
    ) -> None:
        """A root call failed or expired, and is kept."""

    @_event("warning", "call.warned")
    def call_warned(self, *, function: str, what: str) -> None:
        """Something is wrong with calls of a function that its application should see to."""

    @_event("error", "call.lost")
    def call_lost(self, *, path: str, id: str) -> None:
        """A repaired log lost an input, a state or a result of this call: it is gone, or repeats a
        step. Tell who dispatched it."""

    @_event("error", "call.result_lost")
    def call_result_lost(self, *, path: str, id: str) -> None:
        """A repaired log lost the result of this call, which has ended."""

    # Operators

    @_events(
        "info",
        "operator",
        {
            "purged": (
                "Dead letters are gone. `key` is the name of the key shown, or null; `selection` "
                "which were meant; `count` how many it was done to, null where that is not known; "
                "`error` why it failed or was not done to all; `job` the id of the job that did it."
            ),
            "redriven": "Dead letters are ready again. Fields as above.",
            "cancelled": "Messages were cancelled.",
            "retried": "Messages that waited for a time became due, or a destination was probed.",
            "dead_lettered": "Messages that waited are dead letters.",
            "redirected": "Messages that wait go to the destination `to` of `selection`.",
            "held": "Nothing is sent there.",
            "resumed": "A hold has ended.",
            "backup_begun": "`selection` has its directory.",
            "backup_stopped": "A backup was stopped.",
            "exported": "Messages were read with their bodies.",
            "imported": "`count` messages are stored.",
            "replayed": "`count` messages that were delivered are sent again, as new ones.",
            "call_cancelled": "A call is to end. `selection` has its id and the `mode`.",
            "schedule_set": (
                "A schedule was made or changed. `selection` has `application` and `name`, and "
                "`paused` where only that was changed."
            ),
            "schedule_deleted": "A schedule was deleted. `selection` has `application` and `name`.",
            "schedule_run": (
                "The call or message of a schedule was made by hand. `selection` has "
                "`application` and `name`."
            ),
            "revealed": "Secrets in the headers of a message or a schedule were shown.",
            "job_begun": (
                "A job runs for more than a second. Its end is told by the event of what it does, "
                "with the same `job`; after a kill there is none."
            ),
            "job_changed": "The rate of a job that runs is another.",
            "job_cancelled": "A job is to end before its time.",
            "key_made": "A rotation of the key that signs runs has begun.",
        },
    )
    def operated(
        self,
        verb: str,
        *,
        key: str | None,
        selection: Mapping[str, object],
        count: int | None,
        error: str | None,
        job: str | None,
    ) -> None:
        """What an operator did: `operator.VERB`."""

    @_event("info", "operator.key_refused")
    def operator_key_refused(
        self,
        *,
        key: str | None,
        address: str | None,
        method: str,
        path: str,
        error: str,
        untold: int,
    ) -> None:
        """No key or a wrong one (`key_invalid`), or a role that may not do this (`key_forbidden`).
        After ten, one a second; `untold` were left out."""

    # The API

    @_event("error", "audit.unkept")
    def audit_unkept(self, *, reason: str) -> None:
        """What operators do is not written to `audit.log`: it waits in memory, the newest thousand.
        Nothing else is held up."""

    @_event("info", "audit.kept")
    def audit_kept(self, *, lost: int) -> None:
        """It is written again; `lost` were too many to wait."""

    @_event("warning", "job.broken_off")
    def job_broken_off(self, *, id: str, kind: str, done: int, total: int | None) -> None:
        """The server stops, and this job does not go on after the next start: ask for the rest
        again."""

    @_event("error", "job.failed")
    def job_failed(self, *, id: str, kind: str, exc_info: BaseException) -> None:
        """Unforeseen: the job has ended, what it did stays done. Please report it."""

    @_event("error", "api.failed")
    def api_failed(self, *, method: str, path: str, exc_info: BaseException) -> None:
        """Unforeseen: answered 500. Please report it."""


EVENTS: tuple[Event, ...] = tuple(_EVENTS)
"""The list, in the order of the class."""
