"""The warehouse as a resource: refreshing views, in one session, and nothing else.

Here: opening that session with a label that leads back to the run or sensor. Not here: SQL and
system views (`retail_lakehouse.warehouse`). Every query bills on Redshift, so there is no method
to just look.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.views import ViewContract
from retail_lakehouse.resources.platform import PlatformResource

if TYPE_CHECKING:
    from retail_lakehouse.warehouse.refresh import RefreshResult

_BUSY_POLL_SECONDS = 2.0


class WarehouseResource(PlatformResource):
    """The warehouse that holds the views."""

    def refresh(
        self, views: Sequence[ViewContract], label: str, patience_seconds: float = 0.0
    ) -> "list[RefreshResult]":
        """Refreshes the views in one session and returns a result for each.

        A view whose refresh is under way elsewhere is tried again for `patience_seconds`.

        Raises:
            WarehouseError: there is no session, it broke, or the views were never created.
        """
        from retail_lakehouse.warehouse.client import WarehouseClient
        from retail_lakehouse.warehouse.refresh import RefreshOutcome, refresh_views

        deadline = time.monotonic() + patience_seconds
        with WarehouseClient.from_settings(self.platform()).session(label) as session:
            results = {result.view: result for result in refresh_views(session, views)}
            while True:
                busy = [v for v in views if results[v.name].outcome is RefreshOutcome.BUSY]
                if not busy or time.monotonic() >= deadline:
                    return [results[view.name] for view in views]
                time.sleep(_BUSY_POLL_SECONDS)
                results |= {result.view: result for result in refresh_views(session, busy)}
