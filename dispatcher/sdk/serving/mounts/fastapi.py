"""Functions in an application of FastAPI: it is one of Starlette."""

from __future__ import annotations

from dispatcher.sdk.serving.mounts.starlette import mount

__all__ = ["mount"]
