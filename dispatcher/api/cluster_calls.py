"""The call about who does the work: `/v1/cluster`."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from dispatcher.api.cluster import Cluster
from dispatcher.api.cluster_models import ClusterOut
from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.json_line import json_line
from dispatcher.api.models import Nothing
from dispatcher.api.routes import TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.api.streaming import send_pieces


class ClusterCalls:
    """Members and partitions."""

    def __init__(self, cluster: Cluster, expensive: Expensive) -> None:
        self._cluster = cluster
        self._expensive = expensive

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/cluster", self._show, "showCluster",
                "Nodes or processes, and who has which partition",
                Nothing, Nothing, Nothing, answer=ClusterOut, refusals=TOO_MANY_ASK,
            ),
        ]  # fmt: skip

    async def _show(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.StreamResponse:
        pieces = await self._expensive.shared("cluster", self._written)
        return await send_pieces(asked.request, pieces)

    async def _written(self) -> Pieces:
        return [json_line(ClusterOut.of(await self._cluster.view()))]
