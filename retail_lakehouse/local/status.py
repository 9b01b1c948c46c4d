"""The state of the whole stack, from any terminal, whatever of it is down.

Belongs here: putting processes, topics, tables and views together, in the words of `status
--json`, which is an interface for scripts. Doesn't belong here: reading the facts (`facts.py`),
showing them (`commands/status.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import EVENT_TABLES
from retail_lakehouse.contracts.view_contract import EXTERNAL_SCHEMA, MART_SCHEMA
from retail_lakehouse.local import processes
from retail_lakehouse.local.control import (
    ControlError,
    ProcessState,
    ProcessStatus,
    SupervisorClient,
    SupervisorNotRunningError,
)
from retail_lakehouse.local.facts import (
    TableFacts,
    TableReader,
    TablesUnreadableError,
    TopicFacts,
    ViewFacts,
    read_topics,
    read_views,
)
from retail_lakehouse.local.stack_units import JOBS, PROCESS_NAMES
from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.landing import landed_until, waiting_records, waiting_since_ms

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Pulse:
    """The live line's numbers; ages in seconds, None while unknown."""

    events_per_second: float
    table_age_seconds: float | None
    view_age_seconds: float | None
    quarantined: int
    duplicates: int


def pulse(tables: Sequence[TableFacts], views: Sequence[ViewFacts], now_ms: float) -> Pulse:
    """The stack in one line: of ages, the worst of the three event tables and of their views."""
    events = [table for table in tables if table.kind == "events"]
    return Pulse(
        events_per_second=sum(table.events_per_second for table in events),
        table_age_seconds=_worst([table.newest_ms for table in events], now_ms),
        view_age_seconds=_worst([v.newest_ms for v in views if v.materialized], now_ms),
        quarantined=sum(table.quarantined for table in events),
        duplicates=sum(table.duplicates for table in events),
    )


def collect_status(settings: Settings) -> Json:
    """Everything that is known of the stack now, as JSON.

    Never raises for a part that is down: what cannot be had is a sentence under `problems`.
    """
    problems: list[str] = []
    about, told = _processes(settings, problems)
    # Without a broker of this folder, one that answers at its port would be another folder's.
    broker = told.get("broker")
    is_up = broker is not None and broker.state is ProcessState.RUNNING
    topics = _topics(settings, problems) if is_up else []
    tables = _tables(settings, problems)
    views = read_views(settings.root)
    # After the looks: what is committed while they go on is not from the future.
    now_ms = time.time() * 1000
    line = pulse(tables, views, now_ms)
    problems += held_views(views)
    if about is not None:
        problems += late_views(views, tables, topics, now_ms)
    return {
        "state_dir": str(settings.root),
        "supervisor": about,
        "bootstrap_servers": settings.kafka_bootstrap,
        "dagster_url": f"http://{LOOPBACK}:{settings.dagster_port}",
        "catalog": _catalog(settings),
        "warehouse": _warehouse(settings),
        "topics": {topic.name: _topic_json(topic) for topic in topics},
        "jobs": {name: _job_json(name, told, tables, topics, now_ms) for name in JOBS},
        "tables": {table.name: _table_json(table, topics, now_ms) for table in tables},
        "views": {view.name: _view_json(view, now_ms) for view in views},
        "processes": {name: _process_json(status) for name, status in told.items()},
        "events_per_second": round(line.events_per_second, 1),
        "table_age_seconds": line.table_age_seconds,
        "view_age_seconds": line.view_age_seconds,
        "quarantined": line.quarantined,
        "duplicates": line.duplicates,
        "problems": problems,
    }


def _worst(newest: Sequence[int | None], now_ms: float) -> float | None:
    known = [each for each in newest if each is not None]
    return _age(min(known), now_ms) if known and len(known) == len(newest) else None


def _age(then_ms: int | None, now_ms: float) -> float | None:
    return None if then_ms is None else round(max(0.0, now_ms - then_ms) / 1000, 1)


