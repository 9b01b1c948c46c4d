"""JSON Schema for producers, derived from the event contracts.

Here: what a producer's library can check before it sends. Not here: the verdict on a record
(`judge.py`), which is stricter where JSON Schema cannot be: 3.0 is an integer to JSON Schema but
not to the contract, and duplicate keys, encoding, size and time are out of its sight.
"""

import json
from pathlib import Path
from typing import Any

from retail_lakehouse.contracts.events import EVENTS, EventContract, SignRule
from retail_lakehouse.contracts.fields import INTEGER_LIMITS, Field, Kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def event_schema(event: EventContract) -> dict[str, Any]:
    """The event's JSON Schema (draft 2020-12). Unknown fields are allowed: they are kept."""
    # Draft 2020-12 refuses an empty `allOf`.
    rules = {"allOf": [_sign_rule(rule) for rule in event.sign_rules]} if event.sign_rules else {}
    return {
        "$schema": DIALECT,
        "$id": f"urn:retail-lakehouse:{event.topic}:{event.version}",
        "title": f"{event.name} event, version {event.version}",
        "description": f"{event.doc} The Kafka key is {'|'.join(event.key_fields)}, hashed with "
        f"murmur2; a body has at most {event.max_bytes} bytes.",
        "type": "object",
        "properties": {field.name: _property(event, field) for field in event.fields},
        "required": [field.name for field in event.fields if field.required],
        **rules,
    }


def export_json_schemas(folder: Path) -> list[Path]:
    """Writes one `<topic>.schema.json` an event into `folder`, made if absent; returns the files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for event in EVENTS:
        path = folder / f"{event.topic}.schema.json"
        text = json.dumps(event_schema(event), indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        written.append(path)
    return written


def _property(event: EventContract, field: Field) -> dict[str, Any]:
    schema = {"description": field.doc, **_value(field)}
    if field.name in event.non_zero:
        schema["not"] = {"const": 0}
    if field.required:
        return schema
    description = schema.pop("description")
    return {"description": description, "anyOf": [schema, {"type": "null"}]}


def _value(field: Field) -> dict[str, Any]:
    if field.kind is Kind.STRING:
        if field.allowed:
            return {"type": "string", "enum": list(field.allowed)}
        return {
            "type": "string",
            "minLength": 1,
            "maxLength": field.max_length,
            "pattern": "^[^\\u0000]*$",
        }
    if field.kind is Kind.DECIMAL:
        return {"anyOf": [_number(field), {"type": "string", "pattern": _decimal_pattern(field)}]}
    low, high = INTEGER_LIMITS[field.kind]
    return {
        "type": "integer",
        "minimum": low if field.minimum is None else max(low, field.minimum),
        "maximum": high if field.maximum is None else min(high, field.maximum),
    }


def _number(field: Field) -> dict[str, Any]:
    limit = 10 ** (field.precision - field.scale)
    low: dict[str, Any] = {"exclusiveMinimum": -limit}
    high: dict[str, Any] = {"exclusiveMaximum": limit}
    if field.minimum is not None:
        low = {"minimum": field.minimum}
    if field.maximum is not None:
        high = {"maximum": field.maximum}
    return {"type": "number", **low, **high}


def _decimal_pattern(field: Field) -> str:
    sign = "" if field.minimum is not None and field.minimum >= 0 else "-?"
    whole = field.precision - field.scale
    return rf"^{sign}(0|[1-9][0-9]{{0,{whole - 1}}})(\.[0-9]{{1,{field.scale}}}0*)?$"


def _sign_rule(rule: SignRule) -> dict[str, Any]:
    limits: dict[int, dict[str, Any]] = {
        -1: {"exclusiveMaximum": 0},
        0: {"not": {"const": 0}},
        1: {"exclusiveMinimum": 0},
    }
    value = {"type": "integer", **limits[rule.sign]}
    then: dict[str, Any] = {"properties": {rule.field: value}}
    if rule.required:
        then["required"] = [rule.field]
    return {
        "if": {
            "properties": {rule.when_field: {"const": rule.equals}},
            "required": [rule.when_field],
        },
        "then": then,
    }
