"""Words that Bash has split at colons are whole again."""

from __future__ import annotations

import pytest

from dispatcher.cli.bash_words import joined


@pytest.mark.parametrize(
    ("line", "place", "words", "before"),
    [
        ("d hold ht", 2, ["d", "hold", "ht"], ""),
        ("d hold http : //a", 4, ["d", "hold", "http://a"], "http:"),
        ("d hold http : //a : 80", 6, ["d", "hold", "http://a:80"], "http://a:"),
        ("d hold http :", 3, ["d", "hold", "http:"], "http:"),
        ("d dead list --destination a : 8 --label x", 8,
         ["d", "dead", "list", "--destination", "a:8", "--label", "x"], ""),
        ("d hold a : 8 rest", 4, ["d", "hold", "a:8"], "a:"),
    ],
)  # fmt: skip
def test_words_are_joined_at_colons(line: str, place: int, words: list[str], before: str) -> None:
    """Up to the word that is completed; what stands before its last colon Bash keeps itself."""
    assert joined(line.split(" "), place) == (words, len(words) - 1, before)
