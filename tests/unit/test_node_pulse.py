"""The sign of life for systemd's watchdog."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.api.health import Health
from dispatcher.node.pulse import Condition, Pulse, described
from dispatcher.node.systemd import Systemd

FINE = Condition(Health(), True, waiting=3, dead=1)
FULL = Condition(Health("disk_full"), True, waiting=3, dead=1)
STALLED = Condition(Health("disk_stalled"), False, waiting=3, dead=1)
LEAVING_STALLED = Condition(Health("shutting_down"), False, waiting=3, dead=1)


class Patient:
    """A server whose condition the test says."""

    def __init__(self) -> None:
        self.now = FINE

    def condition(self) -> Condition:
        """As it is."""
        return self.now


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        yield made


def read(inbox: socket.socket) -> list[str]:
    """What was told."""
    found = []
    try:
        while True:
            found.append(inbox.recv(4096).decode())
    except BlockingIOError:
        return found


def pulse(inbox: socket.socket, patient: Patient, **environ: str) -> Pulse:
    """The pulse of a server that systemd has started."""
    return Pulse(Systemd({"NOTIFY_SOCKET": inbox.getsockname(), **environ}), patient)


async def test_no_sign_of_life_while_a_log_does_not_answer(inbox: socket.socket) -> None:
    """Also when the health has something else to say. A full disk is no reason: a restart makes no
    space."""
    patient = Patient()
    taken = pulse(inbox, patient, WATCHDOG_USEC="2000000")
    lives = []
    for condition in (FINE, FULL, STALLED, LEAVING_STALLED, FINE):
        patient.now = condition
        await taken.beat()
        lives.append("WATCHDOG=1" in read(inbox))
    assert lives == [True, True, False, False, True]


async def test_status_is_told_when_it_has_changed(inbox: socket.socket) -> None:
    """Once, whether there is a watchdog or not."""
    patient = Patient()
    taken = pulse(inbox, patient)
    for condition in (FINE, FINE, STALLED):
        patient.now = condition
        await taken.beat()
    assert read(inbox) == [f"STATUS={described(one)}" for one in (FINE, STALLED)]
    assert described(FINE) == "Accepting messages; 3 waiting, 1 dead letters."
    assert described(STALLED).startswith("Not accepting messages (disk_stalled);")


@pytest.mark.parametrize(
    ("usec", "every_s"), [("2000000", 1.0), ("60000000", 10.0), ("0", 10.0), ("x", 10.0), ("", 10)]
)
def test_signs_of_life_come_twice_in_the_time_that_is_allowed(
    inbox: socket.socket, usec: str, every_s: float
) -> None:
    """And every ten seconds at least. What is no number of microseconds is no watchdog."""
    assert pulse(inbox, Patient(), WATCHDOG_USEC=usec).every_s == every_s
