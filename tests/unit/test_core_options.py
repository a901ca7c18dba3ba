"""What callers may ask for: values, what excludes what, and what is stored of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.flow import Flow
from dispatcher.core.option_reading import BadOption, Options, read_options
from dispatcher.core.option_values import YEAR_MS, After, At
from dispatcher.core.options import BY_KEY, FLOW, FLOW_KEY, OPTIONS, Option, written
from dispatcher.core.rate import Rate
from dispatcher.core.terms import Terms

DURATIONS = ("timeout", "delay", "deadline", "retry_delay", "retry_max_delay", "wait")
NOW_US = 1_800_000_000_000_000
NOW = "2027-01-15T08:00:00Z"
SECOND_US = 1_000_000


def options(now_us: int | None = NOW_US, /, **values: str) -> Options:
    """The options with these values, by their names in JSON."""
    return read_options([(BY_KEY[key], value) for key, value in values.items()], now_us)


def terms(**values: str) -> Terms:
    """What is stored of them for a message that is accepted now."""
    return options(NOW_US, **values).terms(NOW_US)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"delay": "30s"}, Terms(not_before_us=NOW_US + 30 * SECOND_US)),
        ({"delay": "0"}, Terms()),
        ({"delay": "365d"}, Terms(not_before_us=NOW_US + YEAR_MS * 1000)),
        ({"not_before": "1800000001"}, Terms(not_before_us=NOW_US + SECOND_US)),
        ({"not_before": "2027-01-15T09:00:01+01:00"}, Terms(not_before_us=NOW_US + SECOND_US)),
        ({"not_before": "2001-01-01T00:00:00Z"}, Terms()),
        ({"deadline": "5m"}, Terms(deadline_us=NOW_US + 300 * SECOND_US)),
        ({"deadline": "2027-01-15T08:00:01Z"}, Terms(deadline_us=NOW_US + SECOND_US)),
        ({"retries": "0"}, Terms(retries=0)),
        ({"retries": "1000"}, Terms(retries=1000)),
        ({"retry_delay": "250"}, Terms(retry_delay_ms=250)),
        ({"retry_max_delay": "1h30m"}, Terms(retry_max_delay_ms=5_400_000)),
        ({"label": "invoice-7"}, Terms(label="invoice-7")),
        (
            {"callback": "https://a.example/b?c=d", "failure_callback": "HTTP://[::1]:81"},
            Terms(callback="https://a.example/b?c=d", failure_callback="HTTP://[::1]:81"),
        ),
        ({"label": "x" * 64, "timeout": "3s"}, Terms(label="x" * 64)),
        ({"order_key": "o" * 255}, Terms(order_key="o" * 255)),
        (
            {"flow_key": "f", "flow": "parallelism=2, rate=10/m"},
            Terms(flow_key="f", flow=Flow(Rate(10, 60_000_000), 2)),
        ),
    ],
)
def test_values_become_terms(values: dict[str, str], expected: Terms) -> None:
    """Durations count from the moment when the message is accepted; what has passed is at once."""
    assert options(NOW_US, **values).has_terms
    assert terms(**values) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("delay", value) for value in ("", "-1", "1.5s", "366d", "365d1ms", "1s 1ms", "now")],
        *[("not_before", value) for value in ("", "1.5", "-5", "30s", "2027-01-15", "12:00:00")],
        ("not_before", "2027-02-30T00:00:00Z"),
        ("not_before", "2028-01-15T08:00:01Z"),
        ("not_before", "99999999999"),
        ("not_before", "2027-01-15T09:00:01"),
        *[("deadline", value) for value in ("", "0", "0s", "1800000001s", "2027-01-15T08:00:00Z")],
        ("deadline", "1969-12-31T23:59:59Z"),
        ("deadline", "9999-12-31T23:59:60Z"),  # no instant of 10000 could be shown
        ("deadline", "9999-12-31T23:59:59-14:00"),
        *[("retries", value) for value in ("", "-1", "1001", "1.0", "ten", "0x1")],
        *[("retry_delay", value) for value in ("", "1.5s", "366d", "-1")],
        *[("retry_max_delay", value) for value in ("", "0", "366d")],
        *[
            (key, value)
            for key in ("callback", "failure_callback")
            for value in (
                *("", "a.example", "ftp://a.example", "http://", "http:///x", "http://a:0/"),
                *("http://u@a/", "http://a/#f", "http://a/ b", "http://a/\xe4", "https://?x"),
                "http://a/" + "x" * 2040,
            )
        ],
        *[("label", value) for value in ("", "x" * 65, "a b", "\x7f", "\xe4")],
        *[("order_key", value) for value in ("", "x" * 256, "a b", "\x7f", "\xe4")],
        *[("flow_key", value) for value in ("", "x" * 256, "a b")],
        *[("flow", value) for value in ("", "burst=2", "rate=1/s, rate=1/s", "parallelism=0")],
    ],
)
def test_bad_value_is_refused(key: str, value: str) -> None:
    """The refusal names the header and has its slug."""
    option = BY_KEY[key]
    with pytest.raises(BadOption, match=option.title) as caught:
        options(NOW_US, **{key: value})
    assert caught.value.slug == option.slug


@pytest.mark.parametrize(
    ("values", "slug"),
    [
        ({"delay": "1s", "not_before": "1800000001"}, "delay_invalid"),
        ({"delay": "0", "not_before": "1"}, "delay_invalid"),
        ({"delay": "10s", "deadline": "10s"}, "deadline_invalid"),
        ({"delay": "10s", "deadline": "2027-01-15T08:00:09Z"}, "deadline_invalid"),
        ({"not_before": "1800000010", "deadline": "9s"}, "deadline_invalid"),
        ({"flow": "rate=1/s"}, "flow_invalid"),
        ({"flow": "rate=1/s", "order_key": "k"}, "flow_invalid"),
        (
            {"not_before": "2027-01-15T08:00:10Z", "deadline": "2027-01-15T08:00:10Z"},
            "deadline_invalid",
        ),
    ],
)
def test_values_that_exclude_each_other_are_refused(values: dict[str, str], slug: str) -> None:
    """Both spellings of when it begins, and an end before the beginning."""
    with pytest.raises(BadOption) as caught:
        options(NOW_US, **values)
    assert caught.value.slug == slug


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        *((key, "such as `500ms` or `30s`; a bare number is milliseconds") for key in DURATIONS),
        ("callback", "such as `https://app.example.com/done`"),
        ("failure_callback", "such as `https://app.example.com/done`"),
        ("label", "without blanks"),
        ("order_key", "without blanks"),
        ("flow_key", "without blanks"),
        ("idempotency_key", "without blanks"),
    ],
)
def test_refusal_of_a_value_shows_how_one_is_written(key: str, shown: str) -> None:
    """Who wrote `30 minutes` finds the units in the answer."""
    with pytest.raises(BadOption) as caught:
        read_options([(BY_KEY[key], "30 minutes")], NOW_US)
    assert shown in str(caught.value)


def test_option_that_is_given_twice_is_refused() -> None:
    """Which of them was meant?"""
    label = BY_KEY["label"]
    with pytest.raises(BadOption, match="must be sent once"):
        read_options([(label, "a"), (label, "a")], NOW_US)


def test_what_has_passed_is_no_mistake_in_a_file() -> None:
    """A message that is imported had its times long ago; an end before the beginning stays one."""
    found = options(None, deadline="2001-01-01T00:00:00Z", not_before="1000")
    assert found.terms(NOW_US) == Terms(deadline_us=978_307_200 * SECOND_US)
    with pytest.raises(BadOption):
        options(None, deadline="2001-01-01T00:00:00Z", not_before="2001-01-01T00:00:00Z")


def test_instant_says_that_it_depends_on_the_time() -> None:
    """The same request later may be refused; one with durations is the same at any time."""
    assert options(not_before=NOW).has_instant
    assert options(deadline="2027-01-15T09:00:00Z").has_instant
    assert not options(delay="5s", deadline="9s", label="x").has_instant


def test_timeout_alone_is_no_term() -> None:
    """It has a place of its own in every message."""
    found = options(timeout="3s")
    assert (found.timeout_ms, found.has_terms) == (3000, False)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_that_is_a_term_is_stored_and_no_other(option: Option) -> None:
    """`Options.terms` has the field that a row names; what has a place elsewhere says so."""
    values = ("90s", "2027-01-31T12:00:00Z", "7", "https://a.example/told", "rate=10/1m", "abc")
    given = {option.key: next(one for one in values if option.read(one) is not None)}
    if option is FLOW:
        given[FLOW_KEY.key] = "f"
    found = terms(**given)
    assert (found != Terms()) == option.is_term
    assert option is not FLOW or found.flow is not None


instants = st.integers(1, 253_402_300_799_999_999)
durations = st.integers(1, YEAR_MS)


@given(
    st.builds(
        Terms,
        not_before_us=st.just(0) | instants,
        deadline_us=st.just(0) | instants,
        retries=st.none() | st.integers(0, 1000),
        retry_delay_ms=st.none() | durations,
        retry_max_delay_ms=st.none() | durations,
        label=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=64),
        order_key=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=255),
        flow_key=st.just("f"),
        flow=st.none() | st.builds(Flow, st.builds(Rate, st.integers(1, 99), st.just(60_000_000))),
    )
)
def test_what_is_stored_is_written_as_it_is_read(given_terms: Terms) -> None:
    """Exports and imports, and what is shown, lose nothing."""
    text = written(given_terms)
    if given_terms.deadline_us and given_terms.deadline_us <= given_terms.not_before_us:
        return
    if not text:
        assert given_terms == Terms()
        return
    assert options(None, **text).terms(0) == given_terms


@given(st.sampled_from(OPTIONS), st.text(st.characters(max_codepoint=0xFF), max_size=80))
def test_any_value_is_read_or_refused(option: object, text: str) -> None:
    """Whatever a caller sends, the answer is a value or a refusal that names the header."""
    (found,) = [one for one in OPTIONS if one is option]
    refusal = ""
    try:
        read_options([(found, text)], NOW_US)
    except BadOption as error:
        refusal = str(error)
    assert not refusal or found.title in refusal


def test_durations_and_instants_give_instants() -> None:
    """`After` counts from the moment of accepting, `At` does not."""
    assert After(5).instant_us(100) == 5100
    assert At(7).instant_us(100) == 7
