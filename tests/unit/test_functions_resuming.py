"""Which results a resume delivers, and what has to be durable before it is sent."""

from __future__ import annotations

from dispatcher.functions import limits
from dispatcher.functions.runs.resuming import Plan, plan_resume
from dispatcher.functions.spans import span
from dispatcher.testing.calls import KEY, a_resumed_call

MB = 1_000_000


def test_everything_that_fits_is_delivered() -> None:
    """Nothing more can come: sent again, it is the same without a record."""
    assert plan_resume(a_resumed_call(results=(5, 0, 7))) == Plan(3, must_be_stored=False)
    assert plan_resume(a_resumed_call()) == Plan(0, must_be_stored=False)


def test_what_may_change_is_stored() -> None:
    """A child that is outstanding may end between two tries."""
    call = a_resumed_call(results=(5, 5))
    call.children = (KEY + 9,)
    assert plan_resume(call) == Plan(2, must_be_stored=True)
    empty = a_resumed_call()
    empty.children = (KEY + 9,)
    assert plan_resume(empty) == Plan(0, must_be_stored=True)


def test_no_more_than_the_poll_wants_are_delivered() -> None:
    """In their order."""
    assert plan_resume(a_resumed_call(results=(5,) * 5, max_results=2)) == Plan(
        2, must_be_stored=True
    )


def test_no_more_than_fits_is_delivered() -> None:
    """15 MB with the state; one in any case."""
    call = a_resumed_call(results=(6 * MB, 6 * MB, 6 * MB))
    assert plan_resume(call) == Plan(2, must_be_stored=True)
    call = a_resumed_call(results=(6 * MB, 6 * MB), state=bytes(9 * MB))
    assert plan_resume(call) == Plan(1, must_be_stored=True)
    call = a_resumed_call(results=(1 * MB,), state=bytes(14_900_000))
    assert plan_resume(call) == Plan(1, must_be_stored=False)


def test_resume_that_can_never_be_sent_says_why() -> None:
    """State and one result have more than one request holds."""
    room = limits.MOST_PAYLOAD_BYTES - 8 * MB - limits.RESULT_BYTES
    assert plan_resume(a_resumed_call(results=(room,), state=bytes(8 * MB))) == Plan(
        1, must_be_stored=False
    )
    why = plan_resume(a_resumed_call(results=(room + 1,), state=bytes(8 * MB)))
    assert isinstance(why, str)
    assert str(limits.MOST_PAYLOAD_BYTES) in why


def test_error_takes_its_room() -> None:
    """It is delivered with the results."""
    call = a_resumed_call(results=(7 * MB, 7 * MB))
    assert plan_resume(call) == Plan(2, must_be_stored=False)
    call.error = span(9, 0, 2 * MB)
    assert plan_resume(call) == Plan(1, must_be_stored=True)


def test_plan_that_was_stored_is_repeated() -> None:
    """Whatever has come since."""
    call = a_resumed_call(results=(5, 5, 5))
    call.frozen = 1
    assert plan_resume(call) == Plan(1, must_be_stored=False)
    call.frozen = 0
    assert plan_resume(call) == Plan(0, must_be_stored=False)
