"""Which statements ran: what SYS_QUERY_HISTORY shows.

Here: a bounded list in memory, so that noting a statement costs no write. It starts empty with
the server, where Redshift keeps seven days. Not here: refreshes, which are kept in the file.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

_KEPT = 100_000


@dataclass(slots=True)
class Entry:
    """One statement that has ended; times UTC, `elapsed_us` in microseconds.

    `returned_rows` grows while the client fetches, and a fetch may still fail.
    """

    query_id: int
    label: str
    transaction_id: int
    session_id: int
    query_type: str
    status: str
    start_time: datetime
    end_time: datetime
    elapsed_us: int
    returned_rows: int
    error: str
    text: str

    def fail(self, error: BaseException) -> None:
        """Notes that the rows did not all come."""
        self.status, self.error = "failed", str(error) or repr(error)


class QueryHistory:
    """The statements that ended last, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._lock = Lock()
        self._next = 1

    def next_id(self) -> int:
        """An id for a statement."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def add(self, entry: Entry) -> None:
        """Notes a statement that has ended."""
        with self._lock:
            self._entries.append(entry)

    def entries(self) -> list[Entry]:
        """What is kept."""
        with self._lock:
            return list(self._entries)
