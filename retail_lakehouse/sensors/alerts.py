"""The sensor that tells people: it reads the latest verdicts and hands them to the notifier.

Here: which verdicts there are, and the last snapshot of what broke. Not here: what is told, how
often and where (`alerts/`). It asks no system of the platform but Dagster's own event log, so that
an outage of Kafka or of the warehouse cannot keep it from telling of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from retail_lakehouse.alerts.desk import judge_looked_at, with_snapshot
from retail_lakehouse.alerts.incidents import Figure, Kind, Notice, Seen, incident_name
from retail_lakehouse.alerts.message import SENTENCE_MOST
from retail_lakehouse.alerts.redact import one_line, without_secrets
from retail_lakehouse.assets.stream import now_ms
from retail_lakehouse.checks.data import data_check_specs
from retail_lakehouse.checks.stream import stream_check_specs
from retail_lakehouse.checks.views import view_check_specs
from retail_lakehouse.contracts.alerting import level_behind
from retail_lakehouse.contracts.service_levels import (
    CONTROL_PLANE,
    DATA_PLATFORM,
    Measure,
    Severity,
)
from retail_lakehouse.resources.notifier import NotifierResource
from retail_lakehouse.settings import Settings

BREAK_SECONDS = 300
"""A longer pause between two ticks is one of the whole platform."""
SETTLING_SECONDS = 120
"""After it, so long: what failed before it is judged anew first, a cold refresh included."""
BEFORE_SECONDS = 30
"""A failure from less long before it is told at once: the code was loaded anew, no more."""

FIGURES_MOST, FIGURE_MOST = 20, 120
"""What a message takes of a verdict's metadata, so that no check fills the outbox by itself."""

_DATA_VERSION_TAG = "dagster/data_version"


@dataclass(slots=True)
class Watch:
    """Since when this process ticks without a break."""

    since_ms: int = 0
    last_ms: int = 0

    def tick(self, at_ms: int) -> int:
        """Remembers a tick; returns since when there was no break."""
        if not 0 <= at_ms - self.last_ms <= BREAK_SECONDS * 1000:
            self.since_ms = at_ms
        self.last_ms = at_ms
        return self.since_ms


def alerts_sensor(settings: Settings) -> dg.SensorDefinition:
    """Tells of edges every `sensor_seconds`, and delivers what waits."""
    watch = Watch()
    evaluated_by_sensors = {
        check_name(spec.key)
        for spec in (*stream_check_specs(), *data_check_specs(), *view_check_specs())
    }

    @dg.sensor(
        name="send_alerts",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people when a check fails, goes on failing and passes again.",
    )
    def send_alerts(
        context: dg.SensorEvaluationContext, notifier: NotifierResource
    ) -> dg.SensorResult:
        at = now_ms()
        keys = _check_keys(context)
        since = watch.tick(at)
        latest = latest_verdicts(context.instance, keys)
        seen = settled(latest, since, at)
        evaluated: dict[str, int | None] = {
            check_name(key): None for key in keys if check_name(key) in evaluated_by_sensors
        }
        evaluated |= {each.name: each.at_ms for each in latest if each.name in evaluated}
        seen.append(judge_looked_at(evaluated, since, at))
        known = {check_name(key) for key in keys}
        known.add(incident_name(CONTROL_PLANE, Measure.CHECKS_LOOKED_AT))
        told = notifier.tell(
            seen,
            known,
            context.cursor,
            at,
            lambda notice: with_snapshot(notice, _last_snapshot(context.instance, notice)),
        )
        return dg.SensorResult(cursor=told.cursor, skip_reason=told.sentence)

    return send_alerts


def settled(latest: Iterable[Seen], since_ms: int, at_ms: int) -> list[Seen]:
    """The verdicts without failures from before `since_ms` that may have passed meanwhile.

    What a platform that is being ended fails in, or a look at one that is down, is no news of the
    one that has just come up. What still fails once that has settled is told.
    """
    if at_ms - since_ms > SETTLING_SECONDS * 1000:
        return list(latest)
    oldest_ms = since_ms - BEFORE_SECONDS * 1000
    return [each for each in latest if each.passed or each.at_ms >= oldest_ms]


def check_name(key: dg.AssetCheckKey) -> str:
    """What alerts on the check are deduplicated by."""
    return incident_name("/".join(key.asset_key.path), key.name)


def latest_verdicts(instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey]) -> list[Seen]:
    """The latest verdict of each check that has one, in one query.

    One whose evaluation is under way, or never ended, is left out: its next verdict counts.
    """
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys))
    seen = []
    for key, record in records.items():
        evaluation = record.evaluation
        if record.event is None or not isinstance(evaluation, dg.AssetCheckEvaluation):
            continue
        asset = "/".join(key.asset_key.path)
        level = level_behind(asset, key.name)
        # Nobody promised what has no level: it is told, and wakes nobody.
        severity = level.severity if level else Severity.WARNING
        is_warning = evaluation.severity is dg.AssetCheckSeverity.WARN
        seen.append(
            Seen(
                asset=asset,
                check=key.name,
                passed=evaluation.passed,
                sentence=_cut(evaluation.description or "", SENTENCE_MOST),
                severity=_lesser(severity) if is_warning else severity,
                owner=level.owner if level else DATA_PLATFORM,
                at_ms=round(record.event.timestamp * 1000),
                figures=_figures(evaluation.metadata),
            )
        )
    return seen


def _check_keys(context: dg.SensorEvaluationContext) -> list[dg.AssetCheckKey]:
    repository = context.repository_def
    if repository is None:
        return []
    return sorted(repository.asset_graph.asset_check_keys, key=check_name)


def _figures(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Figure]:
    values = [(name, entry.value) for name, entry in metadata.items()]
    plain = [(name, value) for name, value in values if isinstance(value, int | float | str)]
    return {
        _cut(name, FIGURE_MOST): _cut(value, FIGURE_MOST) if isinstance(value, str) else value
        for name, value in plain[:FIGURES_MOST]
    }


def _cut(text: str, most: int) -> str:
    # In this order: the half of a secret that a cut leaves does not look like one.
    return one_line(without_secrets(text), most)


def _lesser(severity: Severity) -> Severity:
    """What is no outage wakes nobody."""
    return min(severity, Severity.WARNING, key=lambda each: each.rank)


def _last_snapshot(instance: dg.DagsterInstance, notice: Notice) -> str:
    """The data version of the asset's last materialization; nothing where there is none."""
    if notice.kind is Kind.RECOVERED or notice.asset == CONTROL_PLANE:
        return ""
    event = instance.get_latest_materialization_event(dg.AssetKey(notice.asset.split("/")))
    materialization = event.asset_materialization if event else None
    tags = (materialization.tags if materialization else None) or {}
    return tags.get(_DATA_VERSION_TAG, "")
