"""What a node has once, in the process that has partition 0: the API, function calls, schedules,
the audit trail, notifications, backups, and what operators look at.

`Server` starts and stops its parts in their order, together with those that deliver messages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from socket import socket
from typing import Final

from dispatcher.api.health import Health
from dispatcher.api.masking import Masking
from dispatcher.api.server import ApiServer
from dispatcher.audit.audit_log import AuditLog
from dispatcher.core.keys import Keyring
from dispatcher.core.rules.table import Rules
from dispatcher.errors import ConfigError
from dispatcher.functions.config import Events as FunctionEvents
from dispatcher.functions.ending.reviving import Reviving
from dispatcher.functions.outside import Outside
from dispatcher.functions.service import FunctionService
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.in_force import KeysInForce, UnkeptKey
from dispatcher.ingress.planned import message_of
from dispatcher.node import certificates, configs
from dispatcher.node.backup.making import Backups, Logs
from dispatcher.node.call_log import CallLog, told_lost
from dispatcher.node.disks import TRANSACTION, Disks
from dispatcher.node.merged.whole import Merged, faces
from dispatcher.node.message_service import MessageService
from dispatcher.node.metrics import Metrics
from dispatcher.node.notifying.notifier import Notifier
from dispatcher.node.others import Others
from dispatcher.node.outlook import Addresses, NodeOutlook
from dispatcher.node.places import audit_of, has_log, results_of
from dispatcher.queue.ports import LogName
from dispatcher.schedules.messages import MessageMaker
from dispatcher.telemetry.metrics import process_text
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import check_free
from dispatcher.txlog.files.segment import Sizes

_AUDIT_SEGMENTS: Final = 8
"""Of so many parts the audit's log consists at least: the oldest goes as a whole."""


