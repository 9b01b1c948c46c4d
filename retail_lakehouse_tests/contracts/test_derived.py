"""One place knows the columns: every other spelling is derived, and none is written by hand."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import retail_lakehouse
from retail_lakehouse.assets.describe import column_schema
from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.json_schema import event_schema
from retail_lakehouse.contracts.tables import TABLES, TableContract, event_table
from retail_lakehouse.local.warehouse.lake import _column as warehouse_column
from retail_lakehouse.streaming.schema import judged_schema, spark_type
from retail_lakehouse.tables.schema import arrow_schema, iceberg_schema

ROOT = Path(retail_lakehouse.__file__).parent
GLUE_SCRIPTS = ROOT.parent / "glue_scripts"
# Also columns of system tables, whose shape Redshift's documentation gives.
NAMES = {column.name for table in TABLES for column in table.columns}
_TYPE_WORDS = (
    r"string|int|integer|bigint|long|decimal|numeric|varchar|timestamp|date|binary|varbyte|double"
)
_DECLARED = re.compile(rf'\b({"|".join(sorted(NAMES))})"?\s+({_TYPE_WORDS})\b', re.IGNORECASE)
_FIELD_CALLS = {"StructField", "NestedField", "TableColumn", "field", "add_column"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_engine_spells_the_columns_of_the_contract_in_their_order(
    table: TableContract,
) -> None:
    names = [column.name for column in table.columns]
    assert [field.name for field in iceberg_schema(table).fields] == names
    assert arrow_schema(table).names == names
    assert [column.name for column in column_schema(table.columns).columns] == names
    for column, arrow, iceberg in zip(
        table.columns, arrow_schema(table), iceberg_schema(table).fields, strict=True
    ):
        assert iceberg.required is column.required is not arrow.nullable
        assert iceberg.doc == column.doc


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_the_same_type_in_every_engine(kind: Kind) -> None:
    column = Column("x", kind, "doc", precision=12, scale=3)
    table = TableContract("t", "doc", (column,))
    iceberg = str(iceberg_schema(table).fields[0].field_type)
    in_warehouse = warehouse_column({"id": 1, "name": "x", "type": iceberg})
    assert in_warehouse is not None
    told = (
        spark_type(column).simpleString(),
        iceberg,
        str(arrow_schema(table).field("x").type),
        in_warehouse.redshift_type,
    )
    assert (
        told
        == {
            Kind.STRING: ("string", "string", "string", "varchar(16384)"),
            Kind.INT: ("int", "int", "int32", "integer"),
            Kind.LONG: ("bigint", "long", "int64", "bigint"),
            Kind.DECIMAL: ("decimal(12,3)", "decimal(12, 3)", "decimal128(12, 3)", "decimal(12,3)"),
            Kind.DATE: ("date", "date", "date32[day]", "date"),
            # Without a zone in every engine: one with a zone is TIMESTAMPTZ in Redshift.
            Kind.TIMESTAMP: ("timestamp_ntz", "timestamp", "timestamp[us]", "timestamp"),
            Kind.BINARY: ("binary", "binary", "binary", "varbyte(64000)"),
            Kind.BOOLEAN: ("boolean", "boolean", "bool", "boolean"),
            Kind.DOUBLE: ("double", "double", "double", "double precision"),
        }[kind]
    )


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_events_fields_are_those_of_its_schemas_and_its_table(event: EventContract) -> None:
    names = [field.name for field in event.fields]
    assert list(event_schema(event)["properties"]) == names
    assert event_schema(event)["required"] == [f.name for f in event.fields if f.required]
    assert [column.name for column in event_table(event).columns][: len(names)] == names
    assert set(names) < set(judged_schema(event).names)


def test_no_schema_is_written_by_hand_outside_the_contracts() -> None:
    found = [
        f"{path.relative_to(ROOT.parent)}: {what}"
        for path in _sources()
        for what in _hand_written(path)
    ]
    assert found == []


def test_a_schema_that_is_written_by_hand_is_noticed(tmp_path: Path) -> None:
    for number, text in enumerate(
        (
            'schema = StructType([StructField("store_id", StringType())])',
            'DDL = "store_id string, sku string, quantity_on_hand int"',
            'fields = pa.schema([pa.field("quantity_on_hand", pa.int32())])',
        )
    ):
        module = tmp_path / f"m{number}.py"
        module.write_text(text)
        assert list(_hand_written(module))
    query = tmp_path / "q.sql"
    query.write_text("CREATE TABLE t (store_id VARCHAR(16), sku VARCHAR(32), quantity INTEGER)")
    assert list(_hand_written(query))


def _sources() -> Iterator[Path]:
    for path in (*ROOT.rglob("*.py"), *ROOT.rglob("*.sql"), *GLUE_SCRIPTS.glob("*.py")):
        if path.relative_to(ROOT.parent).parts[1] != "contracts":
            yield path


def _hand_written(path: Path) -> Iterator[str]:
    text = path.read_text()
    if path.suffix == ".sql":
        yield from _declarations(text)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _declarations(node.value)
        if isinstance(node, ast.Call) and _called(node) in _FIELD_CALLS:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            for name in arguments:
                # A lookup by name has one argument; a declaration has a type as well.
                if isinstance(name, ast.Constant) and name.value in NAMES and len(arguments) > 1:
                    yield f"{_called(node)}({name.value!r}, …)"


def _declarations(text: str) -> Iterator[str]:
    """Column names with types after them, where there are so many that it is a schema."""
    found = {match.group(1).lower() for match in _DECLARED.finditer(text)}
    if len(found) >= 3:
        yield f"types for {', '.join(sorted(found))}"


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))
