"""What is stored of the number of partitions is read for ever, in every version."""

from __future__ import annotations

import re
from pathlib import Path

from dispatcher.node.layout import NAME, Former, Layout, decoded

HERE = Path(__file__).parent
FORMAT = HERE.parents[1] / "dispatcher" / "txlog" / "FORMAT.md"


def test_file_of_version_1_is_read() -> None:
    """And written in the same bytes."""
    content = (HERE / "partitions_v1.json").read_bytes()
    layout = Layout(3, (Former(2, 1764633600000000), Former(1, 1764547200000000)))
    assert decoded(Path(NAME), content) == layout
    assert layout.encoded() == content


def test_fields_that_are_not_known_are_passed_over() -> None:
    """A later version may tell more, without becoming another one."""
    content = b'{"version": 1, "spread": 2, "former": [], "told": {"by": "a later one"}}'
    assert decoded(Path(NAME), content) == Layout(2)


def test_example_of_the_format_is_what_is_written() -> None:
    """`FORMAT.md` shows it."""
    found = re.search(r"```partitions\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert Layout(3, (Former(1, 1764547200000000),)).encoded().decode() == found[1]
