"""What stands with the alerts, for a person and for a script.

Here: reading it all, changing nothing. Not here: the command (`commands/alerts.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from retail_lakehouse.alerts.delivery import now_ms, waiting_for
from retail_lakehouse.alerts.desk import links_of, remembered
from retail_lakehouse.alerts.incidents import Incident
from retail_lakehouse.alerts.message import moment, render
from retail_lakehouse.alerts.outbox import RouteRecord, open_outbox, outbox_file
from retail_lakehouse.alerts.redact import one_line, without_secrets
from retail_lakehouse.alerts.routes import Route, read_routes
from retail_lakehouse.alerts.silences import Silence, is_silenced, read_silences
from retail_lakehouse.settings import Settings


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One route, and how it fares."""

    route: Route
    record: RouteRecord
    waiting: int


@dataclass(frozen=True, slots=True)
class Listing:
    """All of it."""

    at_ms: int
    incidents: tuple[Incident, ...]
    waiting: tuple[tuple[str, int, str], ...]
    """(id, created_ms, title) of what not every route has."""
    routes: tuple[RouteLine, ...]
    silences: tuple[Silence, ...]

    def to_json(self) -> dict[str, object]:
        """For a script; no secret, nor where one is."""
        return {
            "open": [
                {
                    "name": each.name,
                    "asset": each.asset,
                    "check": each.check,
                    "severity": each.severity.value,
                    "owner": each.owner,
                    "sentence": without_secrets(each.sentence),
                    "since_ms": each.since_ms,
                    "told": each.told,
                    "silenced": self._is_silenced(each),
                }
                for each in self.incidents
            ],
            "waiting": [
                {"id": entry_id, "created_ms": created_ms, "title": title}
                for entry_id, created_ms, title in self.waiting
            ],
            "routes": [
                {
                    "name": line.route.name,
                    "kind": line.route.kind.value,
                    "owners": list(line.route.owners),
                    "least_severity": line.route.least_severity.value,
                    "waiting": line.waiting,
                    **asdict(line.record),
                }
                for line in self.routes
            ],
            "silences": [asdict(silence) for silence in self.silences],
        }

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"Open: {len(self.incidents)}"]
        for each in self.incidents:
            silenced = ", silenced" if self._is_silenced(each) else ""
            told.append(f"  {each.name}")
            told.append(
                f"    {each.severity.value}, {each.owner}, since {moment(each.since_ms)}, told "
                f"{each.told} times{silenced}"
            )
            told.append(f"    {one_line(without_secrets(each.sentence), 300)}")
        told.append(f"Waiting to be sent: {len(self.waiting)}")
        told += [f"  {moment(ms)}  {title}" for _, ms, title in self.waiting]
        told.append("Routes:")
        for line in self.routes:
            record = line.record
            told.append(
                f"  {line.route.name:<20} {line.route.kind.value:<14} {record.delivered} "
                f"delivered, {line.waiting} wait, {record.dropped_ever} dropped, "
                f"{record.refused} refused"
            )
            if record.failures:
                told.append(f"    fails, {record.failures} times in a row: {record.error}")
        told.append(f"Silences: {len(self.silences)}")
        told += [
            f"  {s.id}: {s.pattern} until {moment(s.until_ms)}, {s.who}: {s.why}"
            for s in self.silences
        ]
        return told

    def _is_silenced(self, incident: Incident) -> bool:
        return is_silenced(self.silences, incident.name, self.at_ms)


def open_names(settings: Settings) -> list[str]:
    """Names of the open incidents, as a silence's pattern is held against them; makes no file.

    Raises:
        RecordFileError: the outbox cannot be read.
    """
    if not outbox_file(settings.alerts_dir).exists():
        return []
    with open_outbox(settings.alerts_dir) as outbox:
        return sorted(remembered(outbox, None)[0].book.open)


def listed(settings: Settings) -> Listing:
    """What stands with the alerts; makes no file.

    Raises:
        RecordFileError: the outbox cannot be read.
        RoutesError, SilenceError: a file is wrong.
    """
    at_ms, folder = now_ms(), settings.alerts_dir
    routes = read_routes(settings.routes_file)
    silences = tuple(read_silences(folder, at_ms))
    if not outbox_file(folder).exists():
        lines = tuple(RouteLine(route, RouteRecord(), 0) for route in routes)
        return Listing(at_ms, (), (), lines, silences)
    links = links_of(settings)
    with open_outbox(folder) as outbox:
        memory, _ = remembered(outbox, None)
        incidents = sorted(memory.book.open.values(), key=lambda i: (-i.severity.rank, i.since_ms))
        waiting = tuple(
            (entry.id, entry.created_ms, render(entry.id, entry.notices, links).title)
            for entry in outbox.entries.values()
        )
        lines = tuple(
            RouteLine(
                route,
                outbox.routes.get(route.name, RouteRecord()),
                len(waiting_for(outbox, route, routes)),
            )
            for route in routes
        )
    return Listing(at_ms, tuple(incidents), waiting, lines, silences)
