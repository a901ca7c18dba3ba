"""Whatever Python says by the way: warnings, stderr, exceptions that nobody could raise.

Two things are said of programs and may be: that one of their functions failed, and that nobody
looked at the exception of one of their tasks.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Raises: AssertionError with what was said, also by what is collected at the end."""
    said = io.StringIO()
    log = logging.getLogger("dispatcher.sdk")
    before = sys.unraisablehook
    log.addFilter(_is_news)
    sys.unraisablehook = lambda raised: (
        said.write(f"{raised.err_msg}: {raised.exc_value!r}\n") and None
    )
    try:
        with contextlib.redirect_stderr(said), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = before
        log.removeFilter(_is_news)
    everything = said.getvalue() + "".join(
        f"{one.category.__name__}: {one.message}\n" for one in warned
    )
    assert not everything, everything


def _is_news(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not (" failed (call " in message or message.endswith("exception was never retrieved"))
