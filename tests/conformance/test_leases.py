"""What every store of a cluster's records promises: the twin in memory and a bucket of NATS, on one
server and on three."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import pytest

from dispatcher.cluster.nats_store import BUCKET, NatsStore
from dispatcher.cluster.store import Conflict, Entry, LeaseStore, NoVerdict
from dispatcher.errors import ConfigError, LogBusy
from dispatcher.testing.leases import Leases, LeasesLink
from dispatcher.testing.nats import TroubledLink
from dispatcher.txlog.nats.asking import Patience
from dispatcher.txlog.nats.client import NatsLink, connect
from dispatcher.txlog.nats.link import Answer, Silence
from tests.conformance.conftest import Run

PATIENT = Patience(ask_s=5, append_s=60, again_s=0.01, open_s=120)
"""A busy machine breaks no test."""
QUICK = Patience(ask_s=0.1, append_s=0.1, again_s=0.01, open_s=0.1)
"""For when nobody answers, as the test wants it."""


async def made(link: NatsLink, *, replicas: int) -> AsyncIterator[NatsStore]:
    """A bucket that is removed in the end."""
    store = NatsStore(link, replicas=replicas, patience=PATIENT)
    await store.made()
    await begun(store)
    try:
        yield store
    finally:
        with suppress(Silence):
            await link.request(f"$JS.API.STREAM.DELETE.{BUCKET}", timeout_s=5)


async def begun(store: NatsStore) -> None:
    """Wait until the servers have told each other who leads the new stream."""
    while True:
        try:
            await store.put("begun", b"", after=0)
        except NoVerdict:
            await asyncio.sleep(0.01)
        except Conflict:
            return
        else:
            return


@pytest.fixture(params=[1, 3], ids=["one server", "three servers"])
async def link(request: pytest.FixtureRequest, run_servers: Run) -> AsyncIterator[NatsLink]:
    """A connection to so many servers."""
    found = await connect(run_servers(request.param).urls, timeout_s=60)
    yield found
    await found.close()


@pytest.fixture
async def bucket(request: pytest.FixtureRequest, link: NatsLink) -> AsyncIterator[NatsStore]:
    """A bucket of NATS."""
    async for store in made(link, replicas=request.node.callspec.params["link"]):
        yield store


@pytest.fixture(params=[0, 1, 3], ids=["memory", "one server", "three servers"])
async def store(request: pytest.FixtureRequest, run_servers: Run) -> AsyncIterator[LeaseStore]:
    """Any store."""
    if not request.param:
        yield LeasesLink(Leases())
        return
    link = await connect(run_servers(request.param).urls, timeout_s=60)
    async for store in made(link, replicas=request.param):
        yield store
    await link.close()


async def test_record_is_found_as_it_was_stored(store: LeaseStore) -> None:
    """Byte for byte, with the revision that was told to who stored it."""
    revision = await store.put("p.0", b"\x00one", after=0)
    assert revision > 0
    assert await store.look(["p.0"]) == {"p.0": Entry(revision, b"\x00one")}


async def test_key_without_a_record_is_missing(store: LeaseStore) -> None:
    """However many are looked at: a store that has nothing says nothing, and that is no error."""
    few, many = ["p.0", "m.0"], [f"p.{number}" for number in range(16)]
    assert await store.look([]) == {}
    assert await store.look(few) == {}
    assert await store.look(many) == {}
    revision = await store.put("p.3", b"x", after=0)
    assert await store.look(many) == {"p.3": Entry(revision, b"x")}


async def test_revisions_grow_over_all_keys(store: LeaseStore) -> None:
    """So that the revision of a claim is an epoch: no later owner's is lower."""
    found = [await store.put(f"p.{number}", b"1", after=0) for number in range(5)]
    found.append(await store.put("p.0", b"2", after=found[0]))
    assert found == sorted(set(found))
    seen = await store.look([f"p.{number}" for number in range(9)])
    assert {key: entry.revision for key, entry in seen.items()} == {
        "p.0": found[5],
        **{f"p.{number}": found[number] for number in range(1, 5)},
    }


