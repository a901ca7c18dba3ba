"""Where something is in the user's code, as messages say it."""

from __future__ import annotations

import pytest

from dispatcher.sdk.replay import where


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (["app.py:41"], "app.py:41"),
        (["app.py:44", "other.py:1", "app.py:38"], "app.py:38-44"),
        (["app.py:38", "app.py\x0141"], "app.py\x0141"),
        (["app.py:38", "app.py:4\xb2"], "app.py:38"),
        (["app.py:" + "9" * 5000], "app.py:" + "9" * 5000),
    ],
)
def test_lines_between_sites_are_shown_also_where_one_is_damaged(
    sites: list[str], said: str
) -> None:
    """Those of the file of the last one; a site is a text of the record, which may say anything."""
    assert where.lines(sites) == said
