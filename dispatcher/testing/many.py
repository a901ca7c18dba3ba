"""A server of several processes, for tests.

```
with ManyProcesses(tmp_path, 2, WORKER="4") as server:     # all are ready when this returns
    ...
    os.kill(server.pid_of(1), signal.SIGKILL)
```

What it logs is that of all its processes; a line of one has its number in `process`. At the end all
of them are killed, whatever was made of them. Run as a module, this is the command that is started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dispatcher.testing.process import Line, ServerProcess

TIMINGS: Final = "TEST_TIMINGS"
CHILD: Final = "TEST_CHILD"


class ManyProcesses(ServerProcess):
    """A server that was started."""

    def __init__(
        self,
        directory: Path,
        processes: int,
        /,
        *,
        child: Sequence[str] = (),
        timings: Mapping[str, float] | None = None,
        **settings: str,
    ) -> None:
        """Start it, without waiting; in place of its children a command `child`, if there is
        one, which is given what a child is given."""
        told = {TIMINGS: json.dumps(dict(timings or {})), CHILD: json.dumps(list(child))}
        program = ("-m", __name__)
        settings = {"PROCESSES": str(processes)} | settings
        super().__init__(directory, (), 60.0, program, **settings, **told)

    def of(self, name: str, process: int) -> list[Line]:
        """The events of one process, or about it, that were logged so far."""
        return [line for line in self.events(name) if line.get("process") == process]

    def pid_of(self, process: int) -> int:
        """The process id that a child has now."""
        pid: int = self.of("process.started", process)[-1]["pid"]
        return pid


def _main(environ: dict[str, str]) -> None:
    from dispatcher import node
    from dispatcher.errors import DispatcherError
    from dispatcher.node.early_stop import EarlyStop
    from dispatcher.node.processes.life import Timings
    from dispatcher.node.processes.parent import complain
    from dispatcher.node.processes.preparing import run_processes
    from dispatcher.settings import loaded

    signal.pthread_sigmask(
        signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    )  # as the command line does
    early = EarlyStop()
    early.begin()
    timings: dict[str, Any] = json.loads(environ.pop(TIMINGS))
    child: list[str] = json.loads(environ.pop(CHILD))
    try:
        settings, rules = loaded.load(environ)
        if not timings and not child:
            sys.exit(node.run(settings, environ, rules=rules, early=early))
        run_processes(
            settings,
            environ,
            rules=rules,
            early=early,
            timings=Timings(**timings) if timings else None,
            child=child or None,
        )
    except DispatcherError as error:
        complain(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main(dict(os.environ))