def _catalog(settings: Settings) -> Json:
    from retail_lakehouse.tables.catalog import catalog_properties

    told = catalog_properties(settings)
    # Glue's catalog is named by its region and has no address.
    return {
        "name": settings.catalog_name,
        "uri": told.get("uri"),
        "warehouse": told["warehouse"],
    }


def _warehouse(settings: Settings) -> Json:
    return {
        "host": settings.warehouse_host or LOOPBACK,
        "port": settings.warehouse_port,
        "database": settings.warehouse_database,
        "user": settings.warehouse_user,
        "password_file": str(settings.password_file),
        "ssl": not settings.is_local,
        "schemas": {"external": EXTERNAL_SCHEMA, "views": MART_SCHEMA},
    }


def _processes(
    settings: Settings, problems: list[str]
) -> tuple[Json | None, dict[str, ProcessStatus]]:
    client = SupervisorClient(settings.root)
    try:
        about, told = client.about(), client.status()
    except SupervisorNotRunningError as error:
        problems.append(str(error))
        return None, _orphans(settings, problems)
    except ControlError as error:
        problems.append(str(error))
        return None, _orphans(settings, problems)
    for status in told.values():
        if status.state is ProcessState.RUNNING:
            continue
        problems.append(status.message or f"{status.name} is {status.state.value}.")
    return about, told


def _orphans(settings: Settings, problems: list[str]) -> dict[str, ProcessStatus]:
    """What a killed supervisor left running, from the records."""
    found = {}
    for name, record in processes.recorded(settings.root, PROCESS_NAMES).items():
        if record.is_alive():
            log = str(processes.log_path(settings.root, name))
            found[name] = ProcessStatus(
                name, ProcessState.RUNNING, record.pid, record.create_time, 0, "", log
            )
    if found:
        problems.append(
            f"{', '.join(found)} still run though their supervisor is gone. End them with "
            "`retail-lakehouse stop`, or start again: that ends them first."
        )
    return found


def _topics(settings: Settings, problems: list[str]) -> list[TopicFacts]:
    from retail_lakehouse.kafka.connection import KafkaRefusedError, KafkaUnreachableError

    try:
        return read_topics(settings)
    except (KafkaUnreachableError, KafkaRefusedError) as error:
        problems.append(str(error))
        return []


def _tables(settings: Settings, problems: list[str]) -> list[TableFacts]:
    from retail_lakehouse.tables.catalog import CatalogError

    try:
        return TableReader(settings).read()
    except (CatalogError, TablesUnreadableError) as error:
        problems.append(str(error))
        return []


def late_views(
    views: Sequence[ViewFacts],
    tables: Sequence[TableFacts],
    topics: Sequence[TopicFacts],
    now_ms: float,
) -> list[str]:
    """The sentence about materialized views that miss the serving lag; none where all keep it.

    Late is what waits: data that landed longer ago than that and is not shown, or records that
    have not landed while what is shown is older than that. A quiet night makes nothing late. What
    is held is told by `held_views`.
    """
    limit = SERVICE_LEVELS.serving_lag_seconds
    by_name = {table.name: table for table in tables}
    bases = {each.name: by_name.get(each.qualified_name) for each in EVENT_TABLES}
    late = []
    for view in (each for each in views if each.materialized and not each.held_reason):
        age = _age(view.newest_ms, now_ms)
        for name, served in view.base_snapshots.items():
            base = bases.get(name)
            if base is None:
                continue
            waits = _age(waiting_since_ms(base.arrivals, served), now_ms)
            is_unserved = waits is not None and waits > limit
            if is_unserved or (age is not None and age > limit and _lag(base, topics)):
                late.append(view.name)
                break
    if not late:
        return []
    return [f"These views show nothing of the last {limit} s, and more waits: {', '.join(late)}."]


