"""The way to people as a resource: what is to be told, kept and sent.

Here: the alerts under the platform's settings. Not here: incidents, outbox, routes (`alerts/`),
reading verdicts (`sensors/alerts.py`).
"""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from retail_lakehouse.resources.platform import PlatformResource

if TYPE_CHECKING:
    from retail_lakehouse.alerts.desk import Told
    from retail_lakehouse.alerts.incidents import Notice, Seen


class NotifierResource(PlatformResource):
    """Everybody who is told when something breaks."""

    def tell(
        self,
        seen: "Sequence[Seen]",
        known: Collection[str],
        cursor: str | None,
        at_ms: int,
        enrich: "Callable[[Notice], Notice]",
    ) -> "Told":
        """One look at the verdicts, and one pass of delivery; see `alerts.desk.tell`.

        Raises:
            RecordFileError: the outbox cannot be made, read or written.
        """
        from retail_lakehouse.alerts.desk import tell

        return tell(self.platform(), seen, known, cursor, at_ms, enrich)
