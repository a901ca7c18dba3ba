"""A random life of a log on a simulated disk, and the checker of what may be found after a crash.

The engine is the one the server runs (`dispatcher.txlog.files.engine`), called from one thread. At
every call that changes the disk the checker opens the log as it would be found after a crash at
that moment, and compares.

What it checks, and calls a `Violation` otherwise:
- every record that was confirmed, and not trimmed away, is there, at the position that was told;
- everything there was submitted, and is there in order and in whole batches;
- no batch that was refused (LogUnavailable) is there, nor one that an earlier start did not find;
- a crash never makes a log that is called damaged, and the log takes new batches afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from typing import Final

from dispatcher.errors import LogCorrupt, LogError, LogUnavailable, LogUnknown
from dispatcher.testing.disk import Fate, Fault, SimulatedDisk
from dispatcher.txlog import each
from dispatcher.txlog.files.engine import Engine
from dispatcher.txlog.files.segment import Sizes

# Not multiples of a sector; the header takes 4096 of it.
TINY: Final = Sizes(smallest=6500, largest=9000, batch=2048, chunk=2500)
LOG: Final = Path("/simulated/log")

Records = list[tuple[int, bytes]]


class Violation(AssertionError):
    """The log did not keep a promise."""


class State(Enum):
    """What a submitter was told about a batch."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Batch:
    """A batch that was submitted, with what it was told."""

    records: Records
    state: State = State.UNKNOWN