def held_views(views: Sequence[ViewFacts]) -> list[str]:
    """A sentence a reason on the materialized views whose refresh is held."""
    by_reason: dict[tuple[int | None, str], list[str]] = {}
    for view in (each for each in views if each.materialized and each.held_reason):
        by_reason.setdefault((view.held_ms, view.held_reason), []).append(view.name)
    return [
        why
        if since_ms is None
        else f"Held since {_moment(since_ms)}: {', '.join(names)}. {why} Once that is looked at, "
        "`retail-lakehouse views release` lets a view or a table go."
        for (since_ms, why), names in by_reason.items()
    ]


def _moment(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _process_json(status: ProcessStatus) -> Json:
    return {**status.to_json(), "pids": _session_pids(status.pid)}


def _session_pids(pid: int | None) -> list[int]:
    """The process and its descendants: of a job, Python, its JVM and its workers."""
    if pid is None:
        return []
    try:
        leader = psutil.Process(pid)
        return [pid, *(child.pid for child in leader.children(recursive=True))]
    except psutil.Error:
        return []


def _topic_json(topic: TopicFacts) -> Json:
    return {
        "topic_id": topic.topic_id,
        "partitions": len(topic.end),
        "records": sum(topic.end.values()),
        "earliest_offsets": {str(k): v for k, v in topic.earliest.items()},
        "end_offsets": {str(k): v for k, v in topic.end.items()},
    }


def _job_json(
    name: str,
    told: Mapping[str, ProcessStatus],
    tables: Sequence[TableFacts],
    topics: Sequence[TopicFacts],
    now_ms: float,
) -> Json:
    status = told.get(name)
    contract = next(each for each in EVENT_TABLES if each.event == name)
    table = next((each for each in tables if each.name == contract.qualified_name), None)
    return {
        "state": status.state.value if status else ProcessState.STOPPED.value,
        "pid": status.pid if status else None,
        "pids": _session_pids(status.pid) if status else [],
        "restarts": status.restarts if status else 0,
        "message": status.message if status else "",
        "table": contract.qualified_name,
        "events_per_second": round(table.events_per_second, 1) if table else 0.0,
        "lag_records": _lag(table, topics),
        "last_commit_age_seconds": _age(table.committed_ms, now_ms) if table else None,
    }


def _lag(table: TableFacts | None, topics: Sequence[TopicFacts]) -> int | None:
    """Records in the topic that the table's mark does not cover yet."""
    topic = next((t for t in topics if table and t.name == _topic_of(table)), None)
    if table is None or topic is None:
        return None
    until = landed_until(table.mark, topic.topic_id)
    return sum(waiting_records(topic.earliest, topic.end, until).values())


def _topic_of(table: TableFacts) -> str:
    from retail_lakehouse.contracts.events import event_named

    return event_named(table.event).topic if table.event else ""


def _table_json(table: TableFacts, topics: Sequence[TopicFacts], now_ms: float) -> Json:
    told: Json = {"kind": table.kind, "rows": table.rows}
    if table.kind == "events":
        told |= {
            "age_seconds": _age(table.newest_ms, now_ms),
            "last_commit_age_seconds": _age(table.committed_ms, now_ms),
            "lag_records": _lag(table, topics),
            "events_per_second": round(table.events_per_second, 1),
            "read": table.read,
            "landed": table.landed,
            "quarantined": table.quarantined,
            "duplicates": table.duplicates,
        }
    return told


def _view_json(view: ViewFacts, now_ms: float) -> Json:
    """`rows` were counted `rows_age_seconds` ago: a plain view's not with every refresh."""
    return {
        "materialized": view.materialized,
        "rows": view.rows,
        "rows_age_seconds": _age(view.counted_ms, now_ms),
        "age_seconds": _age(view.newest_ms, now_ms),
        "refreshed_age_seconds": _age(view.refreshed_ms, now_ms),
        "refresh_seconds": view.refresh_seconds,
        "state": view.state,
        "held_since": None if view.held_ms is None else _moment(view.held_ms),
        "held_reason": view.held_reason,
    }
