"""The usage log's writer: one row for each authenticated call, when its last byte has gone."""

import datetime
import logging
import time
from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from keys.authentication import Caller
from keys.models import ApiKey
from proxy.models import Call

logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # nginx's status for a caller that went away before its answer


@dataclass(kw_only=True)
class Passage:
    """A call on its way, filled in step by step and recorded once at its end."""

    request_id: str
    method: str
    path: str
    address: str
    client: str
    caller: Caller | None = None
    operation: str = ""
    status: int = 0
    reason: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    upstream_ms: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    recorded: bool = False

    @property
    def key(self) -> ApiKey | None:
        return self.caller.key if self.caller else None

    def record(self) -> None:
        """Write the row. A call without a valid key is nobody's and has none; a second time does nothing."""
        if self.recorded or self.key is None:
            return
        self.recorded = True
        duration_ms = (time.perf_counter() - self.started) * 1000
        try:
            Call.objects.create(
                request_id=self.request_id,
                at=timezone.now() - datetime.timedelta(milliseconds=duration_ms),
                key=self.key,
                user=self.key.owner,
                operation=self.operation,
                method=self.method[:16],
                path=self.path[:1000].replace("\0", "\ufffd"),  # PostgreSQL holds no NUL
                status=self.status,
                reason=self.reason,
                bytes_in=self.bytes_in,
                bytes_out=self.bytes_out,
                duration_ms=duration_ms,
                upstream_ms=self.upstream_ms,
                address=self.address or None,
                client=self.client[:100],
            )
        except (DatabaseError, InterfaceError):
            logger.exception("call_not_recorded request_id=%s key=%s", self.request_id, self.key.public_id)
