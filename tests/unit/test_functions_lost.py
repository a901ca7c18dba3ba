"""What a repaired log has lost of calls is known after the start, and what nobody needs is not."""

from __future__ import annotations

from array import array

from dispatcher.functions.events import Created, Event, Forgotten
from dispatcher.functions.ids import Keys
from dispatcher.functions.store.records import encoded
from dispatcher.functions.store.store import Store
from dispatcher.testing.callstore import CallBench, created, exited, new, polled
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.txlog import Bounds

CHUNKS = array("Q", [100, 200])


class Reader:
    """A store that reads a log record by record, at the beginning of a process."""

    def __init__(self, bench: CallBench) -> None:
        self.store = Store(bench.queue.room)
        self.keys = Keys(1, 0)
        self._position = 1000

    def whole(self, event: Event) -> None:
        """A record that is all there."""
        self._position += 100
        self.store.visit(self._position, encoded(event).small(), set(), 0)

    def without_chunk(self, event: Event, first: int = 0) -> None:
        """A record of which one chunk is missing in a log that begins at `first`."""
        self._position += 100
        self.store.visit(self._position, encoded(event).large(CHUNKS), {200}, first)

    def lost(self) -> set[int]:
        """End, and say which calls have lost something."""
        self.store.opened(Bounds(0, self._position + 100))
        return set(self.store.lost)

    def call(self, key: int) -> Created:
        """The event that makes a call."""
        return created(new(key))


def read(test: object) -> None:
    """Run a test with a reader."""

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock)
        await bench.start()
        assert callable(test)
        test(Reader(bench))

    run(main)


def test_call_whose_input_is_lost_is_known() -> None:
    """Each of the batch, but one that had ended, and moved, since."""

    def test(reader: Reader) -> None:
        keys = [reader.keys.next() for _ in range(3)]
        reader.without_chunk(created(*map(new, keys)))
        reader.whole(Forgotten((keys[1],)))
        assert reader.lost() == {keys[0], keys[2]}

    read(test)


def test_call_whose_state_or_result_is_lost_is_known_while_it_is_there() -> None:
    """It repeats the step."""

    def test(reader: Reader) -> None:
        suspended, ended, gone = (reader.keys.next() for _ in range(3))
        calls = reader.store.machine.calls
        for key in (suspended, ended, gone):
            reader.whole(reader.call(key))
        reader.without_chunk(polled(calls[suspended], b"state"))
        reader.without_chunk(exited(calls[ended], b"result"))
        reader.without_chunk(polled(calls[gone], b"state"))
        reader.whole(exited(calls[gone], b"result"))
        reader.whole(Forgotten((gone,)))
        assert reader.lost() == {suspended, ended}

    read(test)


def test_nothing_is_lost_where_the_log_was_trimmed() -> None:
    """Chunks before its beginning were given back: nobody needs them."""

    def test(reader: Reader) -> None:
        reader.without_chunk(reader.call(reader.keys.next()), first=150)
        assert reader.lost() == set()

    read(test)
