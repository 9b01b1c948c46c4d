"""A stop that is asked for is remembered by Dagster until something else is asked for."""

from pathlib import Path

import dagster as dg
import pytest

from retail_lakehouse.local.dagster_instance import dagster_home, write_instance
from retail_lakehouse.resources.job_wishes import (
    WishNotKeptError,
    note_asked,
    note_asked_outside,
    stops_asked,
)

EVENTS = ("inventory", "transactions")


def test_the_last_thing_that_was_asked_of_a_job_is_what_counts() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert stops_asked(instance, EVENTS) == {}
        note_asked(instance, "inventory", "stop", 5)
        note_asked(instance, "transactions", "restart", 6)
        assert stops_asked(instance, EVENTS) == {"inventory": 5}
        note_asked(instance, "inventory", "stop", 7)
        assert stops_asked(instance, EVENTS) == {"inventory": 7}
        note_asked(instance, "inventory", "start", 8)
        assert stops_asked(instance, EVENTS) == {}


def test_what_is_asked_outside_dagster_is_read_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = write_instance(tmp_path)
    note_asked_outside(tmp_path, "inventory", "stop", 5)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert stops_asked(instance, EVENTS) == {"inventory": 5}
        # The variable says more than the state folder.
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        note_asked_outside(tmp_path / "elsewhere", "inventory", "start", 6)
        assert stops_asked(instance, EVENTS) == {}


def test_where_no_instance_is_none_is_made_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(WishNotKeptError, match=r"there is no dagster\.yaml"):
        note_asked_outside(tmp_path, "inventory", "stop", 5)
    assert list(tmp_path.iterdir()) == []
    dagster_home(tmp_path).mkdir()
    (dagster_home(tmp_path) / "dagster.yaml").write_text("run_storage: 7\n")
    with pytest.raises(WishNotKeptError, match="cannot be used"):
        note_asked_outside(tmp_path, "inventory", "stop", 5)
