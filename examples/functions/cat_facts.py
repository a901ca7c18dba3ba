"""A web application that needs another service, which is flaky and allows few requests.

dispatcher run --endpoint 127.0.0.1:8080 -- python examples/functions/cat_facts.py

Who asks (`curl -X POST http://localhost:8080/facts/ada`) gets an answer at once, whatever the other
service does; the fact comes (`curl http://localhost:8080/facts/ada`), always.
"""

from __future__ import annotations

import os
import random
import time

from aiohttp import web

import dispatcher.sdk as dispatch

FACTS: dict[str, str] = {}
"""What was found out, by who asked; an application would have a database."""


def keep(user: str, fact: str) -> None:
    """Stand in for a write to the database: it has effects, so it is a step."""
    FACTS[user] = fact


@dispatch.function
async def find_out(user: str) -> None:
    """Ask the service for a fact, for as long as it takes, and keep it."""
    answer = await dispatch.http.get(os.environ["CAT_FACTS_URL"])
    await dispatch.step(keep, user, answer.json()["fact"])


async def ask(request: web.Request) -> web.Response:
    """Say yes at once: the call is on disk."""
    await find_out.dispatch(request.match_info["user"])
    return web.Response(text="A fact is on its way.\n")


async def show(request: web.Request) -> web.Response:
    """The fact, once it is there."""
    fact = FACTS.get(request.match_info["user"])
    return web.Response(text=f"{fact or 'Not yet.'}\n")


class Flaky:
    """The other service: one request in two fails, and more than five in a second are refused."""

    def __init__(self) -> None:
        self._times: list[float] = []

    async def fact(self, _: web.Request) -> web.Response:
        """Tell a fact, or fail."""
        now = time.monotonic()
        self._times = [at for at in self._times if at > now - 1]
        if len(self._times) >= 5:
            return web.Response(status=429, headers={"Retry-After": "1"})
        self._times.append(now)
        if random.random() < 0.5:
            return web.Response(status=500)
        return web.json_response({"fact": "Cats sleep for two thirds of their lives."})


def main() -> None:
    """Serve the application, its functions, and the flaky service."""
    port = int(os.environ.get("PORT", "8080"))
    os.environ.setdefault("CAT_FACTS_URL", f"http://localhost:{port}/flaky/fact")
    app = dispatch.Dispatch(find_out)
    site = web.Application()
    site.add_routes(
        [
            web.post("/facts/{user}", ask),
            web.get("/facts/{user}", show),
            web.get("/flaky/fact", Flaky().fact),
        ]
    )
    dispatch.aiohttp.mount(site, app)
    web.run_app(site, host="localhost", port=port)


if __name__ == "__main__":
    main()
