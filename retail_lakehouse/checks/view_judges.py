"""Verdicts on the views.

Here: pure functions from the record of a refresh, and the tables under it, to a verdict with a
sentence. Not here: Dagster's checks (`views.py`), thresholds (`contracts/service_levels.py`). No
verdict asks the warehouse: every query bills.
"""

from collections.abc import Mapping

from retail_lakehouse.assets.views import BaseLook
from retail_lakehouse.checks.judges import Figure, Verdict, unknown
from retail_lakehouse.contracts.service_levels import ServiceLevel
from retail_lakehouse.contracts.views import ViewContract
from retail_lakehouse.warehouse.holds import Hold
from retail_lakehouse.warehouse.refresh_record import ViewRecord


def judge_serving_lag(
    view: ViewContract,
    record: ViewRecord | None,
    bases: Mapping[str, BaseLook | str],
    outage: str | None,
    at_ms: int,
    level: ServiceLevel,
    hold: Hold | None = None,
) -> Verdict:
    """How long data that has landed waits to be seen in the view.

    The age of what it shows is among the figures and not judged here: while nothing lands it grows
    whatever the view does. Whether something should land is `ingest_lag`'s verdict on the table.

    `outage` is the sentence of a refresh that has just failed: it is red at once, not only when
    the service level is broken.

    What a `hold` keeps waiting is told by the check that holds the view: its lag is known, and one
    alert is enough.
    """
    if outage is not None:
        return Verdict(False, outage)
    for base in (bases[name] for name in view.source_tables):
        if isinstance(base, str):
            return unknown(base)
    waiting_since_ms = first_waiting_ms(view, record, bases)
    figures: dict[str, Figure] = {"service_level_seconds": level.number}
    if record is not None and record.newest_event_ms is not None:
        figures["age_seconds"] = round((at_ms - record.newest_event_ms) / 1000, 1)
    if waiting_since_ms is None:
        words = "The view shows everything that has landed." if record else "Nothing has landed."
        return Verdict(True, words, figures)
    lag = round((at_ms - waiting_since_ms) / 1000, 1)
    figures["serving_lag_seconds"] = lag
    if hold is not None:
        figures["held_since"] = hold.since
        return Verdict(True, hold.sentence(view.name), figures)
    words = f"Data that has landed waits for {view.name} for {lag:.0f} s"
    if lag > level.number:
        return Verdict(
            False,
            f"{words}: over the {level.number:.0f} s that are promised. See the sensor "
            "refresh_due_views and the warehouse's log.",
            figures,
        )
    return Verdict(True, f"{words}.", figures)


def first_waiting_ms(
    view: ViewContract, record: ViewRecord | None, bases: Mapping[str, BaseLook | str]
) -> int | None:
    """When the first data landed that the view does not show (epoch ms); None without any."""
    served = record.base_snapshots if record else {}
    waiting = [
        since
        for name in view.source_tables
        if isinstance(base := bases[name], BaseLook)
        and (since := base.waiting_since_ms(served.get(name))) is not None
    ]
    return min(waiting, default=None)


def judge_incremental(view: ViewContract, record: ViewRecord | None) -> Verdict:
    """The last refresh folded what arrived instead of computing the view from nothing.

    A full recomputation is right but dear: it is a warning.
    """
    if record is None:
        return Verdict(True, f"{view.name} was not refreshed yet.")
    figures: dict[str, Figure] = {
        "refresh_seconds": record.duration_seconds,
        "refresh_status": record.refresh_status,
    }
    if record.incremental is False:
        return Verdict(
            False,
            f"The last refresh of {view.name} recomputed it in full: {record.refresh_status}. Rows "
            "under it were deleted or rewritten, its base snapshot is gone (keep snapshots for "
            "longer than the gap between refreshes), or its SQL is not incremental.",
            figures,
            warn_only=True,
        )
    if record.incremental is None:
        return Verdict(True, "The warehouse did not say how it refreshed.", figures)
    return Verdict(True, f"The last refresh folded a delta: {record.refresh_status}.", figures)


def judge_snapshots_outlast(
    view: ViewContract,
    record: ViewRecord | None,
    bases: Mapping[str, BaseLook | str],
    retention_seconds: float,
    refresh_seconds: float,
    at_ms: int,
    hold: Hold | None = None,
) -> Verdict:
    """What the view has folded is still there when its next refresh comes.

    A snapshot expires once it has not been the newest for the retention; the one that a view has
    folded is what its next refresh counts from. What is asked is whether it lasts for one interval
    more. Of a view that is held it is not asked: no refresh is due.
    """
    if record is None:
        return Verdict(True, f"{view.name} was not refreshed yet.")
    if hold is not None:
        return Verdict(True, hold.sentence(view.name))
    figures: dict[str, Figure] = {"retention_seconds": retention_seconds}
    for name in view.source_tables:
        base, served = bases[name], record.base_snapshots.get(name)
        if isinstance(base, str):
            return unknown(base, warn_only=True)
        if served is None or served == base.newest:
            continue
        why = (
            "The next refresh goes by offsets, or computes the view from nothing. Refresh the view "
            "more often, or keep snapshots for longer (snapshot_retention_minutes)."
        )
        committed_ms = base.kept.get(served)
        if committed_ms is None:
            return Verdict(
                False,
                f"Snapshot {served} of {name}, the last that {view.name} has folded, has expired. "
                f"{why}",
                figures,
                warn_only=True,
            )
        after = [ms for ms in base.kept.values() if ms > committed_ms]
        left = round(retention_seconds - (at_ms - min(after, default=at_ms)) / 1000, 1)
        figures["expires_in_seconds"] = left
        if left < refresh_seconds:
            return Verdict(
                False,
                f"Snapshot {served} of {name}, the last that {view.name} has folded, expires in "
                f"{max(0.0, left):.0f} s, and a refresh comes every {refresh_seconds:.0f} s. {why}",
                figures,
                warn_only=True,
            )
    return Verdict(True, f"What {view.name} has folded outlasts its next refresh.", figures)
