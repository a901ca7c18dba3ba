"""States of suspended calls as earlier versions wrote them: calls may wait for a year."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.testing.runnables import (
    NOW_US,
    Asking,
    FakeRunnable,
    calls,
    returned,
    runner,
    sleeps,
)

# Version 1: the input, a record of one piece, and one that was appended.
STATES = {
    "1": bytes.fromhex(
        "0115676f6f676c652e70726f746f6275662e56616c756511320f0a051a034164610a061a04416c616e0801157d"
        "2cd4f4188080f9c0c1c48203200b280130003a15736c65657000736c65657000006170702e70793a3242004a01"
        "005201005a0460ea00001550396d08280230013a1463616c6c00677265657400006170702e70793a3142013142"
        "01324a020101520201025a080aae4b01ca8cef246201006a03e0d403720100"
    ),
}

# Version 1, where the first of the two calls was made, and the other is held.
HELD = bytes.fromhex(
    "0115676f6f676c652e70726f746f6275662e56616c756511320f0a051a034164610a061a04416c616e0801157d"
    "2cd4f4188080f9c0c1c48203200b280130003a15736c65657000736c65657000006170702e70793a3242004a01"
    "005201005a0460ea00001506a9303f2802300178023a1463616c6c00677265657400006170702e70793a314201"
    "314201324a020101520201025a080aae4b01ca8cef246201006a03e0d403720100"
)


async def welcome(names: list[str]) -> object:
    await sleeps(60)
    return await asyncio.gather(*(calls("greet", name) for name in names))


@pytest.mark.parametrize("version", STATES)
async def test_a_call_goes_on_from_a_state_of_an_earlier_version(version: str) -> None:
    """It slept, and waits for two calls; their results are all that it is given."""
    function = FakeRunnable(welcome, durable=True)
    asking = Asking(runner(function, now_us=lambda: NOW_US + 61_000_000), "welcome")
    asking.state = STATES[version]
    assert returned(await asking.resume({2: "Hello, Alan!", 1: "Hello, Ada!"})) == [
        "Hello, Ada!",
        "Hello, Alan!",
    ]


async def test_a_call_that_was_held_is_made_from_a_state_of_an_earlier_version() -> None:
    """And not the one that was made."""
    function = FakeRunnable(welcome, durable=True)
    asking = Asking(runner(function, now_us=lambda: NOW_US + 61_000_000), "welcome")
    asking.state, asking.nonce = HELD, 0x3F30A906
    assert [call.correlation_id for call in (await asking.resume()).poll.calls] == [2]
    assert returned(await asking.resume({1: "a", 2: "b"})) == ["a", "b"]
