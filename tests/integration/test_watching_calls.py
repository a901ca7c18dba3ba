"""What an operator sees of function calls: events, the log, `/v1/stats`, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.protocol.messages import Call, DispatchRequest, DispatchResponse
from dispatcher.protocol.statuses import Status
from dispatcher.testing.application import an_any, exits, fails, polls
from dispatcher.testing.destination import FakeDestination, Script, answer
from dispatcher.testing.process import ServerProcess

PROTO = {"Content-Type": "application/proto"}


def says(response: Any) -> Script:
    """The script of an answer to a run."""
    return answer(200, response.SerializeToString(), ("Content-Type", "application/proto"))


def api(server: ServerProcess, path: str) -> str:
    """The address of a call of the API."""
    host, port = server.api
    return f"http://{host}:{port}{path}"


async def dispatch(http: aiohttp.ClientSession, server: ServerProcess, endpoint: str) -> str:
    """Dispatch a call of `work`; its id."""
    call = Call(endpoint=endpoint, function="work", input=an_any(b"in"))
    path = "/dispatch.sdk.v1.DispatchService/Dispatch"
    body = DispatchRequest(calls=[call]).SerializeToString()
    async with http.post(api(server, path), data=body, headers=PROTO) as answered:
        assert answered.status == 200
        return DispatchResponse.FromString(await answered.read()).dispatch_ids[0]


async def result(http: aiohttp.ClientSession, server: ServerProcess, number: str) -> Any:
    """Wait for a result."""
    async with http.get(api(server, f"/v1/calls/{number}/result?wait=20s")) as answered:
        assert answered.status == 200
        return await answered.json()


async def told(lines: aiohttp.StreamReader) -> AsyncIterator[tuple[str, Any]]:
    """Server-sent events: name and data."""
    name = ""
    async for line in lines:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


async def scrape(http: aiohttp.ClientSession, server: ServerProcess) -> dict[str, Any]:
    """Samples by name and labels."""
    async with http.get(api(server, "/metrics")) as answered:
        text = await answered.text()
    return {
        ",".join([sample.name.removeprefix("dispatcher_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_life_of_a_call_is_told_everywhere(tmp_path: Path) -> None:
    """A run fails, the next one calls another function, and both end well: events, lines of the
    log, states and metrics say so."""
    async with FakeDestination() as application, aiohttp.ClientSession() as http:
        application.script(
            says(fails(Status.TEMPORARY_ERROR, message="not now")),
            says(polls("child")),
            says(exits()),
            says(exits()),
        )
        endpoint = f"http://{application.authority}"
        with ServerProcess(tmp_path, LOG_LEVEL="debug", CALL_RETRY_DELAY="10") as server:
            events: list[tuple[str, Any]] = []
            async with http.get(api(server, "/v1/events")) as stream:
                assert await stream.content.readline() == b": listening\n"
                number = await dispatch(http, server, endpoint)
                await result(http, server, number)
                async with asyncio.timeout(60):
                    async for name, data in told(stream.content):
                        events.append((name, data))
                        if name == "call.ended" and data["id"] == number:
                            break
            of_root = [(name, data) for name, data in events if data["id"] == number]
            assert [name for name, _ in of_root] == [
                "call.created",
                "call.run",
                "call.run",
                "call.suspended",
                "call.resumed",
                "call.run",
                "call.ended",
            ]
            failed = of_root[1][1]
            assert failed["destination"] == endpoint
            assert failed["function"] == "work"
            assert (failed["status"], failed["attempt"]) == ("temporary_error", 1)
            assert "not now" in failed["error"]
            assert failed["next_at"] is not None
            assert (of_root[2][1]["status"], of_root[2][1]["attempt"]) == ("ok", 2)
            assert of_root[-1][1]["status"] == "succeeded"
            of_child = [(name, data) for name, data in events if data["id"] != number]
            assert [name for name, _ in of_child] == ["call.created", "call.run", "call.ended"]
            assert of_child[-1][1]["status"] == "succeeded"
            assert {data["root_id"] for _, data in events} == {number}
            assert {data["parent_id"] for _, data in of_child} == {number}

            async with http.get(api(server, f"/v1/calls/{of_child[0][1]['id']}")) as answered:
                assert (await answered.json())["state"] == "succeeded"
            async with http.get(api(server, f"/v1/calls/{number}/tree")) as answered:
                tree = await answered.json()
            assert [node["function"] for node in tree["nodes"]] == ["work", "child"]
            assert tree["by_state"] == {"succeeded": 2}
            async with http.get(api(server, "/v1/stats")) as answered:
                calls = (await answered.json())["calls"]
            assert (calls["created_total"], calls["succeeded_total"], calls["runs_total"]) == (
                2,
                2,
                4,
            )
            (lane,) = calls["lanes"]
            assert (lane["endpoint"], lane["waiting"], lane["in_flight"]) == (endpoint, 0, 0)
            assert (lane["breaker"], lane["paused_until"]) == ("closed", None)
            async with asyncio.timeout(60):
                while not (seen := await scrape(http, server))["log_bytes,results"]:  # noqa: ASYNC110  # a page is asked for its figures
                    await asyncio.sleep(0.02)  # the result is being moved to its log
                while (seen := await scrape(http, server))["results"] < 1:  # noqa: ASYNC110  # a page is asked for its figures
                    await asyncio.sleep(0.02)
            assert (seen["call_workers"], seen["call_workers_busy"]) == (200, 0)
            assert seen["calls_created_total"] == 2
            assert seen["calls_ended_total,succeeded"] == 2
            assert seen["call_runs_total,ok"] == 3
            assert seen["call_runs_total,temporary_error"] == 1
            assert seen["function_runs_total,work"] == 3
            assert seen["function_failures_total,work"] == 1
            assert seen["function_run_seconds_count,child"] == 1
            assert seen["function_run_seconds_bucket,work,+Inf"] == 3
            assert seen["calls,suspended"] == seen["calls,ready"] == seen["calls,running"] == 0
            assert seen["results"] == 1
            assert seen["log_bytes,results"] > 0
            assert seen["log_full,results"] == 0
            assert seen[f"call_lane_limit,{endpoint}"] >= 2
            server.event("call.ended")
            line = server.event("call.run_failed")
            assert (line["level"], line["id"], line["status"]) == (
                "info",
                number,
                "temporary_error",
            )
            told_of = [one["event"] for one in server.lines if one.get("id") == number]
            assert [name for name in told_of if name.startswith("call.")] == [
                "call.created",
                "call.run_failed",
                "call.ran",
                "call.suspended",
                "call.resumed",
                "call.ran",
                "call.ended",
            ]


async def test_held_destination_is_sent_no_runs_either(tmp_path: Path) -> None:
    """Its calls wait in their lane, over a restart, until it is resumed."""
    async with FakeDestination() as application, aiohttp.ClientSession() as http:
        application.script(says(exits()))
        endpoint = f"http://{application.authority}"

        async def act(server: ServerProcess, verb: str) -> None:
            path = f"/v1/destinations/{application.authority}/{verb}"
            async with http.post(api(server, path)) as answered:
                assert (await answered.json())["destination"] == endpoint

        async def the_lane(server: ServerProcess) -> Any:
            """Once there is a call in it: it comes a moment after the answer to Dispatch."""
            for _ in range(1200):
                async with http.get(api(server, "/v1/stats?lanes_kind=call")) as answered:
                    lanes = (await answered.json())["lanes"]
                if lanes and lanes[0]["ready"]:
                    return lanes[0]
                await asyncio.sleep(0.05)
            raise TimeoutError

        with ServerProcess(tmp_path) as server:
            await act(server, "hold")
            number = await dispatch(http, server, endpoint)
            lane = await the_lane(server)
            assert (lane["destination"], lane["ready"], lane["held"]) == (endpoint, 1, True)
            server.stop()
        with ServerProcess(tmp_path) as server:
            lane = await the_lane(server)
            assert (lane["ready"], lane["held"]) == (1, True)
            assert not application.requests
            await act(server, "resume")
            assert (await result(http, server, number))["state"] == "succeeded"
            assert len(application.requests) == 1


async def test_dead_call_is_told_at_the_level_of_a_warning(tmp_path: Path) -> None:
    """What goes well is not spoken of at the default level; what died is."""
    async with FakeDestination() as application, aiohttp.ClientSession() as http:
        application.script(says(fails(Status.PERMANENT_ERROR)))
        with ServerProcess(tmp_path) as server:
            number = await dispatch(http, server, f"http://{application.authority}")
            shown = await result(http, server, number)
            assert shown["state"] == "failed"
            line = await asyncio.to_thread(server.event, "call.dead_lettered")
            assert (line["level"], line["id"], line["function"]) == ("warning", number, "work")
            names = [one["event"] for one in server.lines if one["event"].startswith("call.")]
            assert names == ["call.run_failed", "call.dead_lettered"]
            seen = await scrape(http, server)
            assert seen["calls_ended_total,failed"] == seen["calls_dead_total"] == 1


async def test_wish_to_end_a_call_is_told_of_all_below_it(tmp_path: Path) -> None:
    """As an event, a line of the log and an entry of the timeline, of each."""
    async with FakeDestination() as application, aiohttp.ClientSession() as http:
        application.script(
            says(polls("child", wait_s=60)), says(polls(wait_s=60)), says(exits()), says(exits())
        )
        endpoint = f"http://{application.authority}"
        with ServerProcess(tmp_path, LOG_LEVEL="debug") as server:
            asked: list[str] = []
            slept = 0
            async with http.get(api(server, "/v1/events")) as stream:
                assert await stream.content.readline() == b": listening\n"
                number = await dispatch(http, server, endpoint)
                async with asyncio.timeout(60):
                    async for name, data in told(stream.content):
                        slept += name == "call.suspended"
                        if name == "call.suspended" and slept == 2:
                            async with http.delete(api(server, f"/v1/calls/{number}")) as answered:
                                assert answered.status == 202
                        if name == "call.cancel_asked":
                            asked.append(data["id"])
                        if name == "call.ended" and data["id"] == number:
                            break
            assert len(set(asked)) == len(asked) == 2
            assert asked[0] == number
            for one in asked:
                async with http.get(api(server, f"/v1/calls/{one}/timeline")) as answered:
                    entries = (await answered.json())["entries"]
                steps = [entry["step"] for entry in entries]
                at = steps.index("cancel_asked")
                assert steps[at - 1 : at + 2] == ["suspended", "cancel_asked", "resumed"]
            lines = [line for line in server.lines if line["event"] == "call.cancel_asked"]
            assert [line["id"] for line in lines] == asked