@pytest.mark.parametrize("after", ["before", "none", "another key's", "of the future"])
async def test_record_is_replaced_only_by_who_knows_its_revision(
    store: LeaseStore, after: str
) -> None:
    """What is refused is not there later either."""
    first = await store.put("p.0", b"1", after=0)
    second = await store.put("p.0", b"2", after=first)
    other = await store.put("p.1", b"o", after=0)
    wrong = {"before": first, "none": 0, "another key's": other, "of the future": other + 1}
    with pytest.raises(Conflict):
        await store.put("p.0", b"3", after=wrong[after])
    assert await store.look(["p.0"]) == {"p.0": Entry(second, b"2")}
    assert await store.put("p.0", b"4", after=second) > other


async def test_record_that_is_not_there_replaces_nothing(store: LeaseStore) -> None:
    """A revision that never was is no permission."""
    with pytest.raises(Conflict):
        await store.put("p.7", b"1", after=1)
    assert await store.look(["p.7"]) == {}


@pytest.mark.parametrize("is_there", [False, True])
async def test_one_of_several_that_claim_at_once_gets_it(store: LeaseStore, is_there: bool) -> None:
    """All others are told that it is another's, none of them twice."""
    after = await store.put("p.0", b"released", after=0) if is_there else 0
    claims = await asyncio.gather(
        *(store.put("p.0", b"%d" % number, after=after) for number in range(8)),
        return_exceptions=True,
    )
    winners = [number for number, one in enumerate(claims) if isinstance(one, int)]
    assert len(winners) == 1
    assert sum(isinstance(one, Conflict) for one in claims) == 7
    (entry,) = (await store.look(["p.0"])).values()
    assert entry.revision in claims
    assert entry.value == b"%d" % winners[0]


async def test_what_is_stored_is_heard(store: LeaseStore) -> None:
    """With its key, until listening ends."""
    heard: list[tuple[str, bytes]] = []
    stop = await store.listen(lambda key, value: heard.append((key, value)))
    first = await store.put("p.0", b"1", after=0)
    await store.put("m.12", b"2", after=0)
    async with asyncio.timeout(60):
        while len(heard) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await stop()
    await store.put("p.0", b"3", after=first)
    await asyncio.sleep(0.05)
    assert heard == [("p.0", b"1"), ("m.12", b"2")]


# What only a bucket has


async def test_bucket_is_made_once_and_found_again(bucket: NatsStore) -> None:
    """Each member of a cluster makes it; what is in it stays."""
    revision = await bucket.put("cluster", b"x", after=0)
    await asyncio.gather(bucket.made(), bucket.made())
    assert await bucket.look(["cluster"]) == {"cluster": Entry(revision, b"x")}


async def test_bucket_with_other_settings_is_refused(bucket: NatsStore, link: NatsLink) -> None:
    """One that forgets records would have two owners of a partition."""
    info = json.loads((await link.request(f"$JS.API.STREAM.INFO.{BUCKET}", timeout_s=5)).data)
    config = {**info["config"], "max_age": 10**12}
    data = json.dumps(config).encode()
    await link.request(f"$JS.API.STREAM.UPDATE.{BUCKET}", data, timeout_s=60)
    with pytest.raises(ConfigError, match="max_age"):
        await bucket.made()


@pytest.fixture
def troubled(link: NatsLink, bucket: NatsStore) -> tuple[NatsStore, TroubledLink]:
    """The same bucket over a connection that loses things."""
    lossy = TroubledLink(link)
    return NatsStore(lossy, patience=QUICK), lossy


