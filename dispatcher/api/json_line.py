"""JSON documents as the API writes them: each is a line. Without its end a shell would put its
prompt behind what curl prints."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

LINE_END: Final = "\n"


def json_line(document: BaseModel) -> bytes:
    """A model as JSON on one line, with its end."""
    return (document.model_dump_json() + LINE_END).encode("utf-8")
