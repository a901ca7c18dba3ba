"""The function calls of a node, put together over partition 0 and what belongs to the process."""

from __future__ import annotations

import random
from functools import partial

from dispatcher.errors import ConfigError
from dispatcher.functions.config import Events
from dispatcher.functions.ending.reviving import Reviving
from dispatcher.functions.service import FunctionService
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.in_force import KeysInForce, UnkeptKey
from dispatcher.ingress.planned import message_of
from dispatcher.node import configs
from dispatcher.node.call_log import CallLog, told_lost
from dispatcher.node.desk_logs import DeskLogs
from dispatcher.node.message_service import MessageService
from dispatcher.queue.partition import Partition
from dispatcher.queue.ports import LogName
from dispatcher.schedules.messages import MessageMaker


def make_calls(messages: MessageService, first: Partition, logs: DeskLogs) -> FunctionService:
    """Make the service of function calls. It is a guest of `first`, partition 0, which is not open
    yet.

    Raises:
        ConfigError: the keys that sign runs cannot be used.
    """
    events, settings = messages.events, messages.settings
    observer = first.observer
    functions = FunctionService(
        first,
        configs.of_functions(settings, messages.connections, messages.rules),
        _read_signing_keys(messages),
        make_results_log=logs.make_results,
        has_results=logs.has_results,
        deliverer=messages.pool,
        clock=first.clock,
        random=random.Random(),
        incarnation=messages.incarnation,
        events=Events(
            warned=lambda function, what: events.call_warned(function=function, what=what),
            log=CallLog(events, None if messages.tracing is None else messages.tracing.calls),
            lost=partial(told_lost, events.call_lost, settings.transaction_log),
            result_lost=partial(told_lost, events.call_result_lost, logs.results_place),
            failed=partial(first.fail, LogName.RESULTS),
            results_space_changed=lambda full: observer.space_changed(LogName.RESULTS, full),
        ),
        planned_messages=MessageMaker(messages.planned, message_of, first.clock.wall_us),
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


def _read_signing_keys(messages: MessageService) -> KeysInForce:
    """The keys that sign runs. Where nobody named their file and none can be made, a server of
    messages goes on as before, and applications must not check signatures."""
    settings = messages.settings
    file = SigningKeyFile(settings.signing_key)
    try:
        return KeysInForce(file)
    except ConfigError as error:
        if "signing_key" in settings.model_fields_set or file.path.exists():
            raise
        messages.events.signing_key_unkept(path=str(file.path), reason=str(error))
        return KeysInForce(UnkeptKey())
