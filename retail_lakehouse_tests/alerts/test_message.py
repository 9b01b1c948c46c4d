import json
import time
from dataclasses import replace

import pytest

from retail_lakehouse.alerts.incidents import Figure, Kind, rehearsal
from retail_lakehouse.alerts.message import DIGEST_MOST, Links, render, slack_escaped
from retail_lakehouse.alerts.redact import HIDDEN, one_line, without_secrets
from retail_lakehouse.contracts.alerting import ALERTS, NOT_JUDGED, AlertContract
from retail_lakehouse.contracts.service_levels import Severity
from retail_lakehouse_tests.alerts.build import MINUTE, NOW, notice

LINKS = Links("http://127.0.0.1:3000", "https://docs.example/runbooks/")


def test_a_message_says_what_since_when_what_it_means_and_what_to_do() -> None:
    told = notice(check="streaming_job_healthy", asset="streaming/inventory_streaming")
    message = render("abc", [told], LINKS)
    assert message.title == "🔴 Opened: A streaming job does not commit (inventory_streaming)"
    for part in (
        "7 records wait.",
        "Asset: streaming/inventory_streaming",
        "Since: 2026-11-18 11:06 UTC",
        "Severity: critical",
        "Owner: team:data-platform",
        "For the planners: New events of this kind do not reach the tables",
        "First: retail-lakehouse jobs status",
        "Page: http://127.0.0.1:3000/assets/streaming/inventory_streaming?view=checks"
        "&checkDetail=streaming_job_healthy",
        "Runbook: https://docs.example/runbooks/streaming-job-healthy.md",
        "(alert abc)",
    ):
        assert part in message.text
    shown = json.dumps(message.blocks, ensure_ascii=False)
    assert "For the planners" in shown
    assert "`retail-lakehouse jobs status`" in shown
    assert "|Runbook>" in shown
    assert "?view=checks&amp;checkDetail=streaming_job_healthy|Dagster's page>" in shown


def test_a_suggested_command_names_what_the_alert_is_of() -> None:
    told = notice(check="serving_lag", asset="mart/mv_stock_newest")
    text = render("abc", [told], LINKS).text
    assert "First: retail-lakehouse views refresh mv_stock_newest" in text


@pytest.mark.parametrize("contract", ALERTS, ids=lambda contract: contract.check)
@pytest.mark.parametrize("kind", Kind)
def test_every_alert_fits_what_slack_takes(contract: AlertContract, kind: Kind) -> None:
    long = notice(check=contract.check, kind=kind, sentence="<*&`_~>" * 900, asset="a/" * 900 + "b")
    for notices in ([long], [long] * 60):
        message = render("abc", notices, LINKS, dropped=3, now_ms=NOW + 90 * MINUTE)
        assert len(message.blocks) <= 50
        assert "3 older messages were dropped" in message.text
        assert "told 1 h 30 min late" in message.text
        for block in message.blocks:
            text = block.get("text")
            if isinstance(text, dict):
                assert len(text["text"]) <= (150 if block["type"] == "header" else 3000)
            fields = block.get("fields", [])
            assert isinstance(fields, list)
            assert len(fields) <= 10
            assert all(len(field["text"]) <= 2000 for field in fields)


def test_slack_s_markup_in_what_others_wrote_is_shown_and_not_read() -> None:
    sly = notice(sentence="<!channel> <https://evil.example|click> *bold* `code` & <@U1>")
    for notices in ([sly], [sly, notice(2)]):
        shown = json.dumps(render("abc", notices, LINKS).blocks, ensure_ascii=False)
        assert "&lt;!channel&gt;" in shown
        assert "<!channel>" not in shown
        assert "<https://evil" not in shown
        assert "<@U1>" not in shown
    assert slack_escaped("a*b*") == "a*\u200bb*\u200b"


