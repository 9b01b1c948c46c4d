"""One place knows the columns: every other spelling is derived, and none is written by hand."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import retail_lakehouse
from retail_lakehouse.assets.describe import column_schema
from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.json_schema import event_schema
from retail_lakehouse.contracts.redshift_types import external_columns, external_type
from retail_lakehouse.contracts.tables import TABLES, TableContract, event_table
from retail_lakehouse.local.warehouse.lake import _column as warehouse_column
from retail_lakehouse.streaming.schema import judged_schema, spark_type
from retail_lakehouse.tables.schema import arrow_schema, iceberg_schema

ROOT = Path(retail_lakehouse.__file__).parent
REPO = ROOT.parent
NAMES = {column.name for table in TABLES for column in table.columns}
_TYPE_WORDS = (
    r"string|int|integer|bigint|long|decimal|numeric|varchar|timestamp|timestamp_ntz|date|binary|"
    r"varbyte|double|boolean|number"
)
_DECLARED = re.compile(rf'\b({"|".join(sorted(NAMES))})"?\s+({_TYPE_WORDS})\b', re.IGNORECASE)
# NULL::varchar AS store_id, CAST(NULL AS decimal(18, 4)) AS unit_price
_TYPED_NULL = re.compile(
    rf'\bNULL(?:::|\s+AS\s+)(?:{_TYPE_WORDS})(?:\([^)]*\))?\)?\s+AS\s+"?({"|".join(sorted(NAMES))})\b',
    re.IGNORECASE,
)
_TYPE_WORD = re.compile(rf"({_TYPE_WORDS})(\(.*\))?", re.IGNORECASE)
# pa.int64(), t.StringType(), types.DecimalType(18, 4), Kind.LONG, …
_TYPE_NAME = re.compile(
    rf"({_TYPE_WORDS}|u?int\d+|float\d+|decimal\d+|date\d+|bool_|utf8|\w+Type)", re.IGNORECASE
)
_FIELD_CALLS = {
    *("StructField", "NestedField", "TableColumn", "ExternalColumn", "RedshiftColumn", "Column"),
    *("field", "add", "add_column"),
}
_A_SCHEMA = 3
"""So many columns with their types, and it is a schema."""


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_engine_spells_the_columns_of_the_contract_in_their_order(
    table: TableContract,
) -> None:
    names = [column.name for column in table.columns]
    assert [field.name for field in iceberg_schema(table).fields] == names
    assert arrow_schema(table).names == names
    assert [column.name for column in column_schema(table.columns).columns] == names
    assert [column.columnname for column in external_columns(table)] == names
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
    in_warehouse = warehouse_column({"id": 1, "name": "x", "type": iceberg, "required": False})
    assert in_warehouse is not None
    assert in_warehouse.redshift_type == external_type(column)
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
        f"{path.relative_to(REPO)}: {what}" for path in _sources() for what in _hand_written(path)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("spark.py", 'schema = StructType([StructField("store_id", StringType())])'),
        ("spark.py", 'schema = StructType().add("store_id", "string")'),
        ("spark.py", 'DDL = "store_id string, sku string, quantity_on_hand int"'),
        (
            "empty.py",
            'NONE = "SELECT NULL::VARCHAR AS store_id, CAST(NULL AS DECIMAL(18, 4)) AS unit_price, '
            'NULL::INT AS quantity"',
        ),
        ("iceberg.py", 'NestedField(1, "store_id", types.StringType(), required=True)'),
        ("arrow.py", 'fields = pa.schema([pa.field("quantity_on_hand", pa.int32())])'),
        (
            "arrow.py",
            'pa.schema([("store_id", pa.string()), ("sku", pa.string()), ("line", X), '
            '("quantity", pa.int32())])',
        ),
        ("arrow.py", 'TYPES = {"store_id": pa.string(), "sku": pa.utf8(), "quantity": pa.int32()}'),
        (
            "redshift.py",
            'COLUMNS = {"store_id": "varchar(16384)", "sku": "varchar", "quantity": "integer"}',
        ),
        ("redshift.py", 'ExternalColumn("store_id", "varchar(16384)", 1, "false")'),
        (
            "redshift.sql",
            "CREATE TABLE t (store_id VARCHAR(16), sku VARCHAR(32), quantity INTEGER)",
        ),
        ("dagster.py", 'dg.TableColumn(name="store_id", type="string")'),
        (
            "producers.py",
            '{"properties": {"store_id": {"type": "string"}, "sku": {"anyOf": [{"type": '
            '"string"}]}, "quantity": {"type": "integer", "minimum": 0}}}',
        ),
        (
            "producers.schema.json",
            '{"properties": {"store_id": {"type": "string"}, "sku": {"type": "string"}, '
            '"is_virtual": {"type": "boolean", "default": false}}}',
        ),
    ],
)
def test_a_schema_that_is_written_by_hand_is_noticed(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.write_text(text)
    assert list(_hand_written(path))


@pytest.mark.parametrize(
    "text",
    [
        'schema.field("store_id")',
        'row = {"store_id": "S1", "sku": "K1", "quantity": 3}',
        'keys = [("store_id", 1), ("sku", 2), ("quantity", 3)]',
        '"SELECT store_id, sku, MAX(quantity) AS quantity FROM t"',
    ],
)
def test_what_only_names_columns_is_no_schema(tmp_path: Path, text: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(text)
    assert list(_hand_written(path)) == []


def _sources() -> Iterator[Path]:
    for room in (ROOT, REPO / "glue_scripts", REPO / "benchmarks"):
        for path in room.rglob("*"):
            is_contract = ROOT / "contracts" in path.parents
            if path.suffix in {".py", ".sql", ".json"} and not is_contract:
                yield path


def _hand_written(path: Path) -> Iterator[str]:
    text = path.read_text()
    if path.suffix == ".sql":
        yield from _declarations(text)
        return
    # JSON is read as Python too: its `true` and `null` are names there.
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _declarations(node.value)
        elif isinstance(node, ast.Call) and _called(node) in _FIELD_CALLS:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            for name in arguments:
                # A lookup by name has one argument; a declaration has a type as well.
                if isinstance(name, ast.Constant) and name.value in NAMES and len(arguments) > 1:
                    yield f"{_called(node)}({name.value!r}, …)"
        elif isinstance(node, ast.Dict):
            yield from _enough(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.List | ast.Tuple):
            pairs = (each.elts for each in node.elts if isinstance(each, ast.Tuple))
            yield from _enough((pair[0], pair[1]) for pair in pairs if len(pair) > 1)


def _declarations(text: str) -> Iterator[str]:
    """Column names with types after them, where there are so many that it is a schema."""
    matches = (*_DECLARED.finditer(text), *_TYPED_NULL.finditer(text))
    found = {match.group(1).lower() for match in matches}
    if len(found) >= _A_SCHEMA:
        yield f"types for {', '.join(sorted(found))}"


def _enough(pairs: Iterable[tuple[ast.expr | None, ast.expr]]) -> Iterator[str]:
    """Column names paired with types, where there are so many that it is a schema."""
    found = {
        str(name.value)
        for name, value in pairs
        if isinstance(name, ast.Constant) and name.value in NAMES and _is_type(value)
    }
    if len(found) >= _A_SCHEMA:
        yield f"types for {', '.join(sorted(found))}"


def _is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and _TYPE_WORD.fullmatch(node.value) is not None
    if isinstance(node, ast.Dict):
        keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        return bool(keys & {"type", "anyOf", "enum"})
    name = _called(node) if isinstance(node, ast.Call) else getattr(node, "attr", "")
    return _TYPE_NAME.fullmatch(name) is not None


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))
