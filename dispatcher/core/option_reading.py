"""What a caller asked for with one message: its options, read and looked at beside each other.

Heads, `dispatcher send`, imports and schedules read with this. It is pure: the time comes in as an
argument. What there is to ask for is the table of `core.options`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from dispatcher.core.flow import Flow
from dispatcher.core.option_values import YEAR_MS, After, At, When
from dispatcher.core.options import DEADLINE, DELAY, FLOW, FLOW_KEY, NOT_BEFORE, Option
from dispatcher.core.terms import Terms


class Options(NamedTuple):
    """What a caller asked for with one message.

    Of every field None says that it was not given; those that `Terms` has too are explained there.

    `timeout_ms`   for one attempt.
    `wait_ms`      how long the caller waits for what becomes of the message. It is not stored.
    `has_terms`    whether anything else was given.
    `is_plain`     whether the message is stored and answered as one without options: it has no
                   terms, nobody waits, and it has no place.
    `is_placed`    whether it meets others at its destination without a key: a rule bounds them.
    `has_instant`  whether one of them is an instant: what is said of the same request later may be
                   something else.
    """

    timeout_ms: int | None = None
    delay: After | None = None
    not_before: At | None = None
    deadline: When | None = None
    retries: int | None = None
    retry_delay_ms: int | None = None
    retry_max_delay_ms: int | None = None
    label: str | None = None
    idempotency_key: str | None = None
    callback: str | None = None
    failure_callback: str | None = None
    order_key: str | None = None
    flow_key: str | None = None
    flow: Flow | None = None
    wait_ms: int | None = None
    has_terms: bool = False
    has_instant: bool = False
    is_plain: bool = True
    is_placed: bool = False

    @property
    def is_keyed(self) -> bool:
        """As `core.placing.is_keyed` has it."""
        keys = (self.idempotency_key, self.order_key, self.flow_key)
        return any(key is not None for key in keys)

    def terms(self, accepted_us: int) -> Terms:
        """What is stored of it for a message that is accepted then, in microseconds since the
        epoch."""
        begins = self.not_before or self.delay
        begins_us = 0 if begins is None else begins.instant_us(accepted_us)
        return Terms(
            not_before_us=begins_us if begins_us > accepted_us else 0,
            deadline_us=0 if self.deadline is None else self.deadline.instant_us(accepted_us),
            retries=self.retries,
            retry_delay_ms=self.retry_delay_ms,
            retry_max_delay_ms=self.retry_max_delay_ms,
            label=self.label or "",
            idempotency_key=self.idempotency_key or "",
            callback=self.callback or "",
            failure_callback=self.failure_callback or "",
            order_key=self.order_key or "",
            flow_key=self.flow_key or "",
            flow=self.flow,
        )


NO_OPTIONS: Final = Options()


class BadOption(ValueError):
    """A value that an option cannot have, or two that cannot both be: the text says what to do, and
    names the header."""

    def __init__(self, slug: str, message: str) -> None:
        super().__init__(message)
        self.slug = slug


def read_options(given: Iterable[tuple[Option, str]], now_us: int | None) -> Options:
    """Read the options of one message, each given once, without the blanks around its value.

    `now_us` is the wall clock, in microseconds since the epoch; None: what has passed meanwhile is
    no mistake, as in a file that is imported.

    Raises:
        BadOption: of the first that is wrong.
    """
    values: dict[str, Any] = {}
    has_terms = False
    for option, text in given:
        value = option.read(text)
        if value is None or option.field in values:
            raise bad_value(option)
        values[option.field] = value
        has_terms = has_terms or option.is_term
    has_instant = any(isinstance(value, At) for value in values.values())
    options = Options(
        **values,
        has_terms=has_terms,
        has_instant=has_instant,
        is_plain=not has_terms and "wait_ms" not in values,
    )
    if has_terms:
        _check_pairs(options)
        _check_instants(options, now_us)
    return options


def bad_value(option: Option) -> BadOption:
    """An option has a value that it cannot have, or was given twice."""
    return BadOption(option.slug, f"{option.title} must be sent once, and be {option.takes}.")


def _check_pairs(options: Options) -> None:
    """Look at which options were given beside which."""
    if options.flow is not None and options.flow_key is None:
        raise BadOption(
            FLOW.slug, f"{FLOW.title} needs {FLOW_KEY.title}: send the key whose flow it says."
        )
    if options.delay is not None and options.not_before is not None:
        raise BadOption(
            DELAY.slug, f"{DELAY.title} and {NOT_BEFORE.title} exclude each other: send one."
        )


def _check_instants(options: Options, now_us: int | None) -> None:
    """Look at when the first attempt may come and when the last, beside each other and `now_us`."""
    begins, deadline = options.not_before or options.delay, options.deadline
    if now_us is None:
        # Durations count from an instant that is not known: only two instants can be compared.
        if not (isinstance(begins, At) and isinstance(deadline, At)):
            return
        now_us = 0
    elif options.not_before is not None and options.not_before.us > now_us + YEAR_MS * 1000:
        raise bad_value(NOT_BEFORE)
    if deadline is None:
        return
    ends_us = deadline.instant_us(now_us)
    if ends_us <= now_us:
        raise BadOption(DEADLINE.slug, f"{DEADLINE.title} has passed: send a later one, or none.")
    if begins is not None and ends_us <= begins.instant_us(now_us):
        name = (NOT_BEFORE if options.not_before is not None else DELAY).title
        raise BadOption(
            DEADLINE.slug,
            f"{DEADLINE.title} must be after the first attempt, which {name} sets: "
            "nothing could be sent.",
        )
