"""Rules of a table's life: made from its contract, widened by it, and never robbed by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.tables import EVENT_TABLES, TABLES, TableContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.lock import LockHeldError, topic_lease
from retail_lakehouse.tables.catalog import CatalogError, open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import (
    EvolutionRefused,
    TableChange,
    ensure_tables,
)
from retail_lakehouse.tables.schema import arrow_schema, iceberg_type
from retail_lakehouse_tests.streaming.test_arguments import AWS

EVENTS_TABLE = EVENT_TABLES[0]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings.load({"state_dir": tmp_path})
    prepare_catalog(settings)
    return settings


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return open_catalog(settings)


def small(*columns: Column) -> TableContract:
    return TableContract(
        "t", "doc", (Column("a", Kind.STRING, "A.", required=True), *columns), kind="dimension"
    )


def test_a_catalog_that_was_never_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"There is no catalog at .*retail-lakehouse dev"):
        open_catalog(Settings.load({"state_dir": tmp_path / "nothing"}))


def test_the_catalog_is_in_wal_mode_and_may_be_prepared_again(settings: Settings) -> None:
    import sqlite3

    prepare_catalog(settings)
    with sqlite3.connect(settings.catalog_db) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_all_tables_are_made_from_their_contracts_once(
    catalog: Catalog, settings: Settings
) -> None:
    made = ensure_tables(catalog, settings)
    assert made == [TableChange(contract.qualified_name, "created") for contract in TABLES]
    assert ensure_tables(catalog, settings) == []
    for contract in TABLES:
        table = catalog.load_table(contract.identifier)
        assert table.format_version == 2
        assert [
            (field.name, field.field_type, field.required, field.doc)
            for field in table.schema().fields
        ] == [(c.name, iceberg_type(c), c.required, c.doc) for c in contract.columns]
        assert table.properties["write.metadata.delete-after-commit.enabled"] == "true"
        assert table.properties["comment"] == contract.doc


def test_a_table_has_its_landing_spec_beside_its_own(catalog: Catalog, settings: Settings) -> None:
    ensure_tables(catalog, settings)
    table = catalog.load_table(EVENTS_TABLE.identifier)
    specs = [[field.name for field in spec.fields] for spec in table.specs().values()]
    assert ["event_date"] in specs
    assert [field.name for field in table.spec().fields] == ["event_date", "event_hour"]


def test_a_new_optional_column_appears_at_its_place_and_old_rows_have_none(
    catalog: Catalog, settings: Settings
) -> None:
    import pyarrow as pa

    contract = small()
    ensure_tables(catalog, settings, [contract])
    catalog.load_table(contract.identifier).append(pa.table({"a": ["x"]}, arrow_schema(contract)))
    # As an event's new field: in the middle of the contract's columns.
    wider = replace(contract, columns=(Column("b", Kind.DECIMAL, "B."), *contract.columns))
    assert ensure_tables(catalog, settings, [wider]) == [
        TableChange("retail_db.t", "added column b")
    ]
    table = catalog.load_table(contract.identifier)
    assert table.schema().find_field("b").doc == "B."
    # What counts columns by position, such as Redshift's, reads it as a fresh table.
    assert [field.name for field in table.schema().fields] == ["b", "a"]
    rows = pa.table({"b": [None], "a": ["y"]}, arrow_schema(wider))
    table.append(rows)
    assert table.scan().to_arrow().sort_by("a").to_pylist() == [
        {"a": "x", "b": None},
        {"a": "y", "b": None},
    ]
    assert ensure_tables(catalog, settings, [wider]) == []


def test_a_required_column_may_become_optional(catalog: Catalog, settings: Settings) -> None:
    contract = small()
    ensure_tables(catalog, settings, [contract])
    looser = replace(contract, columns=(Column("a", Kind.STRING, "A."),))
    assert ensure_tables(catalog, settings, [looser]) == [
        TableChange("retail_db.t", "made column a optional")
    ]
    assert ensure_tables(catalog, settings, [looser]) == []


@pytest.mark.parametrize(
    "changed, sentence",
    [
        (
            TableContract("t", "doc", (Column("a", Kind.STRING, "A.", required=True),)),
            r"t has a column b that its contract no longer has.*Put the column back",
        ),
        (
            small(Column("b", Kind.STRING, "B.")),
            r"t\.b is int and the contract now says string.*Add a column with a new name",
        ),
        (
            small(Column("b", Kind.INT, "B.", required=True)),
            r"t\.b is optional and the contract now says required.*Leave it optional",
        ),
        (
            small(Column("b", Kind.INT, "B."), Column("c", Kind.INT, "C.", required=True)),
            r"adds c as required.*Make it optional",
        ),
    ],
    ids=["drop", "retype", "require", "add required"],
)
def test_what_would_lose_data_is_refused_in_a_sentence_and_changes_nothing(
    catalog: Catalog, settings: Settings, changed: TableContract, sentence: str
) -> None:
    contract = small(Column("b", Kind.INT, "B."))
    ensure_tables(catalog, settings, [contract])
    before = catalog.load_table(contract.identifier).metadata_location
    with pytest.raises(EvolutionRefused, match=sentence) as caught:
        ensure_tables(catalog, settings, [changed])
    assert "\n" not in str(caught.value)
    assert catalog.load_table(contract.identifier).metadata_location == before


def test_a_changed_retention_reaches_tables_that_are_there(
    catalog: Catalog, settings: Settings
) -> None:
    contract = small()
    ensure_tables(catalog, settings, [contract])
    longer = settings.model_copy(update={"snapshot_retention_minutes": 30})
    (change,) = ensure_tables(catalog, longer, [contract])
    assert change.change == "set history.expire.max-snapshot-age-ms"
    properties = catalog.load_table(contract.identifier).properties
    assert properties["history.expire.max-snapshot-age-ms"] == str(30 * 60_000)


def test_a_changed_description_reaches_a_table_that_is_there(
    catalog: Catalog, settings: Settings
) -> None:
    ensure_tables(catalog, settings, [small()])
    told = replace(small(), doc="what it is now")
    assert ensure_tables(catalog, settings, [told]) == [TableChange("retail_db.t", "set comment")]
    assert catalog.load_table(told.identifier).properties["comment"] == "what it is now"


def test_a_creation_that_was_killed_half_way_is_finished(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.tables import evolve

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evolve, "_extend_spec", killed)
        with pytest.raises(KeyboardInterrupt):
            ensure_tables(catalog, settings, [EVENTS_TABLE])
    (change,) = ensure_tables(catalog, settings, [EVENTS_TABLE])
    assert change.change == "extended the partition spec"


@pytest.mark.parametrize(
    "before, after, told",
    [
        (Column("b", Kind.INT, "B."), Column("b", Kind.LONG, "B."), "long"),
        (
            Column("b", Kind.DECIMAL, "B.", precision=9, scale=4),
            Column("b", Kind.DECIMAL, "B.", precision=20, scale=4),
            "decimal(20, 4)",
        ),
    ],
)
def test_a_type_may_be_promoted_and_old_rows_keep_their_values(
    catalog: Catalog, settings: Settings, before: Column, after: Column, told: str
) -> None:
    import pyarrow as pa

    contract = small(before)
    ensure_tables(catalog, settings, [contract])
    rows = pa.table({"a": ["x"], "b": [Decimal(7)]})
    catalog.load_table(contract.identifier).append(rows.cast(arrow_schema(contract)))
    wider = small(after)
    assert ensure_tables(catalog, settings, [wider]) == [
        TableChange("retail_db.t", f"widened column b to {told}")
    ]
    assert ensure_tables(catalog, settings, [wider]) == []
    found = catalog.load_table(contract.identifier).scan().to_arrow()
    assert found.column("b").to_pylist() == [7]


@pytest.mark.parametrize(
    "before, after",
    [
        (Column("b", Kind.LONG, "B."), Column("b", Kind.INT, "B.")),
        (
            Column("b", Kind.DECIMAL, "B.", precision=9, scale=4),
            Column("b", Kind.DECIMAL, "B.", precision=20, scale=5),
        ),
        (
            Column("b", Kind.DECIMAL, "B.", precision=9, scale=4),
            Column("b", Kind.DECIMAL, "B.", precision=8, scale=4),
        ),
        (Column("b", Kind.INT, "B."), Column("b", Kind.DOUBLE, "B.")),
        (Column("b", Kind.STRING, "B."), Column("b", Kind.LONG, "B.")),
    ],
)
def test_a_type_that_could_lose_values_is_refused(
    catalog: Catalog, settings: Settings, before: Column, after: Column
) -> None:
    ensure_tables(catalog, settings, [small(before)])
    with pytest.raises(EvolutionRefused, match="values could be lost"):
        ensure_tables(catalog, settings, [small(after)])


def test_a_contract_that_is_refused_leaves_the_tables_before_it_unchanged_too(
    catalog: Catalog, settings: Settings
) -> None:
    first, second = small(), replace(small(Column("b", Kind.INT, "B.")), name="u")
    ensure_tables(catalog, settings, [first, second])
    wider = small(Column("c", Kind.INT, "C."))
    broken = replace(second, columns=second.columns[:1])
    third = replace(first, name="v")
    with pytest.raises(EvolutionRefused):
        ensure_tables(catalog, settings, [wider, third, broken])
    assert [f.name for f in catalog.load_table(first.identifier).schema().fields] == ["a"]
    assert not catalog.table_exists(third.identifier)


def test_the_job_of_a_topic_yields_to_a_change_of_its_tables(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.tables import evolve

    ensure_tables(catalog, settings)
    asked: list[str] = []

    @contextmanager
    def asking(_: Path, topic: str) -> Iterator[None]:
        columns = catalog.load_table(wider.identifier).schema().column_names
        asked.append(topic)
        assert "loyalty_tier" not in columns
        yield
        assert "loyalty_tier" in catalog.load_table(wider.identifier).schema().column_names

    wider = replace(
        EVENTS_TABLE,
        columns=(*EVENTS_TABLE.columns, Column("loyalty_tier", Kind.STRING, "Tier.")),
    )
    monkeypatch.setattr(evolve, "topic_lease", asking)
    assert ensure_tables(catalog, settings) == []
    assert asked == []
    ensure_tables(catalog, settings, [wider, *TABLES[1:]])
    assert asked == [EVENTS[0].topic]


def test_a_change_under_a_job_that_does_not_yield_is_refused_in_a_sentence(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.tables import evolve

    ensure_tables(catalog, settings, [EVENTS_TABLE])
    longer = settings.model_copy(update={"snapshot_retention_minutes": 30})
    monkeypatch.setattr(evolve, "topic_lease", partial(topic_lease, timeout_seconds=0.3))
    with (
        topic_lease(settings.lock_dir, EVENTS[0].topic),
        pytest.raises(LockHeldError, match="Another process writes the tables"),
    ):
        ensure_tables(catalog, longer, [EVENTS_TABLE])
    assert len(ensure_tables(catalog, longer, [EVENTS_TABLE])) == 1


def test_on_aws_no_local_job_is_asked_to_yield(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.tables import evolve

    def never(_: Path, topic: str) -> None:
        pytest.fail(f"the job of {topic} was asked")

    ensure_tables(catalog, settings, [EVENTS_TABLE])
    monkeypatch.setattr(evolve, "topic_lease", never)
    told = replace(EVENTS_TABLE, doc="what it is now")
    assert len(ensure_tables(catalog, Settings.load(AWS), [told])) > 0
