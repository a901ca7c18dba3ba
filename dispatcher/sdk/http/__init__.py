"""Requests over HTTP that survive: `await dispatch.http.get("https://api.example.com/x")`.

Each is a durable call of a function that every application has. A service that can't be reached, or
answers 408, 429 or 5xx (but 501), is asked again, not before its Retry-After has passed, until the
call expires. Any other answer is the result, once and for all.
"""

from dispatcher.sdk.http.methods import delete, get, head, patch, post, put, request
from dispatcher.sdk.http.response import Response
from dispatcher.sdk.http.sending import send

__all__ = ["Response", "delete", "get", "head", "patch", "post", "put", "request", "send"]