def test_others_words_are_on_one_line_without_control_marks() -> None:
    assert one_line("a\n\nb\x1b[31m\tc\u202e\u200bd", 50) == "a b [31m cd"
    assert one_line("x" * 20, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    "text, secret",
    [
        ("no route to postgres://lakehouse:hunter2@db:5439/dev", "hunter2"),
        ("no route to postgres://lakehouse:its@hunter2@db:5439/dev", "hunter2"),
        ("password=hunter2, then", "hunter2"),
        ("{'sasl.password': 'hunter2 and more'}", "hunter2"),
        ('"api_key": "hunter2"', "hunter2"),
        ("X-Amz-Signature=hunter2&x=1", "hunter2"),
        ("Authorization: Bearer hunter2", "hunter2"),
        ("xoxb-123-hunter2", "hunter2"),
        ("POST https://hooks.slack.com/services/T0/B0/hunter2 failed", "hunter2"),
        ("key AKIAABCDEFGHIJKLMNOP is wrong", "AKIAABCDEFGHIJKLMNOP"),
        ("xapp-1-hunter2", "hunter2"),
        ("Max retries exceeded with url: /services/T0AB1/B0/hunter2", "hunter2"),
        ("with -eyJhbGciOiJIUzI1.eyJzdWIiOi.hunter2", "hunter2"),
        ("my.sasl.password-of.mine   =   'hunter2", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_in_no_form_of_a_message(text: str, secret: str) -> None:
    assert secret not in without_secrets(text)
    message = render("abc", [notice(sentence=text)], LINKS)
    assert secret not in repr(message)
    assert HIDDEN in message.text


def test_a_sentence_without_a_secret_stays_as_it_is() -> None:
    text = "42 records wait, the oldest for 134 s at most: over the 120 s that are promised."
    assert without_secrets(text) == text
    assert without_secrets("it holds s3cr3t", ("s3cr3t",)) == f"it holds {HIDDEN}"


@pytest.mark.parametrize(
    "part",
    [
        "token-",
        "a.",
        "a-",
        "-eyJaaaaaaaa",
        "services/T",
        "://a",
        "://@",
        "://a@",
        "secret =",
        'password="',
        "Bearer ",
    ],
)
def test_a_long_text_of_what_nearly_is_a_secret_holds_nothing_up(part: str) -> None:
    began = time.process_time()
    without_secrets(part * (20_000 // len(part)))
    assert time.process_time() - began < 1


def test_a_digest_names_the_worst_first_and_counts_what_it_leaves_out() -> None:
    notices = [
        *(notice(number, severity=Severity.WARNING) for number in range(DIGEST_MOST + 4)),
        notice(99),
        notice(98, Kind.RECOVERED),
    ]
    message = render("abc", notices, LINKS)
    assert message.title == "🔴 21 alerts at once: 20 opened, 1 recovered"
    lines = message.text.splitlines()
    assert "table_99" in lines[1]
    assert "and 6 more: retail-lakehouse alerts list" in lines
    for part in (
        "Begin with retail/table_99:ingest_lag:",
        "First: retail-lakehouse status",
        "Page: http://127.0.0.1:3000/assets/retail/table_99?view=checks&checkDetail=ingest_lag",
        "Runbook: https://docs.example/runbooks/ingest-lag.md",
    ):
        assert part in lines
    shown = json.dumps(message.blocks, ensure_ascii=False)
    assert "Begin with retail/table_99:ingest_lag:" in shown
    assert "|Runbook>" in shown
    alerts = message.body["alerts"]
    assert isinstance(alerts, list)
    assert len(alerts) == 21


def test_a_digest_of_what_has_recovered_leaves_nothing_to_do() -> None:
    message = render("abc", [notice(n, Kind.RECOVERED) for n in range(3)], LINKS)
    assert "First:" not in message.text
    assert "Begin with" not in message.text


def test_a_gap_in_a_quarantine_is_not_said_to_hold_views() -> None:
    for name, held in (("inventory_events", True), ("inventory_events_quarantine", False)):
        told = notice(check="offsets_contiguous", asset=f"retail_iceberg/retail_db/{name}")
        message = render("abc", [told], LINKS)
        assert ("Views over this table are held" in message.text) is held
        assert ("are held" in json.dumps(message.body)) is held


def test_a_figure_that_is_none_keeps_no_message_from_being_json() -> None:
    figures: dict[str, Figure] = {"a": float("nan"), "b": float("inf"), "c": 1.5, "d": 7, "e": "x"}
    message = render("abc", [replace(notice(), figures=figures)], LINKS)
    (alert,) = json.loads(json.dumps(message.body, allow_nan=False))["alerts"]
    assert alert["figures"] == {"a": "nan", "b": "inf", "c": 1.5, "d": 7, "e": "x"}


def test_a_rehearsal_says_that_nothing_is_wrong() -> None:
    message = render("abc", [rehearsal(NOW)], LINKS)
    assert "nothing is wrong" in message.title
    assert "Runbook" not in message.text


def test_without_an_address_of_runbooks_their_path_is_named() -> None:
    message = render("abc", [notice()], Links("http://127.0.0.1:3000"))
    assert "Runbook: docs/runbooks/ingest-lag.md" in message.text
    assert "|Runbook>" not in json.dumps(message.blocks)


def test_a_digest_tells_what_is_open_before_what_has_recovered_however_bad_that_was() -> None:
    over, mild = notice(2, Kind.RECOVERED, told=1), notice(1, severity=Severity.WARNING)
    message = render("abc", [over, mild], LINKS)
    assert message.title.startswith("\u26a0")
    lines = message.text.splitlines()
    assert "table_1" in lines[1]
    assert "Begin with retail/table_1:ingest_lag:" in lines


@pytest.mark.parametrize("kind", [Kind.OPENED, Kind.RECOVERED])
def test_what_nobody_could_look_at_is_not_told_as_what_the_check_tells(kind: Kind) -> None:
    told = replace(notice(check="unique_by_key", kind=kind), figures=NOT_JUDGED)
    message = render("abc", [told], LINKS)
    assert message.title.endswith(": Not known whether events have landed twice (table_0)")
    (body,) = json.loads(json.dumps(message.body))["alerts"]
    assert body["title"] == "Not known whether events have landed twice"
    meaning = "Nobody can see whether it is so. If it is: Views over this table are held"
    assert body["meaning"].startswith(meaning)
    assert (meaning in message.text) is (kind is Kind.OPENED)
