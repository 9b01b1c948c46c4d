"""The warehouse as a resource: refreshing views in one session, and waking it where that is asked.

Here: opening a session with a label that leads back to the run or sensor. Not here: SQL and system
views (`retail_lakehouse.warehouse`). Every query bills on Redshift, so there is no method to just
look, and whoever calls `wake` was told to pay for it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.views import ViewContract
from retail_lakehouse.resources.platform import PlatformResource

if TYPE_CHECKING:
    from retail_lakehouse.warehouse.refresh import RefreshResult

_BUSY_POLL_SECONDS = 2.0

StillFree = Callable[[Sequence[ViewContract]], Sequence[ViewContract]]
"""Which of the views may be refreshed, asked once the warehouse has answered."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What came of one session: a result a view, and the plain views' rows by name.

    A plain view that was asked for and not counted has None.
    """

    results: "list[RefreshResult]"
    row_counts: Mapping[str, int | None] = field(default_factory=dict)


class WarehouseResource(PlatformResource):
    """The warehouse that holds the views."""

    def refresh(
        self,
        views: Sequence[ViewContract],
        label: str,
        patience_seconds: float = 0.0,
        plain_views: Sequence[ViewContract] = (),
        still_free: StillFree = list,
    ) -> Refreshed:
        """Refreshes `views` and then counts the rows of `plain_views`, in one session.

        A view whose refresh is under way elsewhere is tried again for `patience_seconds`. What is
        not `still_free` once the session is open has no result.

        Raises:
            WarehouseError: there is no session, it broke, or the views were never created.
        """
        from retail_lakehouse.warehouse.client import WarehouseClient
        from retail_lakehouse.warehouse.refresh import RefreshOutcome, refresh_views
        from retail_lakehouse.warehouse.refresh_rows import count_rows
        from retail_lakehouse.warehouse.session_marks import session_under_way

        deadline = time.monotonic() + patience_seconds
        settings = self.platform()
        with (
            session_under_way(settings.root) as answered,
            WarehouseClient.from_settings(settings).session(label) as session,
        ):
            # Its parameters are set: that took as long as the warehouse had to wake up.
            answered()
            views = still_free(views)
            results = {result.view: result for result in refresh_views(session, views)}
            while True:
                busy = [v for v in views if results[v.name].outcome is RefreshOutcome.BUSY]
                if not busy or time.monotonic() >= deadline:
                    counts = count_rows(session, plain_views)
                    return Refreshed([results[view.name] for view in views], counts)
                time.sleep(_BUSY_POLL_SECONDS)
                again = refresh_views(session, still_free(busy))
                results |= {result.view: result for result in again}

    def wake(self, label: str) -> float:
        """Sends one trivial statement in a session of its own; returns the seconds to its answer.

        They count from before the login: which step waits for a cold start is not documented.

        Raises:
            WarehouseError: there is no session, or it broke.
        """
        from retail_lakehouse.warehouse.client import WarehouseClient, statement

        started = time.monotonic()
        with WarehouseClient.from_settings(self.platform()).session(label) as session:
            session.rows(statement("select_one"))
            return time.monotonic() - started
