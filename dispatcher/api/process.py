"""Calls about the process: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from aiohttp import web

from dispatcher.api.errors import ApiError
from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.health import Health
from dispatcher.api.models import HealthStatus, Nothing
from dispatcher.api.routes import TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.telemetry.metrics import CONTENT_TYPE

PROBES: Final = frozenset({"/healthz", "/readyz"})
_NOT_READY = {
    503: "`recovering`, `starting`, `shutting_down`, `disk_full`, `disk_stalled`, `backlog_full`, "
    "`overloaded`, `log_failed`."
}


class ProcessCalls:
    """Health, which anybody may ask for, and metrics. Both are asked of functions."""

    def __init__(
        self,
        health: Callable[[], Health],
        metrics: Callable[[], Coroutine[Any, Any, str]],
        expensive: Expensive,
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._expensive = expensive

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/healthz", self._healthz, "showLiveness", "Whether the process lives",
                Nothing, Nothing, Nothing, answer=HealthStatus, is_open=True,
            ),
            Route(
                "GET", "/readyz", self._readyz, "showReadiness",
                "Whether messages are accepted and the log is healthy",
                Nothing, Nothing, Nothing, answer=HealthStatus, is_open=True, refusals=_NOT_READY,
            ),
            Route(
                "GET", "/metrics", self._show_metrics, "showMetrics", "Metrics for Prometheus",
                Nothing, Nothing, Nothing, content_type="text/plain", refusals=TOO_MANY_ASK,
            ),
        ]  # fmt: skip

    async def _healthz(self, _: Asked[Nothing, Nothing, Nothing]) -> HealthStatus:
        return HealthStatus(status="alive")

    async def _readyz(self, _: Asked[Nothing, Nothing, Nothing]) -> HealthStatus:
        health = self._health()
        if health.reason is not None:
            raise ApiError(503, health.reason, health.message)
        return HealthStatus(status="ready")

    async def _show_metrics(self, _: Asked[Nothing, Nothing, Nothing]) -> web.Response:
        pieces = await self._expensive.shared("metrics", self._written_metrics)
        return web.Response(body=b"".join(pieces), headers={"Content-Type": CONTENT_TYPE})

    async def _written_metrics(self) -> Pieces:
        return [(await self._metrics()).encode("utf-8")]