class Desk:
    """That of a node, over the messages of its process."""

    def __init__(
        self,
        messages: MessageService,
        *,
        sockets: Sequence[socket],
        health: Callable[[], Health],
        addresses: Callable[[], Addresses],
        restarts: Callable[[], int] | None = None,
    ) -> None:
        """The API listens on `sockets`, where there are some. `health` is what `/readyz` says,
        `addresses` where callers and operators find the node, and `restarts` as `Server` has it."""
        self._messages = messages
        settings = messages.settings
        self._merged: Merged | None = None
        self._others: Others | None = None
        if messages.neighbours is not None:
            number, spread = messages.assignment.number, messages.assignment.spread
            every = {*messages.assignment.every, *range(spread)}
            self._merged = Merged(messages.queues, spread, number, every, messages.meeting)
            peers = messages.neighbours.links.peers
            self._others = Others(
                number,
                peers,
                self._merged,
                messages.supervisor,
                held=lambda: [key.decode("ascii") for key in messages.first.pauses.keys],
            )
        self.functions = self._make_functions()
        disks = Disks(
            {
                TRANSACTION: settings.transaction_log,
                "dead_letter": settings.dead_letter,
                "results": results_of(settings.transaction_log),
            }
        )
        self.notifier = Notifier(
            messages.whole,
            messages.acceptor,
            lambda: disks.space.get(TRANSACTION),
            messages.supervisor,
            processes=messages.assignment.processes,
            elsewhere=None if self._others is None else self._others.failing,
        )
        messages.hearing.heard = self.notifier
        self.trail = self._make_trail()
        self._metrics = Metrics(
            messages.whole,
            messages.pool,
            messages.listener,
            functions=self.functions.overview,
            operators=lambda: self.api.audit.counts,
            certificates=messages.certificates,
            disks=disks,
            restarts=restarts,
        )
        self.outlook = NodeOutlook(
            messages.whole,
            messages.listener,
            disks,
            supervisor=messages.supervisor,
            retention=configs.of_retention(settings),
            calls=self.functions.overview,
            health=health,
            addresses=addresses,
            audit_unkept=lambda: self.trail.unkept,
            others=self._others,
        )
        self._health = health
        self.api = self._make_api(sockets)

    def start(self) -> None:
        """Look at the other processes from now on."""
        if self._others is not None:
            self._others.start()

    def health(self) -> Health:
        """That of the node: messages are accepted while one of its processes does."""
        health = self._health()
        if not health.is_ready and health.is_begun and self._others is not None:
            return Health() if self._others.accept else health
        return health

    def check_free(self) -> None:
        """Raise `LogLocked` where another process has the log of results or of the audit."""
        transaction_log = self._messages.settings.transaction_log
        for path in (results_of(transaction_log), audit_of(transaction_log)):
            check_free(path, RealDisk())

    def _make_functions(self) -> FunctionService:
        messages, events = self._messages, self._messages.events
        settings, first = messages.settings, messages.first
        path = results_of(settings.transaction_log)
        observer = first.observer
        functions = FunctionService(
            first,
            configs.of_functions(settings, messages.connections, messages.rules),
            self._read_signing_keys(),
            make_results_log=lambda: FileLog(path),
            has_results=has_log(path),
            deliverer=messages.pool,
            clock=first.clock,
            random=random.Random(),
            incarnation=messages.incarnation,
            events=FunctionEvents(
                warned=lambda function, what: events.call_warned(function=function, what=what),
                log=CallLog(events, None if messages.tracing is None else messages.tracing.calls),
                lost=partial(told_lost, events.call_lost, settings.transaction_log),
                result_lost=partial(told_lost, events.call_result_lost, path),
                failed=lambda error: observer.log_failed(LogName.RESULTS, error),
                results_space_changed=lambda full: observer.space_changed(LogName.RESULTS, full),
            ),
            planned_messages=MessageMaker(
                messages.planned,
                message_of,
                first.clock.wall_us,
            ),
        )
        first.redriver.calls.reviver = Reviving(
            functions.machine,
            functions.store,
            functions.results,
            now_us=first.clock.wall_us,
            new_id=lambda: functions.id_of(functions.next_key()),
            is_run_again=functions.runner.is_run_again,
        )
        return functions

    def _read_signing_keys(self) -> KeysInForce:
        """The keys that sign runs. Where nobody named their file and none can be made, a server of
        messages goes on as before, and applications must not check signatures."""
        settings = self._messages.settings
        file = SigningKeyFile(settings.signing_key)
        try:
            return KeysInForce(file)
        except ConfigError as error:
            if "signing_key" in settings.model_fields_set or file.path.exists():
                raise
            self._messages.events.signing_key_unkept(path=str(file.path), reason=str(error))
            return KeysInForce(UnkeptKey())

    def _make_trail(self) -> AuditLog:
        settings = self._messages.settings
        path = audit_of(settings.transaction_log)
        most = settings.audit_max_bytes
        sizes = Sizes(largest=max(Sizes().smallest, most // _AUDIT_SEGMENTS))
        return AuditLog(
            lambda: FileLog(path, sizes=sizes),
            exists=has_log(path),
            max_bytes=most - sizes.largest,
            supervisor=self._messages.supervisor,
            told=self._messages.events,
        )

    def _make_backups(self) -> Backups:
        messages = self._messages
        first, *others = messages.on_disk
        logs = Logs(
            first.log,
            first.dead_log,
            (messages.settings.transaction_log, messages.settings.dead_letter),
            results=lambda: _as_files(self.functions.results.log),
            audit=lambda: _as_files(self.trail.log),
            others={one.number: (one.log, one.dead_log) for one in others},
        )
        return Backups(
            logs,
            clock=messages.clock,
            events=messages.events,
            supervisor=messages.supervisor,
            processes=[] if self._others is None else self._others.copying,
        )

    def _make_api(self, sockets: Sequence[socket]) -> ApiServer:
        messages, functions = self._messages, self.functions
        settings = messages.settings
        admin, carrier, replayer = faces(
            messages.queues, messages.assignment.spread, messages.meeting
        )
        if (whole := self._merged) is not None:
            admin, carrier, replayer = whole.admin, whole.carrier, whole.replayer
        return ApiServer(
            *configs.host_and_port(settings.api_listen),
            Keyring(settings.api_keys),
            health=self.health,
            metrics=self._metrics_text,
            outlook=self.outlook,
            backups=self._make_backups(),
            keeper=self.trail,
            admin=admin,
            events=messages.events,
            max_connections=messages.connections.operators,
            carrier=carrier,
            replayer=replayer,
            functions=Outside(
                functions,
                now_us=messages.first.clock.wall_us,
                retention_us=settings.result_retention_ms * 1000,
            ),
            sessions=functions.bridge,
            schedules=functions.schedules,
            max_body=settings.max_body_bytes,
            masking=Masking.of(settings.mask_headers),
            tls=messages.certificates.of(certificates.API),
            unix=configs.unix_place(settings, settings.api_listen),
            sockets=sockets,
            pace=messages.whole.pace,
        )

    async def _metrics_text(self) -> str:
        text = await self._metrics.text() + await asyncio.to_thread(process_text)
        if self._others is None:
            return text
        return await self._others.metrics(text, self._messages.incarnation)

    def put_into_force(self, rules: Rules) -> None:
        """Rules that messages are under already."""
        self.notifier.replace(rules.notify)
        self.functions.turns.rules_changed()

    @property
    def batches(self) -> int:
        """Batches that its logs have stored: while this grows, their disks move."""
        return self.functions.results.batches + self.trail.batches


def _as_files(log: TransactionLog | None) -> FileLog | None:
    """A log that can be backed up, where it is open."""
    return log if isinstance(log, FileLog) else None
