"""What `dispatcher run` says of the processes that it runs."""

from __future__ import annotations

from dispatcher.cli.local import words


def test_application_that_does_not_listen_is_told_how() -> None:
    """Two mistakes come to the same: it does not serve at all, or serves at another address."""
    assert words.nobody_listens("app.py", "127.0.0.1:8000") == (
        "Nobody listens at 127.0.0.1:8000, where runs are sent. Does app.py listen on "
        "DISPATCH_ENDPOINT_ADDR, as app.serve() and `async with app.serving()` do? If it listens "
        "elsewhere, say where: --endpoint host:port."
    )