@pytest.mark.parametrize("trouble", ["loses_requests", "loses_answers", "delays"])
async def test_record_without_a_verdict_may_be_stored_now_or_later(
    troubled: tuple[NatsStore, TroubledLink], bucket: NatsStore, trouble: str
) -> None:
    """Only a look says which. It is asked once: asking again might replace what came after it."""
    _, lossy = troubled
    setattr(lossy, trouble, 1)
    with pytest.raises(NoVerdict):
        await NatsStore(lossy, patience=PATIENT).put("p.0", b"1", after=0)
    assert len(lossy.asked) == 1
    now = await bucket.look(["p.0"])
    assert bool(now) is (trouble == "loses_answers")
    await lossy.late()
    later = await bucket.look(["p.0"])
    assert bool(later) is (trouble != "loses_requests")


async def test_late_record_is_refused_when_another_one_came_before(
    troubled: tuple[NatsStore, TroubledLink], bucket: NatsStore
) -> None:
    """A renewal that was on its way for long takes nothing from the next owner."""
    _, lossy = troubled
    first = await bucket.put("p.0", b"first", after=0)
    lossy.delays = 1
    with pytest.raises(NoVerdict):
        await NatsStore(lossy, patience=PATIENT).put("p.0", b"late", after=first)
    second = await bucket.put("p.0", b"second", after=first)
    await lossy.late()
    assert await bucket.look(["p.0"]) == {"p.0": Entry(second, b"second")}


async def test_silence_is_said_within_a_second(
    troubled: tuple[NatsStore, TroubledLink],
) -> None:
    """Whoever looks or renews has a lease that runs out meanwhile."""
    store, lossy = troubled
    lossy.is_silent = True
    with pytest.raises(LogBusy):
        await store.look(["p.0"])
    with pytest.raises(LogBusy):
        await store.look([f"p.{number}" for number in range(16)])
    with pytest.raises(NoVerdict):
        await store.put("p.0", b"1", after=0)


class Lagging(TroubledLink):
    """A connection to a server that has not heard of the latest records."""

    def __init__(self, link: NatsLink, *, known: Mapping[str, Entry], upto: int) -> None:
        super().__init__(link)
        self._known = known
        self._upto = upto

    async def gather(self, subject: str, data: bytes, *, timeout_s: float) -> list[Answer]:
        """As that server would."""
        self.asked.append(subject)
        wanted = json.loads(data)["multi_last"]
        found = [
            Answer(entry.value, {"Nats-Subject": key, "Nats-Sequence": str(entry.revision)})
            for key, entry in self._known.items()
            if key in wanted
        ]
        return [*found, Answer(b"", {"Status": "204", "Nats-UpTo-Sequence": str(self._upto)})]


async def test_server_that_lags_behind_is_not_believed(bucket: NatsStore, link: NatsLink) -> None:
    """Its owners look as if they had not renewed for long, which would have their partitions taken
    from them."""
    keys = [f"p.{number}" for number in range(16)]
    first = await bucket.put("p.0", b"old", after=0)
    latest = await bucket.put("p.0", b"new", after=first)
    known = {"$KV.dispatcher.p.0": Entry(first, b"old")}
    lagging = Lagging(link, known=known, upto=first)
    store = NatsStore(lagging, patience=PATIENT)
    assert await store.look(keys) == {"p.0": Entry(latest, b"new")}
    assert [one for one in lagging.asked if ".DIRECT.GET." in one]
    lagging.asked.clear()
    assert await bucket.look(keys) == {"p.0": Entry(latest, b"new")}


async def test_many_keys_cost_few_requests(bucket: NatsStore, link: NatsLink) -> None:
    """Every member looks at all partitions all the time."""
    keys = [f"p.{number}" for number in range(700)]
    stored = [await bucket.put(key, b"1", after=0) for key in (keys[0], keys[600])]
    counted = TroubledLink(link)
    store = NatsStore(counted, patience=PATIENT)
    expected = {keys[0]: Entry(stored[0], b"1"), keys[600]: Entry(stored[1], b"1")}
    for _ in range(100):  # a server may lag behind for a moment
        counted.asked.clear()
        assert await store.look(keys) == expected
        if len(counted.asked) == 3:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail(f"{len(counted.asked)} requests for one look")
