"""Rules of the judge: the table of cases, precedence, and what no record can make it do."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retail_lakehouse.contracts.canonical import canonical_text, decimal_text
from retail_lakehouse.contracts.cases import BROKER_TIME_MS, CASES, Case, body
from retail_lakehouse.contracts.events import EVENTS, INVENTORY, EventContract
from retail_lakehouse.contracts.fields import INTEGER_LIMITS, Field, Kind
from retail_lakehouse.contracts.judge import Bad, Good, as_of_today, judge
from retail_lakehouse.contracts.reasons import PRECEDENCE, Reason

_HOUR_MS = 3_600_000


def verdict_reason(value: bytes | None, contract: EventContract = INVENTORY) -> Reason | None:
    verdict = judge(value, BROKER_TIME_MS, contract)
    return verdict.reason if isinstance(verdict, Bad) else None


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_case_gets_its_verdict(case: Case) -> None:
    assert verdict_reason(case.body) is case.reason


def test_the_table_of_cases_has_every_reason_that_a_lone_record_can_have() -> None:
    assert {case.reason for case in CASES} == {None, *Reason} - {Reason.CONFLICT}
    assert len({case.name for case in CASES}) == len(CASES)


_FAULTS: dict[Reason, Callable[[bytes], bytes]] = {
    Reason.OVERSIZE: lambda b: b + b" " * INVENTORY.max_bytes,
    Reason.ENCODING: lambda b: b.replace(b"S0001", b"S\xff01"),
    Reason.JSON: lambda b: b.replace(b"}", b",}"),
    Reason.DUPLICATE_KEY: lambda b: b.replace(b"{", b'{"x":1,"x":2,'),
    Reason.TYPE: lambda b: b.replace(b'"SKU-00001"', b"12"),
    Reason.RANGE: lambda b: b.replace(b'"quantity_reserved":2', b'"quantity_reserved":-2'),
    Reason.TIME: lambda b: b.replace(str(BROKER_TIME_MS - 1_000).encode(), b"1"),
}


@pytest.mark.parametrize("count", range(1, len(_FAULTS) + 1))
def test_of_several_faults_the_first_of_the_precedence_is_the_reason(count: int) -> None:
    for reasons in itertools.combinations(_FAULTS, count):
        broken = body()
        for reason in reasons:
            broken = _FAULTS[reason](broken)
        assert verdict_reason(broken) is min(reasons, key=PRECEDENCE.index)


@pytest.mark.parametrize("contract", EVENTS, ids=lambda contract: contract.name)
def test_a_rule_of_one_event_holds_for_zero_too(contract: EventContract) -> None:
    for field in contract.fields:
        if field.kind is Kind.DECIMAL:
            strict = replace(
                contract,
                fields=tuple(replace(f, minimum=1) if f == field else f for f in contract.fields),
            )
            values = _example_of(contract) | {field.name: 0}
            assert verdict_reason(json.dumps(values).encode(), contract) is None
            assert verdict_reason(json.dumps(values).encode(), strict) is Reason.RANGE


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["SALE", "12.5", "1e400", "\x00", "\ud800", BROKER_TIME_MS]),
)
_NAMES = st.one_of(st.sampled_from([f.name for f in INVENTORY.fields]), st.text(max_size=5))
_DOCUMENTS = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_NAMES, inner, max_size=10)
    ),
    max_leaves=30,
).map(lambda document: json.dumps(document).encode())


@st.composite
def _mangled(draw: st.DrawFn) -> bytes:
    text = bytearray(draw(st.one_of(st.just(body()), _DOCUMENTS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(text) - 1)))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(text)


@given(st.one_of(st.binary(max_size=200), _DOCUMENTS, _mangled()))
@example(b"[" * 200_000)
@example(b'{"a":' * 60_000)
@example(body(unit_cost="1" * 60_000))
@example(body(unit_cost="0." + "0" * 60_000))
@example(body(unit_cost="1e-" + "9" * 4_000))
@example(body(unit_cost='"' + "9" * 60_000 + '"'))
@example(body(quantity_on_hand="-" + "9" * 60_000))
def test_no_bytes_make_the_judge_raise_or_write_what_cannot_be_stored(value: bytes) -> None:
    for contract in EVENTS:
        verdict = judge(value, BROKER_TIME_MS, contract)
        if isinstance(verdict, Bad):
            assert verdict.detail.encode("utf-8")
            assert len(verdict.detail) < 300
            (verdict.event_id or "").encode("utf-8")
        else:
            (verdict.extra or "").encode("utf-8")
        assert judge(value, BROKER_TIME_MS, contract) == verdict


def _text(field: Field) -> st.SearchStrategy[str]:
    if field.allowed:
        return st.sampled_from(field.allowed)
    alphabet = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
    return st.text(alphabet, min_size=1, max_size=field.max_length)


def _value(field: Field) -> st.SearchStrategy[object]:
    if field.name == "event_timestamp":
        return st.integers(BROKER_TIME_MS - 7 * 24 * _HOUR_MS, BROKER_TIME_MS + 600_000)
    if field.kind is Kind.STRING:
        return _text(field)
    if field.kind is Kind.DECIMAL:
        top = Decimal(10) ** (field.precision - field.scale)
        return st.decimals(0, top - Decimal("0.0001"), places=field.scale)
    low, high = INTEGER_LIMITS[field.kind]
    return st.integers(low if field.minimum is None else field.minimum, high)


@st.composite
def good_values(draw: st.DrawFn, contract: EventContract) -> dict[str, object]:
    """Typed values that the contract allows."""
    values: dict[str, object] = {}
    for field in contract.fields:
        absent = not field.required and draw(st.booleans())
        values[field.name] = None if absent else draw(_value(field))
    for rule in contract.sign_rules:
        if values[rule.when_field] == rule.equals:
            low, high = INTEGER_LIMITS[contract.field(rule.field).kind]
            values[rule.field] = draw(
                {
                    -1: st.integers(low, -1),
                    1: st.integers(1, high),
                    0: st.integers(low, high).filter(bool),
                }[rule.sign]
            )
    for name in contract.non_zero:
        values[name] = values[name] or 1
    return values


@st.composite
def _spelt(draw: st.DrawFn, contract: EventContract) -> tuple[dict[str, object], bytes]:
    values = draw(good_values(contract))
    members = []
    for name in draw(st.permutations(list(values))):
        value = values[name]
        if value is None and draw(st.booleans()):
            continue
        if isinstance(value, Decimal):
            plain = decimal_text(value, contract.field(name).scale)
            raw = draw(st.sampled_from([plain, f'"{plain}"', f"{plain}00", f"{value:E}"]))
        else:
            raw = json.dumps(value, ensure_ascii=draw(st.booleans()))
        members.append(json.dumps(name) + draw(st.sampled_from([":", " : ", ":\n"])) + raw)
    return values, ("{" + ",".join(members) + "}").encode()


@pytest.mark.parametrize("contract", EVENTS, ids=lambda contract: contract.name)
@given(data=st.data())
def test_a_good_event_comes_out_as_it_went_in_however_it_is_spelt(
    contract: EventContract, data: st.DataObject
) -> None:
    values, text = data.draw(_spelt(contract))
    verdict = judge(text, BROKER_TIME_MS, contract)
    assert isinstance(verdict, Good), verdict
    assert verdict.values == values
    assert verdict.extra is None
    assert verdict.canonical == canonical_text(contract.fields, values)


@given(data=st.data())
def test_two_contents_never_share_a_canonical_form(data: st.DataObject) -> None:
    for contract in EVENTS:
        left, right = data.draw(good_values(contract)), data.draw(good_values(contract))
        name = data.draw(st.sampled_from([field.name for field in contract.fields]))
        right = data.draw(st.sampled_from([right, left, left | {name: right[name]}]))
        forms = [canonical_text(contract.fields, values) for values in (left, right)]
        assert (forms[0] == forms[1]) == (left == right)


def test_a_separator_inside_a_string_imitates_nothing() -> None:
    fields = (Field("a", Kind.STRING, ""), Field("b", Kind.STRING, "", required=False))
    contents: list[dict[str, object]] = [
        {"a": "x|1:y", "b": "z"},
        {"a": "x", "b": "y|1:z"},
        {"a": "x", "b": "~"},
        {"a": "x", "b": None},
        {"a": "x|~", "b": None},
    ]
    assert len({canonical_text(fields, values) for values in contents}) == len(contents)


def test_unknown_fields_have_one_spelling_and_keep_their_numbers() -> None:
    verdicts = [
        judge(text, BROKER_TIME_MS, INVENTORY)
        for text in (
            body(z='{"b":1.50,"a":[1e400,"é"]}', colour="null"),
            body(colour=" null", z='{"a": [1e400, "\\u00e9"],\n"b":1.50}'),
        )
    ]
    assert isinstance(verdicts[0], Good)
    assert verdicts[0] == verdicts[1]
    assert verdicts[0].extra == '{"colour":null,"z":{"a":[1e400,"\\u00e9"],"b":1.50}}'


_LATER_FIELDS = (
    Field("colour", Kind.STRING, "…", required=False, max_length=4),
    Field("price", Kind.DECIMAL, "…", required=False, minimum=0),
    Field("rank", Kind.LONG, "…", required=False),
)
_LATER = replace(INVENTORY, fields=(*INVENTORY.fields, *_LATER_FIELDS))


@pytest.mark.parametrize(
    "unknown",
    [
        {"colour": '"red"'},
        {"colour": '"red"', "z": "1.50"},
        {"colour": '"\\u00e9"', "price": '"1.50"', "rank": "-0"},
        {"price": "1.5000"},
        {"price": "12e-1", "rank": "7"},
        {"colour": "null", "z": "null"},
        {"z": '{"colour":"red"}'},
    ],
)
def test_a_row_of_an_older_contract_has_the_content_of_its_copy_under_todays(
    unknown: dict[str, str],
) -> None:
    text = body(**unknown)
    before, now = (judge(text, BROKER_TIME_MS, each) for each in (INVENTORY, _LATER))
    assert isinstance(before, Good)
    assert isinstance(now, Good)
    assert before.extra is not None
    stored = {field.name: before.values.get(field.name) for field in _LATER.fields}
    values, extra = as_of_today(_LATER, stored, before.extra)
    assert (canonical_text(_LATER.fields, values), extra) == (now.canonical, now.extra)


@pytest.mark.parametrize("extra", ['{"colour":"yellow"}', '{"rank":"7"}', '{"price":-1}'])
def test_an_older_rows_value_that_no_copy_can_have_today_stays_in_extra(extra: str) -> None:
    stored: dict[str, object] = {field.name: None for field in _LATER.fields}
    assert as_of_today(_LATER, stored, extra) == (stored, extra)


def _example_of(contract: EventContract) -> dict[str, object]:
    values: dict[str, object] = {}
    for field in contract.fields:
        if field.allowed:
            values[field.name] = field.allowed[0]
        elif field.kind is Kind.STRING:
            values[field.name] = "x"
        else:
            values[field.name] = BROKER_TIME_MS if field.name == "event_timestamp" else 1
    return values
