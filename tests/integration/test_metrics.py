"""`/metrics` of a real server, on a real disk, after real deliveries."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from platform import python_version

from prometheus_client.parser import text_string_to_metric_families

from dispatcher import __version__
from dispatcher.testing.destination import FakeDestination, Wait, answer
from dispatcher.testing.process import ServerProcess

ANSWER_S = 0.06

Samples = dict[str, dict[str, float]]
"""By name and by the value of their label, "" without one, as Prometheus reads them."""


async def ask(address: tuple[str, int], method: str, path: str, to: str = "") -> tuple[int, str]:
    """Send a request with a short body; status and body of its answer."""

    def exchange() -> tuple[int, str]:
        connection = http.client.HTTPConnection(*address, timeout=60)
        headers = {"X-Dispatcher-Origin-Host": to} if to else {"Content-Type": "application/json"}
        connection.request(method, path, None if method == "GET" else b"{}", headers)
        answered = connection.getresponse()
        text = answered.read().decode()
        connection.close()
        return answered.status, text

    return await asyncio.to_thread(exchange)


async def scrape(server: ServerProcess) -> Samples:
    """Ask for the metrics."""
    status, text = await ask(server.api, "GET", "/metrics")
    assert status == 200
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("dispatcher_")
            found.setdefault(name, {})[next(iter(sample.labels.values()), "")] = sample.value
    return found


async def test_metrics_tell_what_runs_and_what_it_takes(tmp_path: Path) -> None:
    """The versions, WORKER in force, the disks, and of the process CPU time, memory and open files,
    under the usual names."""
    with ServerProcess(tmp_path, WORKER="7", WORKER_SLOW="9") as server:
        _, text = await ask(server.api, "GET", "/metrics")
        labels = f'python="{python_version()}",version="{__version__}"'
        assert f"dispatcher_build_info{{{labels}}} 1.0\n" in text
        seen = await scrape(server)
        assert seen["workers"] == {"usual": 7, "slow": 9}
        assert seen["workers_busy"] == {"usual": 0, "slow": 0}
        disk = os.statvfs(tmp_path)
        assert seen["disk_total_bytes"].keys() == {"transaction", "dead_letter", "results"}
        assert set(seen["disk_total_bytes"].values()) == {disk.f_blocks * disk.f_frsize}
        assert 0 < seen["disk_free_bytes"]["transaction"] <= seen["disk_total_bytes"]["transaction"]
        assert seen["process_resident_memory_bytes"][""] > 1_000_000
        assert seen["process_cpu_seconds_total"][""] > 0
        assert 0 < seen["process_open_fds"][""] < seen["process_max_fds"][""]
        assert seen["process_start_time_seconds"][""] > 1_500_000_000


async def until(server: ServerProcess, holds: Callable[[Samples], bool]) -> Samples:
    """Scrape until something holds."""
    async with asyncio.timeout(60):
        while not holds(seen := await scrape(server)):  # noqa: ASYNC110  # of another process
            await asyncio.sleep(0.02)
    return seen


def total(seen: Samples, name: str) -> float:
    """The value of a counter."""
    return seen[f"{name}_total"][""]


async def test_metrics_tell_what_the_server_did(tmp_path: Path) -> None:
    """Deliveries with their time, batches with theirs, lanes, and dead letters there and back."""
    began = time.monotonic()
    async with (
        FakeDestination(default=[Wait(ANSWER_S), *answer()]) as taking,
        FakeDestination(default=answer(410)) as refusing,
    ):
        with ServerProcess(tmp_path) as server:
            for _ in range(6):
                assert (await ask(server.listen, "POST", "/x", taking.authority))[0] == 202
            for _ in range(2):
                assert (await ask(server.listen, "POST", "/x", refusing.authority))[0] == 202
            await until(server, lambda seen: total(seen, "messages_dead") == 2)
            # What settles them is written a little later, and a batch counted once it was timed.
            seen = await until(
                server,
                lambda seen: (
                    total(seen, "messages_delivered") == 6
                    and seen["log_sync_seconds_count"] == seen["log_batches_total"]
                ),
            )
            most_s = time.monotonic() - began

            buckets = seen["delivery_seconds_bucket"]
            assert (buckets["0.05"], buckets["+Inf"]) == (0, 6), (
                "nothing is quicker than the answer"
            )
            assert seen["delivery_seconds_count"] == {"": 6}
            assert seen["attempt_seconds_count"] == {"delivered": 6, "failed": 2}
            assert 6 * ANSWER_S <= seen["attempt_seconds_sum"]["delivered"] <= 6 * most_s
            assert seen["accept_seconds_count"] == {"": 8}
            assert 0 < seen["accept_seconds_sum"][""] <= 8 * most_s
            assert 6 * ANSWER_S <= seen["delivery_seconds_sum"][""] <= 6 * most_s

            batches, records = seen["log_batches_total"][""], seen["log_records_total"][""]
            assert 8 <= batches <= records
            assert records >= 8
            # Two logs may be synced at the same time.
            assert 0 < seen["log_sync_seconds_sum"][""] < 2 * most_s
            assert seen["log_sync_seconds_bucket"]["+Inf"] == batches
            assert seen["log_batch_records_count"] == {"": batches}
            assert seen["log_batch_records_sum"] == {"": records}
            assert seen["log_batch_records_bucket"]["1.0"] > 0

            lanes = {f"http://{taking.authority}", f"http://{refusing.authority}"}
            for name in ("lane_ready", "lane_limit", "lane_held", "lane_backing_off"):
                assert seen[name].keys() == lanes, name
            assert set(seen["lane_ready"].values()) == set(seen["lane_backing_off"].values()) == {0}
            assert seen["lane_limit"][f"http://{taking.authority}"] > 2, "it learned"
            assert seen["destinations"] == {"": 2}

            refusing.default = answer()
            assert seen["dead_letter_bytes"][""] > 0
            assert seen["log_bytes"]["dead_letter"] >= seen["dead_letter_bytes"][""]
            assert seen["dead_letters_redriven_total"] == seen["dead_letters_dropped_total"]
            _, letters = await ask(server.api, "GET", "/v1/dead-letters?limit=1")
            (letter,) = json.loads(letters)["items"]
            path = f"/v1/dead-letters/{letter['id']}/redrive"
            assert (await ask(server.api, "POST", path))[0] == 202
            later = await until(server, lambda seen: total(seen, "messages_delivered") == 7)
            assert later["dead_letters_redriven_total"] == {"": 1}
            assert later["dead_letter_bytes"][""] == seen["dead_letter_bytes"][""] / 2
            assert later["messages"]["dead"] == 1
            assert later["messages_dead_total"] == {"": 2}
            assert await asyncio.to_thread(server.stop) == 0


async def test_dead_letters_that_were_dropped_are_told(tmp_path: Path) -> None:
    """Those of before a start too, which begins with a look at what is too much."""
    async with FakeDestination(default=answer(404)) as refusing:
        with ServerProcess(tmp_path) as server:
            for _ in range(5):
                assert (await ask(server.listen, "POST", "/x", refusing.authority))[0] == 202
            seen = await until(server, lambda seen: total(seen, "messages_dead") == 5)
            most = seen["dead_letter_bytes"][""]
            assert await asyncio.to_thread(server.stop) == 0
        with ServerProcess(tmp_path, DEAD_LETTER_MAX_BYTES=str(int(most * 2 / 5))) as server:
            seen = await until(server, lambda seen: total(seen, "dead_letters_dropped") == 3)
            assert seen["dead_letter_bytes"] == {"": most * 2 / 5}
            assert seen["messages"]["dead"] == 2
            assert seen["messages_dead_total"] == {"": 0}
            assert server.event("dead_letters.dropped")["count"] == 3