class Job:
    """A job of the housekeeper that runs when somebody waits for it, or when its time comes."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def done(self) -> bool:
        return self._work is None

    def result(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()


@dataclass(slots=True)
class Life:
    """A log, its disk, and everything that was ever submitted to it."""

    seed: int
    disk: SimulatedDisk
    engine_class: type[Engine] = Engine
    batches: list[Batch] = field(default_factory=list)
    trimmed: int = 0
    clock_s: float = 0.0
    states: int = 0
    ends: int = 0
    """How often the log said that nothing more can be written, so that the process had to end."""
    engine: Engine | None = None
    crashes_a_call: int = 3
    looks_at: range = range(1 << 62)
    """The calls of the disk after which crashes are looked at."""
    random: Random = field(default_factory=Random)
    chance: Random = field(default_factory=Random)
    """For the crashes: apart from `random`, so that looking changes nothing."""
    _jobs: list[Job] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.random.seed(self.seed)
        self.chance.seed(self.seed + 1)

    # Living

    def live(self, steps: int) -> None:
        """Open the log, do random things to it, and look at every crash on the way."""
        self.disk.after_change = self.look
        self.open()
        for _ in range(steps):
            self._step()
        self.close()
        self.look()

    def _step(self) -> None:
        self.clock_s += self.random.choice((0.01, 0.2, 1.0))
        choice = self.random.random()
        if choice < 0.75:
            self.append()
        elif choice < 0.85:
            self._trim()
        elif choice < 0.95:
            self.run_jobs()
        elif choice < 0.98:
            self.close()
            self.open()
        else:
            self.kill()
            self.open()

    def open(self) -> None:
        """Open the log, and check what it found. A start that fails is tried again, as an operator
        would, and has what it needs."""
        lacking, self.disk.lacking = self.disk.lacking, 0.0
        self._open()
        self.disk.lacking = lacking

    def _open(self) -> None:
        for _ in range(4):
            engine = self._make(self.disk)
            found: Records = []
            try:
                engine.open("life", 1, each(_into(found)))
            except LogError as error:
                if isinstance(error, LogCorrupt) and not isinstance(error.__cause__, OSError):
                    raise Violation(f"damaged without damage: {error}") from error
                self.kill()
                continue
            self.engine = engine
            self.check(found)
            self._settle(found)
            return
        raise Violation("the log does not open any more")

    def append(self, sizes: Sequence[int] | None = None) -> None:
        """Submit a batch with payloads of these sizes (at least 8), or of random ones."""
        assert self.engine is not None
        batch = self._new_batch(sizes or self._random_sizes())
        urgent = self.random.random() < 0.2
        prepared = None
        try:
            prepared = self.engine.prepare([data for _, data in batch.records], urgent=urgent)
            payloads = [data for _, data in batch.records]
            batch.records = list(zip(prepared.positions, payloads, strict=True))
            self.batches.append(batch)
            self.engine.write(prepared)
            batch.state = State.CONFIRMED
        except LogUnavailable:
            batch.state = State.REFUSED
        except LogUnknown:
            self._end()

    def _random_sizes(self) -> list[int]:
        count = self.random.choice((1, 1, 2, 3, 5, 8))
        # Often of one size, so that what is left of a batch could be taken for a part of the next.
        usual = self.random.choice((8, 48, 138, 208))
        return [
            usual if self.random.random() < 0.7 else self.random.randrange(8, 208)
            for _ in range(count)
        ]

    def _new_batch(self, sizes: Sequence[int]) -> Batch:
        records: Records = []
        for size in sizes:
            self._count += 1
            records.append((-1, b"%08d" % self._count + self.random.randbytes(size - 8)))
        return Batch(records)

    def _trim(self) -> None:
        assert self.engine is not None
        confirmed = [b for b in self.batches if b.state is State.CONFIRMED]
        if not confirmed:
            return
        upto = self.engine.bounds().end
        choice = self.random.random()
        if choice < 0.6:
            upto = self.random.choice(confirmed[-20:]).records[0][0]
        elif choice < 0.8:
            upto = confirmed[-1].records[-1][0] + 1  # as the queue does: it is the last one
        self.trimmed = max(self.trimmed, upto)
        try:
            self.engine.trim(upto)
        except LogUnknown:
            self._end()

    def _end(self) -> None:
        self.ends += 1
        self.kill()
        self.open()

    def run_jobs(self) -> None:
        """Let the housekeeper work."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.result()

    def close(self) -> None:
        """Close the log in an orderly way."""
        self.run_jobs()
        assert self.engine is not None
        self.engine.close()
        self.engine = None

    def kill(self) -> None:
        """End the process, not the machine."""
        self._jobs.clear()
        self.engine = None
        self.disk.kill()

    def _make(self, disk: SimulatedDisk) -> Engine:
        return self.engine_class(
            LOG,
            disk,
            spawn=self._spawn if disk is self.disk else _at_once,
            sizes=TINY,
            clock=lambda: self.clock_s,
            random=self.random.randbytes if disk is self.disk else self.chance.randbytes,
        )

    def _spawn(self, work: Callable[[], None]) -> Job:
        job = Job(work)
        self._jobs.append(job)
        return job

    # Looking

    def look(self) -> None:
        """Open the log as some crashes at this moment would leave it."""
        if self.disk.calls not in self.looks_at:
            return
        fates = [Fate.LOST, Fate.KEPT] if self.chance.random() < 0.1 else []
        fates += [Fate.CHANCE] * self.crashes_a_call
        for fate in fates:
            self.look_at(self.disk.crash(self.chance, fate))

    def look_at(self, disk: SimulatedDisk) -> None:
        """Open the log on a crashed disk; sometimes crash that start too, and always write to
        it."""
        self.states += 1
        start = disk.crash(self.chance, Fate.LOST)
        found = self.open_at(disk)
        self.check(found)
        if self.chance.random() < 0.1:
            self._crash_the_start(start, found)

    def open_at(self, disk: SimulatedDisk) -> Records:
        """Open the log on another disk, write to it, and return what was found."""
        found: Records = []
        engine = self._make(disk)
        try:
            engine.open("crash", 1, each(_into(found)))
            engine.write(engine.prepare([b"after the crash"], urgent=True))
        except LogUnavailable:
            if disk.capacity_bytes is None:
                raise
        except LogCorrupt as error:
            raise Violation(f"damaged without damage: {error}") from error
        return found

    def _crash_the_start(self, start: SimulatedDisk, found: Records) -> None:
        """Crash once more, while the log is opened. What the first start would have found has to be
        there unless nothing had confirmed it."""
        again: list[SimulatedDisk] = []
        start.after_change = lambda: again.append(start.crash(self.chance))
        self.open_at(start)
        for disk in again:
            self.states += 1
            seen = [record for record in self.open_at(disk) if record[1] != b"after the crash"]
            self.check(seen)

    # Checking

    def check(self, found: Records) -> None:
        """Raise a Violation unless `found` may be what is left now."""
        rest = list(found)
        for batch in self._possible(rest):
            here = rest[: len(batch.records)] == batch.records
            if here:
                if batch.state is State.REFUSED:
                    raise Violation(f"a refused batch is there: {batch.records[0][0]:#x}")
                del rest[: len(batch.records)]
            elif batch.state is State.CONFIRMED and batch.records[-1][0] >= self.trimmed:
                raise Violation(f"a confirmed batch is lost: {batch.records[0][0]:#x}")
        if rest:
            raise Violation(f"not submitted like this: {rest[0][0]:#x} {rest[0][1][:8]!r}")

    def _possible(self, found: Records) -> Sequence[Batch]:
        """Return the batches that `found` can hold: a prefix may have been trimmed away."""
        first = found[0][0] if found else 0
        return [batch for batch in self.batches if batch.records[0][0] >= min(first, self.trimmed)]

    def _settle(self, found: Records) -> None:
        """After a start: what it found has been seen and must stay, the rest must never come
        back."""
        seen = set(found)
        for batch in self.batches:
            if batch.state is State.UNKNOWN:
                batch.state = State.CONFIRMED if batch.records[0] in seen else State.REFUSED


