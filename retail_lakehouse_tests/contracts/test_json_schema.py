"""Rules of the JSON Schemas: derived from the contracts whole, and never looser on a good event."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from retail_lakehouse.contracts.cases import BROKER_TIME_MS, CASES
from retail_lakehouse.contracts.events import EVENTS, INVENTORY, EventContract
from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.json_schema import event_schema, export_json_schemas
from retail_lakehouse.contracts.judge import Good, judge
from retail_lakehouse.contracts.reasons import Reason
from retail_lakehouse.local.simulator.malformed import Victim, spoilers
from retail_lakehouse.local.simulator.options import NO_FAULTS
from retail_lakehouse_tests.local.simulator.made import NOW_MS, maker

# JSON Schema takes 3.0 and 1e2 for integers, does not count digits of numbers, and has no word for
# halves of surrogate pairs.
OUT_OF_SIGHT = (
    "fraction in an integer",
    "exponent in an integer",
    "money with a digit too many",
    "half a surrogate pair",
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_schema_has_every_field_of_its_contract_and_no_other(event: EventContract) -> None:
    schema = event_schema(event)
    assert list(schema["properties"]) == [field.name for field in event.fields]
    assert schema["required"] == [field.name for field in event.fields if field.required]
    for field in event.fields:
        described = schema["properties"][field.name]
        assert described["description"] == field.doc
        assert ({"type": "null"} in described.get("anyOf", [])) == (not field.required)


def test_unknown_fields_are_allowed() -> None:
    assert all("additionalProperties" not in event_schema(event) for event in EVENTS)


def test_sign_rules_are_conditions_of_the_schema() -> None:
    rules = event_schema(INVENTORY)["allOf"]
    sale = next(r for r in rules if r["if"]["properties"]["event_type"]["const"] == "SALE")
    assert sale["then"] == {
        "properties": {"quantity_delta": {"type": "integer", "exclusiveMaximum": 0}},
        "required": ["quantity_delta"],
    }


def test_the_pattern_of_money_takes_what_the_judge_takes() -> None:
    described = event_schema(INVENTORY)["properties"]["unit_cost"]["anyOf"]
    pattern = re.compile(described[1]["pattern"])
    for case in CASES:
        try:
            document: Any = json.loads(case.body or b"")
        except (ValueError, RecursionError):
            continue
        money = document.get("unit_cost") if isinstance(document, dict) else None
        if isinstance(money, str) and case.name.startswith("money"):
            good = isinstance(judge(case.body, BROKER_TIME_MS, INVENTORY), Good)
            assert bool(pattern.fullmatch(money)) == good, case.name
    for text in ("0", "0.5", "12.3400000", "99999999999999.9999"):
        assert pattern.fullmatch(text)
    for text in ("", "-1", "01", "1.", ".5", "1e2", "100000000000000", "0.00001"):
        assert not pattern.fullmatch(text)


def test_every_kind_that_an_event_uses_has_a_schema() -> None:
    kinds = {field.kind for event in EVENTS for field in event.fields}
    assert kinds == {Kind.STRING, Kind.INT, Kind.LONG, Kind.DECIMAL}


def test_the_export_writes_one_file_a_topic(tmp_path: Path) -> None:
    files = export_json_schemas(tmp_path / "schemas")
    assert [file.name for file in files] == [f"{event.topic}.schema.json" for event in EVENTS]
    for file, event in zip(files, EVENTS, strict=True):
        assert json.loads(file.read_text()) == event_schema(event)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_validator_takes_good_events_and_refuses_what_it_can_see(event: EventContract) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(event_schema(event))
    jsonschema.Draft202012Validator.check_schema(event_schema(event))
    batch = maker(NO_FAULTS).batch(0, 300, NOW_MS - 250, NOW_MS)
    number = EVENTS.index(event)
    bodies = [
        json.loads(body or b"")
        for topic, body in zip(batch.rows["topic"].tolist(), batch.bodies, strict=True)
        if topic == number
    ]
    assert not [error for body in bodies for error in validator.iter_errors(body)]
    members = {name: json.dumps(value) for name, value in bodies[1].items()}
    for reason in (Reason.TYPE, Reason.RANGE):
        for spoiler in spoilers(event, reason):
            if spoiler.name in OUT_OF_SIGHT:
                continue
            spoilt = spoiler.spoil(Victim(event, members, NOW_MS))
            assert not validator.is_valid(json.loads(spoilt or b"")), spoiler.name
