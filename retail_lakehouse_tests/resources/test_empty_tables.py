"""A copy of empty tables is what making them would give, and each copy is on its own."""

from pathlib import Path
from typing import Any

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.tables import QUARANTINE_TABLES, event_table
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse_tests.resources import empty_tables
from retail_lakehouse_tests.resources.fakes import Lakehouse, settings_in

CONTRACTS = (*(event_table(event) for event in EVENTS), *QUARANTINE_TABLES)


def described(settings: Settings, catalog: Any) -> list[object]:
    tables = [catalog.load_table(contract.identifier) for contract in CONTRACTS]
    return [
        (
            table.location().removeprefix(f"file://{settings.root}"),
            table.schema(),
            table.spec(),
            table.properties,
            table.metadata.snapshots,
        )
        for table in tables
    ]


def test_a_copy_is_what_making_the_tables_gives_and_needs_no_change(tmp_path: Path) -> None:
    empty_tables._MADE.clear()
    first, second = (settings_in(tmp_path / name) for name in ("first", "second"))
    made = empty_tables.open_with_event_tables(first)
    copied = empty_tables.open_with_event_tables(second)
    assert described(second, copied) == described(first, made)
    assert ensure_tables(copied, second, CONTRACTS) == []


def test_what_lands_in_one_copy_is_in_no_other(tmp_path: Path) -> None:
    ours, others = (Lakehouse(settings_in(tmp_path / name)) for name in ("ours", "others"))
    ours.commit("inventory", 3)
    assert len(ours.table("inventory").scan().to_arrow()) == 3
    assert others.table("inventory").current_snapshot() is None
    files = [path for path in (tmp_path / "others").rglob("*.json") if "metadata" in path.name]
    assert files
    assert not any(str(tmp_path / "ours") in path.read_text() for path in files)
