"""From the settings to what each part is told: the one place where both are known."""

from __future__ import annotations

from typing import Final

from dispatcher.core.egress import EgressPolicy
from dispatcher.core.keys import Keyring
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.rules.table import RulesInForce
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.slots import LOOKUPS
from dispatcher.functions.config import FunctionConfig
from dispatcher.functions.intake import IntakeConfig
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.functions.rules import Rules
from dispatcher.ingress.config import IngressConfig
from dispatcher.listening.tls import Secured
from dispatcher.listening.unix import UnixPlace
from dispatcher.node.descriptors import Share
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.partition import PartitionConfig
from dispatcher.settings import Address, OrderOnDead, Settings, UnixAddress

_LIFETIME_S: Final = 600.0
"""A process that was started again has no callers, and one that is new in a cluster: they come as
connections of the others end."""


def of_ingress(
    settings: Settings,
    connections: Share,
    rules: RulesInForce,
    tls: Secured | None,
    *,
    has_others: bool = False,
) -> IngressConfig:
    """What the listener is told. Its keys are a ring of its own, which can be replaced. With
    `has_others` it is that of one process among several."""
    proxy = settings.proxy_listen
    host, port = host_and_port(settings.listen)
    return IngressConfig(
        host,
        port,
        keys=Keyring(settings.listen_keys),
        max_body=settings.max_body_bytes,
        idle_timeout_s=settings.idle_timeout_ms / 1000,
        max_connections=connections.callers,
        proxy=None if proxy is None else (proxy.host, proxy.port),
        rules=rules,
        lifetime_s=_LIFETIME_S if has_others else 0.0,
        spreads_rules=has_others,
        tls=tls,
        unix=unix_place(settings, settings.listen),
    )


def host_and_port(address: Address | UnixAddress) -> tuple[str, int]:
    """Where a listener is told to listen; what it is told is of no account for a unix socket."""
    return (address.host, address.port) if isinstance(address, Address) else ("localhost", 0)


def unix_place(settings: Settings, address: Address | UnixAddress) -> UnixPlace | None:
    """The unix socket that a listener is told of, where the address is one."""
    if isinstance(address, Address):
        return None
    return UnixPlace(address.path, int(settings.socket_mode, 8))


def of_partition(
    settings: Settings, connections: Share, rules: RulesInForce, number: int
) -> PartitionConfig:
    """What the partition with this number is told."""
    return PartitionConfig(
        RetryPolicy(
            retry_limit=settings.retry_limit,
            delay_ms=settings.retry_delay_ms,
            max_delay_ms=settings.retry_max_delay_ms,
            retry_on=settings.retry_on,
            ack_any_response=settings.ack_any_response,
        ),
        workers=connections.workers,
        workers_slow=connections.slow,
        max_age_ms=settings.max_age_ms,
        idempotency_window_ms=settings.idempotency_window_ms,
        order_holds=settings.order_on_dead is OrderOnDead.HOLD,
        max_backlog_bytes=settings.max_backlog_bytes,
        keep_everything=settings.event_sourcing,
        retention=of_retention(settings),
        rules=rules,
        partition=number,
    )


def of_retention(settings: Settings) -> RetentionPolicy:
    """How long dead letters are kept, and how many."""
    return RetentionPolicy(
        max_age_ms=settings.dead_letter_retention_ms, max_bytes=settings.dead_letter_max_bytes
    )


def of_delivery(settings: Settings, connections: Share) -> DeliveryConfig:
    """What delivery is told."""
    leaving = connections.idle // 4
    return DeliveryConfig(
        default_timeout_ms=settings.default_timeout_ms,
        egress=EgressPolicy.parse(
            settings.egress.value, settings.egress_allow, settings.egress_deny
        ),
        max_idle_total=connections.idle - leaving,
        max_leaving=leaving,
        # An attempt whose name is looked up has no connection yet.
        max_lookups=min(LOOKUPS, connections.workers + connections.slow),
    )


def of_functions(settings: Settings, connections: Share, in_force: RulesInForce) -> FunctionConfig:
    """What the function service is told."""
    rules = Rules(
        retry_delay_ms=settings.call_retry_delay_ms,
        retry_max_delay_ms=settings.call_retry_max_delay_ms,
        default_expiration_ms=settings.call_default_expiration_ms,
        max_expiration_ms=settings.call_max_expiration_ms,
        suspect_after_ms=settings.call_state_suspect_after_ms,
        tree_max=settings.call_tree_max,
    )
    return FunctionConfig(
        rules,
        IntakeConfig(rules, settings.call_start_delay_ms, settings.result_retention_ms),
        ResultPolicy(settings.result_retention_ms, settings.result_max_bytes),
        workers=connections.calls,
        timeout_ms=settings.call_timeout_ms,
        in_force=in_force,
    )