def flip_bytes(life: Life, stride: int) -> dict[str, int]:
    """Damage a closed log in one byte at a time: every byte that is used at the ends, each
    `stride`-th between.

    Raises a Violation unless the damage is found, or only the last batch is cut, or nothing is
    lost. Returns how often each was the case.
    """
    whole = life.open_at(life.disk.crash(life.chance, Fate.LOST))
    last = len(life.batches[-1].records)
    seen = {"damage": 0, "cut": 0, "unused": 0}
    for name, content in sorted(life.disk.image().items()):
        if not name.endswith(".seg"):
            continue
        for offset in [*range(40), *range(40 + life.seed % stride, len(content), stride)]:
            disk = life.disk.crash(life.chance, Fate.LOST)
            disk.flip(LOG / name, offset, life.chance.randrange(1, 256))
            try:
                found = life.open_at(disk)
            except Violation:
                seen["damage"] += 1
                continue
            if found != whole[: len(found)] or len(whole) - len(found) not in (0, last):
                raise Violation(f"{name} damaged at {offset}: wrong records, and nobody says so")
            seen["unused" if found == whole else "cut"] += 1
    return seen


def _into(found: Records) -> Callable[[int, bytes], None]:
    return lambda position, payload: found.append((position, payload))


def _at_once(work: Callable[[], None]) -> Job:
    job = Job(work)
    job.result()
    return job


def base_seed() -> int:
    """Return the seed of this run: SIMULATION_SEED, or a new one. Printed, so that a failure can be
    repeated."""
    text = os.environ.get("SIMULATION_SEED")
    seed = int(text) if text else Random().randrange(1 << 31)
    print(f"SIMULATION_SEED={seed}")
    return seed


FAULTS: Final[dict[str, tuple[Fault, ...]]] = {
    "failure": (Fault.EIO,),
    "no space": (Fault.ENOSPC,),
    "short write": (Fault.SHORT,),
    "short write, then no space": (Fault.SHORT, Fault.ENOSPC),
    "short write, then failure": (Fault.SHORT, Fault.EIO),
    "no descriptor": (Fault.EMFILE,),
    "no memory": (Fault.ENOMEM,),
    "short write, then no memory": (Fault.SHORT, Fault.ENOMEM),
}
"""What happens at a call, and at those after it."""


def fault_calls(
    seed: int, steps: int, *, stride: int = 1, engine_class: type[Engine] = Engine
) -> tuple[int, int]:
    """Live one life again and again, with other calls failing each time.

    Every `stride`-th call is tried. Crashes are looked at from the failure on, for a while. What
    passes must not end the process, unless it was a sync that failed. Returns how many lives and
    crash states there were.
    """
    lives = states = 0
    for call in range(1 + seed % stride, _calls_of(seed, steps), stride):
        for faults in FAULTS.values():
            life = Life(seed, SimulatedDisk(seed=seed + call), engine_class, crashes_a_call=1)
            life.disk.faults.update(enumerate(faults, call))
            life.looks_at = range(call, call + 30)
            life.live(steps)
            lives += 1
            states += life.states
            if life.ends and Fault.EIO not in faults and not life.disk.failed_syncs:
                raise Violation(f"the process ended for {faults} at call {call} of life {seed}")
    return lives, states


def _calls_of(seed: int, steps: int) -> int:
    life = Life(seed, SimulatedDisk(seed=seed))
    life.looks_at = range(0)
    life.live(steps)
    return life.disk.calls
