"""A reminder: it sleeps for as long as it is told, without a process that has to live that long.

dispatcher run --session reminders -- python examples/functions/durable_sleep.py 10

Stop it while it sleeps, by Ctrl-C or by kill -9, and start it again with `resume` in place of the
seconds: the reminder comes when it was due, or at once where that is over.
"""

from __future__ import annotations

import sys

import dispatcher.sdk as dispatch


@dispatch.function
async def remind(text: str, after_s: float) -> str:
    """Say it later: in a second or in a year."""
    await dispatch.sleep(after_s)
    dispatch.log.info("reminder: %s", text)
    return text


if __name__ == "__main__":
    app = dispatch.Dispatch(remind)
    seconds = sys.argv[1] if len(sys.argv) > 1 else "10"
    if seconds != "resume":
        handle = remind.dispatch_sync("water the plants", float(seconds))
        print(f"Call {handle.id} sleeps for {seconds} s.", flush=True)
    app.serve()
