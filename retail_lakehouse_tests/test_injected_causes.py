"""Rules of the benchmarks that break things: what counts as told, and what a later run keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import control_plane_under_test, injected_causes, watchdog_faults
from benchmarks.alert_inbox import Inbox
from benchmarks.causes_to_inject import CAUSES, COLD_SECONDS, Injected, Injection
from benchmarks.control_plane_under_test import Bench
from benchmarks.control_plane_under_test import Row as FaultRow
from benchmarks.injected_causes import INJECTED, NAMES, Row, alerts_lost, page
from benchmarks.platform_under_test import Platform
from benchmarks.results_by_name import known_rows, merged, write_results
from retail_lakehouse.checks.causes import Cause
from retail_lakehouse.contracts.service_levels import LEVELS, Measure
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.looks import History, State, Tick, TickEnd, TickerKind
from retail_lakehouse_tests.alerts.build import Received, Receiver

WELL = TickEnd.WELL
ROUTE = {"dropped_ever": 0, "refused": 0}


def alert(kind: str, asset: str, cause: str = "", check: str = "ingest_lag") -> Received:
    told = {"kind": kind, "asset": asset, "check": check, "sentence": f"{kind}."}
    figures = {"cause": cause} if cause else {}
    return Received("/", {}, {"alerts": [told | {"figures": figures}]})


class Still(Platform):
    """A platform whose list of alerts is given."""

    def __init__(self, end: Receiver) -> None:
        super().__init__(Path("/nowhere/state"), {}, end)

    def alerts(self) -> dict[str, Any]:
        return {"routes": [ROUTE], "waiting": [], "open": []}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injected_causes, "CALM_SECONDS", 0.0)
    monkeypatch.setattr(injected_causes, "CALM_PATIENCE_SECONDS", 0.0)


def measured(told: list[Received], cause: str, **more: Any) -> Row:
    """The row of a cause whose injection has these alerts arrive at once."""
    end = Receiver("")

    def inject(_: Platform) -> Injection:
        end.taken += told
        return Injection(**more)

    injected = Injected("a stall", "ingest_lag", "sales_events", cause, inject, 0.0, 0.0)
    row = Row("a stall", "ingest_lag", cause)
    injected_causes._measure(injected, Still(end), Inbox(end), row)
    return row


def test_each_of_the_seven_causes_is_injected_under_its_own_name() -> None:
    assert {cause.cause for cause in CAUSES} - {""} == set(Cause)
    assert len(set(NAMES)) == len(INJECTED)
    assert {cause.check for cause in INJECTED} <= {level.measure for level in LEVELS}


def test_the_faults_of_the_control_plane_are_those_that_are_listed(tmp_path: Path) -> None:
    bench = Bench(Settings.load({"state_dir": tmp_path}), Receiver(""))
    assert tuple(fault.name for fault in watchdog_faults.faults(bench)) == watchdog_faults.NAMES


def test_the_control_plane_works_again_once_every_frequent_sensor_has_ticked_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(Settings.load({"state_dir": tmp_path}), Receiver(""))
    assert bench.frequent >= {"watch_stream", "report_snapshots", "send_alerts"}
    assert "prune_history" not in bench.frequent

    def ticked(late: str, end: TickEnd) -> bool:
        """As it is with one whose last tick was of another kind or time, and with an idle one."""
        states = [
            State(TickerKind.SENSOR, name, None, (Tick(1, end if name == late else WELL, 101),))
            for name in bench.frequent
        ]
        states.append(State(TickerKind.SENSOR, "prune_history", None, (Tick(1, WELL, 1),)))
        states.append(State(TickerKind.SCHEDULE, "compact_closed_hours", None))
        history = History(states=tuple(states))
        monkeypatch.setattr(control_plane_under_test, "read_history", lambda _home: history)
        return bench.works(100) and not bench.works(101)

    assert ticked("", WELL)
    assert not ticked("watch_stream", TickEnd.FAILED)
    assert not ticked("send_alerts", TickEnd.OPEN)


@pytest.mark.usefixtures("quick")
def test_a_cause_that_is_told_by_its_name_and_recovers_has_held() -> None:
    arrived = [
        alert("opened", "db/stock_events", "slow job"),
        alert("opened", "db/sales_events", "stalled job"),
        alert("recovered", "db/stock_events"),
        alert("recovered", "db/sales_events"),
    ]
    row = measured(arrived, "stalled job")
    assert row.held
    assert row.causes_told == ["stalled job"]
    assert row.told_beside == ["db/stock_events:ingest_lag (slow job)"]
    assert row.mended_after_seconds is None
    assert row.alerts_lost == 0
    assert row.calm_after_seconds is not None


@pytest.mark.usefixtures("quick")
def test_another_name_beside_the_right_one_has_not_held() -> None:
    arrived = [
        alert("opened", "db/sales_events", "stalled job"),
        alert("recovered", "db/sales_events"),
        alert("opened", "db/sales_events", "slow job"),
        alert("recovered", "db/sales_events"),
    ]
    row = measured(arrived, "stalled job")
    assert row.causes_told == ["slow job", "stalled job"]
    assert not row.held


@pytest.mark.usefixtures("quick")
def test_what_nobody_told_is_mended_all_the_same_and_has_not_held() -> None:
    mended: list[str] = []
    row = measured([], "stalled job", mend=lambda: mended.append("mended"))
    assert mended == ["mended"]
    assert row.told_after_seconds is None
    assert not row.held
    assert "not told" in page([row], {})


@pytest.mark.usefixtures("quick")
def test_a_cause_that_cannot_be_injected_is_a_row_that_says_so() -> None:
    def broken(_: Platform) -> Injection:
        raise OSError("no such process")

    end, row = Receiver(""), Row("a stall", "ingest_lag", "")
    injected = Injected("a stall", "ingest_lag", "", "", broken)
    assert not injected_causes._measured(injected, Still(end), Inbox(end), row)
    assert "Broken off: OSError: no such process" in row.note
    assert not row.held


def test_an_alert_is_lost_that_was_dropped_or_waits_or_is_told_and_did_not_arrive() -> None:
    end = Receiver("", taken=[alert("opened", "db/sales_events")])
    incidents = [
        {"name": "db/sales_events:ingest_lag", "told": 1},
        {"name": "db/stock_events:ingest_lag", "told": 1},
        {"name": "db/visits_events:ingest_lag", "told": 0},
    ]
    route = {"dropped_ever": 2, "refused": 1}
    listed = {"routes": [route], "waiting": [{"id": "1"}], "open": incidents}
    assert alerts_lost(listed, Inbox(end)) == 5
    assert alerts_lost(None, Inbox(end)) is None


def test_a_later_run_keeps_the_rows_of_the_others_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "results" / "some.json"
    assert known_rows(path, "name") == {}
    write_results(path, {"rows": [{"name": "b", "n": 1}, {"name": "gone", "n": 1}]}, "page")
    rows = merged(path, [{"name": "c", "n": 2}, {"name": "a", "n": 2}], "name", "abc")
    assert [(row["name"], row["n"]) for row in rows] == [("a", 2), ("b", 1), ("c", 2)]
    write_results(path, {"rows": rows}, "another page")
    assert json.loads(path.read_text())["rows"] == rows
    assert path.with_suffix(".md").read_text() == "another page"
    assert len(list(path.parent.iterdir())) == 2


def test_a_page_names_what_was_not_measured_and_ends_no_cell_by_a_bar() -> None:
    row = Row(NAMES[0], Measure.INGEST_LAG, "", 130.0, "3 | 4 wait.\nRead the log.")
    told = page([row], {"cores": 2})
    (line,) = (each for each in told.splitlines() if each.startswith(f"| {NAMES[0]}"))
    assert "3 / 4 wait. Read the log." in line
    assert f"Not measured yet: {', '.join(NAMES[1:])}." in told
    assert f"The cold warehouse takes {COLD_SECONDS} s to its first answer" in told


def test_the_results_that_are_kept_can_be_added_to() -> None:
    told = known_rows(watchdog_faults.RESULTS, "fault")
    rows = [FaultRow(**row) for row in told.values()]
    shown = watchdog_faults.page(rows, json.loads(watchdog_faults.RESULTS.read_text()))
    assert "| daemon under SIGSTOP |" in shown
