"""What a guest (`pending.guest`) gets of the partition that it lives in."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.pending.pending import Pending
from dispatcher.telemetry.supervisor import Died
from dispatcher.txlog import TransactionLog


class Host:
    """`log` is read, `committer` writes it, and what is needed in it is held in `extents`. `failed`
    is told when the log cannot be read any more, with its error; `died` what nobody foresaw."""

    __slots__ = ("_pending", "committer", "died", "failed", "log", "partition")

    def __init__(
        self,
        log: TransactionLog,
        committer: Committer,
        pending: Pending,
        *,
        partition: int,
        failed: Callable[[Exception], None],
        died: Died,
    ) -> None:
        self.log = log
        self.committer = committer
        self.partition = partition
        self.failed = failed
        self.died = died
        self._pending = pending

    @property
    def extents(self) -> Extents:
        """The extents of the log."""
        return self._pending.extents

    def upload(self, *, is_copy: bool = False, is_urgent: bool = False) -> ChunkUpload:
        """Begin chunk records: what is too large for one record. They are held, and copied forward,
        until they are `fixed`, and held until they are let go."""
        upload = ChunkUpload(
            self.committer, self._pending, lambda: None, is_copy=is_copy, is_urgent=is_urgent
        )
        return upload.let_move()
