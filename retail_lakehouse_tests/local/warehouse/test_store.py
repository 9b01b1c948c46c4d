"""A file that the warehouse cannot use is a sentence, whatever DuckDB makes of it."""

from pathlib import Path

import duckdb
import pytest

from retail_lakehouse.local.warehouse import store
from retail_lakehouse.local.warehouse.errors import StartError
from retail_lakehouse.local.warehouse.store import Store


def _sentence(path: Path) -> str:
    with pytest.raises(StartError) as caught:
        Store(path, memory_limit_mb=128, threads=1)
    told = str(caught.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize(
    "error",
    [
        duckdb.IOException("IO Error: Corrupt database file: no such checksum in block 7\nmore"),
        duckdb.SerializationException("Serialization Error: Failed to deserialize\nmore"),
        duckdb.InternalException("INTERNAL Error: Failure while replaying WAL\nmore"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_damaged_file_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: duckdb.Error
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(duckdb, "connect", refuse)
    path = tmp_path / "warehouse.duckdb"
    assert _sentence(path) == (
        f"The warehouse file {path} cannot be opened ({str(error).splitlines()[0]}). If it is "
        "damaged, stop `retail-lakehouse dev`, move the file away and start again: that makes a "
        "new one, and the views anew from the tables."
    )


def test_a_file_that_holds_something_else_is_told_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "load_extensions", lambda _: None)
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE SCHEMA bookkeeping")
        other.execute("CREATE VIEW bookkeeping.refresh_history AS SELECT 1 AS start_time")
    assert "cannot be opened (" in _sentence(path)
    # Nothing holds it: it can be moved away.
    duckdb.connect(str(path)).close()


def test_only_a_lock_is_called_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise duckdb.IOException(
            'IO Error: Could not set lock on file "w": Conflicting lock is held in PID 7.'
        )

    monkeypatch.setattr(duckdb, "connect", refuse)
    assert "is held by another process" in _sentence(tmp_path / "warehouse.duckdb")
