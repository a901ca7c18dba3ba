"""The engine that keeps a partition's log in segment files of a directory (see ../FORMAT.md).

`log` is what the queue is given, `engine` decides and writes, `supply` has segments ready, `reader`
and `walk` read back; `recovery` opens a log, `inspect` and `repair` look at one that is not open.
"""

from dispatcher.txlog.files.log import FileLog as FileLog
