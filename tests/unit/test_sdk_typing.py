"""User code under mypy --strict: the types of functions are kept, and mistakes are found."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".mypy_cache" / "user-code"
"""Beside that of the whole project, whose options are others."""

USER = """
from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import aiohttp.web

import dispatcher.sdk as dispatch


@dataclass
class Order:
    id: str


@dispatch.function
async def greet(name: str, *, loud: bool = False) -> str:
    return name


@dispatch.function(timeout=30, expiration=timedelta(3), errors={KeyError: dispatch.NotFoundError})
async def ship(order: Order) -> int:
    return 1


@dispatch.function
def blocking(x: int) -> float:
    return x


@dispatch.function(name="slow", durable=False, on_change="fail")
def slow(x: int) -> float:
    return x


def fetch(url: str, retries: int = 3) -> bytes:
    return b""


async def afetch(url: str) -> bytes:
    return b""


far = dispatch.remote("far", endpoint="http://far:8000", returns=Order)
anything = dispatch.remote("anything")
approval = dispatch.promise("approval", bool)
orders = dispatch.channel("orders", Order)


@dispatch.function
async def welcome(names: list[str]) -> list[str]:
    assert_type(await greet("a"), str)
    assert_type(await greet("a", loud=True), str)
    assert_type(await ship(Order("1")), int)
    assert_type(await blocking(1), float)
    assert_type(await slow(1), float)
    assert_type(await greet.with_options(delay=3)("a"), str)
    assert_type(await greet.gather(names, limit=3), list[str])
    assert_type(await far(1), Order)
    assert_type(await anything(1), Any)
    assert_type(await approval, bool)
    assert_type(await approval.wait(), bool)
    assert_type(await orders.receive(), Order)
    async for order in orders:
        assert_type(order, Order)
    assert_type(await dispatch.sleep(3), None)
    assert_type(await dispatch.sleep(timedelta(days=3), "result"), str)
    assert_type(await dispatch.step(fetch, "u", retries=3), bytes)
    assert_type(await dispatch.step(afetch, "u"), bytes)
    assert_type(await dispatch.step.options(retries=3)(afetch, "u"), bytes)
    assert_type(await dispatch.gather(greet("a"), ship(Order("1"))), tuple[str, int])
    assert_type(await dispatch.gather(*[greet("a")]), list[str])
    results = await dispatch.gather(*[greet("a")], return_exceptions=True)
    assert_type(results, list[str | BaseException])
    assert_type(await dispatch.any(greet("a"), greet("b")), str)
    assert_type(await dispatch.race(greet("a"), greet("b")), str)
    assert_type(await asyncio.gather(greet("a"), ship(Order("1"))), tuple[str, int])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(greet("a"))
    assert_type(task.result(), str)
    assert_type(dispatch.random(), float)
    assert_type(dispatch.random.choice(names), str)
    assert_type(dispatch.current().id, str)
    assert_type(dispatch.patched("x"), bool)
    if not names:
        welcome.reset(["a"])
    return names


async def outside() -> None:
    assert_type(await greet("a"), str)
    handle = await greet.dispatch("a")
    assert_type(await handle.result(timeout=3), str)
    assert_type(greet.dispatch_sync("a").result(), str)
    assert_type(greet.build_call("a"), dispatch.BuiltCall[str])
    assert_type(await greet.local("a"), str)
    assert_type(blocking.local(1), float)
    await approval.resolve(True)
    await orders.send(Order("1"))
    kept: dispatch.Handle[str] = handle
    function: dispatch.Function[[list[str]], list[str]] = welcome
    print(kept.id, function.name)


async def with_clients(app: dispatch.Dispatch, web: aiohttp.web.Application) -> None:
    async with dispatch.Client() as client:
        (handle,) = await client.dispatch(greet.build_call("a"), key="k")
        assert_type(await handle.result(), str)
        assert_type(await handle.info(), dispatch.CallInfo)
        assert_type(await client.result("id", returns=int, timeout=3), int)
        assert_type(await client.result("id"), Any)
        assert_type(await client.handle("id", returns=Order).result(), Order)
        assert_type((await client.calls(state="running")).items, tuple[dispatch.CallInfo, ...])
        await client.resolve(approval, True)
        await client.reject("approval", ValueError("no"))
        await client.send(orders, Order("1"))
        await client.cancel("id", kill=True)
    with dispatch.SyncClient(api_url="http://h") as blocked:
        (waits,) = blocked.dispatch(ship.build_call(Order("1")))
        assert_type(waits.result(), int)
    batch = app.batch().add(greet, "a", loud=True).add_call(ship.build_call(Order("1")))
    for one in await batch.dispatch(key="k"):
        assert_type(await one.result(), Any)
    dispatch.aiohttp.mount(web, app)


async def mistakes() -> None:
    await greet(3)  # E: [arg-type]
    await greet()  # E: [call-arg]
    await greet("a", lout=True)  # E: [call-arg]
    await greet.dispatch(3)  # E: [arg-type]
    greet.build_call(3)  # E: [arg-type]
    greet.reset_(3)  # E: [attr-defined]
    await greet.with_options(delays=3)("a")  # E: [call-arg]
    x: int = await greet("a")  # E: [assignment]
    await dispatch.step(fetch, 3)  # E: [call-overload]
    await approval.resolve("yes")  # E: [arg-type]
    await orders.send(3)  # E: [arg-type]
    await dispatch.sleep("3")  # E: [call-overload]
    handle = await greet.dispatch("a")
    await handle  # E: [misc]
    print(x)
    dispatch.function(on_change="maybe")  # E: [call-overload]
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="one version checks the types for all")
def test_types_are_kept_and_mistakes_are_found(tmp_path: Path) -> None:
    """Each line that is marked has exactly that error, and no other line has one."""
    from mypy import api

    file = tmp_path / "user.py"
    file.write_text(USER.lstrip("\n"))
    options = ["--strict", "--config-file=", "--no-error-summary", "--follow-imports=silent"]
    found, _, _ = api.run([*options, f"--cache-dir={CACHE}", str(file)])
    errors = {
        int(match[1]): match[2]
        for match in re.finditer(r"user\.py:(\d+): error: .*(\[[\w-]+\])", found)
    }
    assert errors == _marked(), found


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="one version checks the types for all")
def test_types_are_kept_and_mistakes_are_found_by_pyright(tmp_path: Path) -> None:
    """As editors show them: the lines that are marked have an error, and no others."""
    command = _pyright()
    (tmp_path / "user.py").write_text(USER.lstrip("\n"))
    options = {"include": ["user.py"], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(options))
    options_of_run = ["--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run([*command, *options_of_run], capture_output=True, text=True)
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert {each["range"]["start"]["line"] + 1 for each in found} == set(_marked()), found


def _marked() -> dict[int, str]:
    """The lines that are mistakes, with what mypy calls them."""
    return {
        number: line.partition("# E: ")[2]
        for number, line in enumerate(USER.lstrip("\n").splitlines(), 1)
        if "# E: " in line
    }


def _pyright() -> list[str]:
    """The command. The one that its package for Python installs may fetch what it lacks, so what it
    holds is run by the Node that is here."""
    spec, node = importlib.util.find_spec("pyright"), shutil.which("node")
    if spec is not None and spec.origin is not None and node is not None:
        script = Path(spec.origin).parent / "dist" / "index.js"
        if script.is_file():
            return [node, str(script)]
    on_path = Path(shutil.which("pyright") or "").resolve()
    if on_path.suffix == ".js":
        return [str(on_path)]
    pytest.skip("There is no pyright: `pip install pyright`, and Node.")
