"""What has arrived at the receiver that stands for people, alert by alert.

Belongs here: reading it. Doesn't belong here: what is made of it (`injected_causes.py`).
"""

from dataclasses import dataclass

from retail_lakehouse.alerts.incidents import Kind, incident_name
from retail_lakehouse_tests.alerts.build import Receiver


@dataclass(frozen=True, slots=True)
class Told:
    """One alert that arrived, by its arrival in seconds of the monotonic clock."""

    at: float
    kind: Kind
    asset: str
    check: str
    sentence: str
    cause: str
    """The guilty stage that the check names; empty where it names none."""

    @property
    def name(self) -> str:
        """Of the incident."""
        return incident_name(self.asset, self.check)


class Inbox:
    """Every alert that has arrived, the first one first."""

    def __init__(self, end: Receiver) -> None:
        """Read what `end` has taken."""
        self.end = end
        self._told: list[Told] = []
        self._read = 0

    def read(self) -> list[Told]:
        """Everything that has arrived by now."""
        for received in self.end.taken[self._read :]:
            self._read += 1
            for alert in received.body["alerts"]:
                self._told.append(
                    Told(
                        received.at,
                        Kind(alert["kind"]),
                        alert["asset"],
                        alert["check"],
                        alert["sentence"],
                        str(alert["figures"].get("cause", "")),
                    )
                )
        return self._told

    def open_names(self) -> set[str]:
        """Incidents that have opened and not recovered."""
        found: set[str] = set()
        for told in self.read():
            if told.kind is Kind.RECOVERED:
                found.discard(told.name)
            elif told.kind is not Kind.TEST:
                found.add(told.name)
        return found

    def told_names(self) -> set[str]:
        """Incidents that were told at all."""
        return {told.name for told in self.read()}
