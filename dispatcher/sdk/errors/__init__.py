"""How a run failed: from the exception that ended it to a status and a `Failure`, and back.

    exception ──failure_of──▶ Status, Failure ──exception_of──▶ exception

A status decides whether the call is tried again. What waits for the call gets an exception of the
same class where that is imported, with the remote traceback.
"""

from dispatcher.sdk.errors.codes import status_of_code
from dispatcher.sdk.errors.retrying import retry_after_of
from dispatcher.sdk.errors.sending import exception_of, failure_of
from dispatcher.sdk.errors.statuses import Errors, Means, checked, register, status_of
from dispatcher.sdk.errors.tracebacks import RemoteTraceback, of_application

__all__ = [
    "Errors",
    "Means",
    "RemoteTraceback",
    "checked",
    "exception_of",
    "failure_of",
    "of_application",
    "register",
    "retry_after_of",
    "status_of",
    "status_of_code",
]
