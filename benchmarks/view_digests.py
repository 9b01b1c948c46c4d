"""Every refresh of a run written down: what each materialized view's digest was after it.

    python -m benchmarks.view_digests STATE_DIR

compares what a run has written down with its raw rows; exits 1 if a digit differs.

Belongs here: when the digests are read, and what becomes of a refresh after which they could not
be. Doesn't belong here: what is read and its file (`local/recompute/captured.py`), and the
comparison (`local/recompute/history.py`).

Nothing is asked of the warehouse but after a refresh, whose end is seen in
`run/view_refreshes.json`, after its own start, as a server that was killed in the middle of a
session may have refreshed views of which nobody could write that down, and once at the end.
"""

import argparse
import logging
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retail_lakehouse.local.processes import recorded
from retail_lakehouse.local.recompute.captured import (
    CapturedDigest,
    CapturedError,
    CaptureEnd,
    NotCaptured,
    append_lines,
    capture,
    digests_file,
)
from retail_lakehouse.local.recompute.history import ViewHistory, check_history, history_lines
from retail_lakehouse.local.stack_settings import read_settings
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.client import WarehouseClient
from retail_lakehouse.warehouse.errors import WarehouseError
from retail_lakehouse.warehouse.refresh_record import read_records

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LABEL = "view-digests"


@dataclass(slots=True)
class DigestRecorder:
    """Reads the digests after each refresh of a state folder's views.

    `looks` counts the times they were read, `unchanged` the views that said what they had said
    before and so got no line.
    """

    settings: Settings
    looks: int = 0
    unchanged: int = 0
    _server: tuple[int, float] | None = None
    _due: bool = False
    _seen: dict[str, int] = field(default_factory=dict)
    _waiting: dict[str, int] = field(default_factory=dict)
    _why: str = ""
    _newest: dict[str, CapturedDigest] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _error: Exception | None = None

    def start(self) -> None:
        """Looks out for refreshes on a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name=LABEL, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, reads the digests once more and writes down how many refreshes it were.

        A warehouse that does not answer leaves no such line, so the comparison tells that the end
        is missing. Whatever ended the thread before its time is raised again.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        self._due = True
        self.look()
        self._give_up({})
        if self._due:
            logger.warning("The end of the run could not be read: %s", self._why)
            return
        refreshes = {name: digest.refresh for name, digest in self._newest.items()}
        end = CaptureEnd(round(time.time() * 1000), refreshes)
        append_lines(digests_file(self.settings.root), [end])

    def look(self) -> None:
        """Reads the digests if a refresh has ended, or a server started, since the last time."""
        server = self._running_server()
        self._due |= server != self._server
        self._server = server
        ended = {name: r.refreshed_at_ms for name, r in read_records(self.settings.root).items()}
        if ended != self._seen:
            new = {name: at for name, at in ended.items() if self._seen.get(name) != at}
            self._give_up(new)
            self._waiting |= new
            self._seen = ended
        if (self._waiting or self._due) and self._read(ended):
            self._waiting, self._due = {}, False

    def _run(self) -> None:
        try:
            while not self._stopping.wait(POLL_SECONDS):
                self.look()
        except Exception as error:
            logger.exception("No more digests are read.")
            self._error = error

    def _running_server(self) -> tuple[int, float] | None:
        record = recorded(self.settings.root, ["warehouse"]).get("warehouse")
        return None if record is None else (record.pid, record.create_time)

    def _read(self, ended: Mapping[str, int]) -> bool:
        try:
            with WarehouseClient.from_settings(self.settings).session(LABEL) as session:
                digests = capture(session, round(time.time() * 1000), ended)
        except (WarehouseError, OSError) as error:
            self._why = f"{type(error).__name__}: {error}"
            return False
        self.looks += 1
        new = [each for each in digests if not self._is_known(each)]
        self.unchanged += len(digests) - len(new)
        self._newest |= {each.view: each for each in new}
        append_lines(digests_file(self.settings.root), new)
        return True

    def _is_known(self, digest: CapturedDigest) -> bool:
        newest = self._newest.get(digest.view)
        return newest is not None and newest.says_the_same(digest)

    def _give_up(self, new: Mapping[str, int]) -> None:
        """Writes down that the views which are `new` again were never read since before."""
        lost = {name: at for name, at in self._waiting.items() if not new or name in new}
        for at in sorted(set(lost.values())):
            views = tuple(sorted(name for name, moment in lost.items() if moment == at))
            logger.warning("No digest after the refresh of %s: %s", ", ".join(views), self._why)
            append_lines(digests_file(self.settings.root), [NotCaptured(at, views, self._why)])
        self._waiting = {name: at for name, at in self._waiting.items() if name not in lost}


def check_run(root: Path) -> list[ViewHistory]:
    """Compares the digests of a run's state folder, be the stack up or down.

    Raises:
        CapturedError: see `check_history`.
    """
    # A stack that has stopped has taken its settings with it; its tables are where they were.
    return check_history(Settings.load(read_settings(root) or {"state_dir": root}))


def main() -> int:
    """Compares the digests of a state folder; the exit code says whether all are equal."""
    parser = argparse.ArgumentParser(description="Compare a run's digests with its raw rows.")
    parser.add_argument("state_dir", type=Path, help="the state folder that the run has left")
    root = parser.parse_args().state_dir.absolute()
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    try:
        histories = check_run(root)
    except CapturedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in history_lines(histories)))
    return 0 if all(each.is_equal for each in histories) else 1


if __name__ == "__main__":
    sys.exit(main())
