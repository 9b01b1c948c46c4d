"""The message: what broke, since when, what it means for the planners, what to do.

Here: one message as plain text, as Slack's blocks and as JSON. Not here: what is told when
(`incidents.py`), sending. Whatever others wrote is on one line, cut, without secrets, and in Slack
without markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from retail_lakehouse.alerts.incidents import Figure, Kind, Notice, is_judged
from retail_lakehouse.alerts.redact import one_line, without_secrets
from retail_lakehouse.contracts.alerting import alert_for
from retail_lakehouse.contracts.service_levels import CONTROL_PLANE, Severity, runbook_of

SENTENCE_MOST = 600
DIGEST_MOST = 15
"""Incidents that a digest names; the others are counted."""

_TITLE_MOST = 140
_NAME_MOST = 120
_MARKS = {Severity.INFO: "ℹ️", Severity.WARNING: "⚠️", Severity.CRITICAL: "🔴"}
_RECOVERED_MARK = "✅"


@dataclass(frozen=True, slots=True)
class Links:
    """Where the addresses in a message lead: Dagster's pages, and the runbooks if on the web."""

    dagster_url: str
    runbooks_url: str = ""

    def asset(self, notice: Notice) -> str:
        """The check on the asset's page."""
        if notice.asset.partition("/")[0] == CONTROL_PLANE:
            return f"{self.dagster_url}/automation"
        path = "/".join(quote(part, safe="") for part in notice.asset.split("/"))
        check = quote(notice.check, safe="")
        return f"{self.dagster_url}/assets/{path}?view=checks&checkDetail={check}"

    def runbook(self, notice: Notice) -> str:
        """An address, or the path in the repository."""
        path = runbook_of(notice.check)
        if not self.runbooks_url:
            return path
        return f"{self.runbooks_url.rstrip('/')}/{path.rpartition('/')[2]}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message in its three forms; `id` is what receivers may deduplicate by."""

    id: str
    title: str
    text: str
    blocks: tuple[dict[str, object], ...]
    body: dict[str, object]
    dropped: int = 0
    """How many messages it says were dropped."""


def render(
    message_id: str, notices: Sequence[Notice], links: Links, dropped: int = 0, now_ms: int = 0
) -> Rendered:
    """The message of one notice, or the digest of several.

    `dropped`: messages that went for want of room since the last delivery, which this one says.
    `now_ms`: when it is sent; said where that is much later than what it tells.
    """
    notes = [f"alert {message_id}"]
    if dropped:
        notes.append(f"{dropped} older messages were dropped: the outbox was full")
    told_ms = max(notice.at_ms for notice in notices)
    if now_ms - told_ms >= 60_000:
        notes.append(f"told {_duration(now_ms - told_ms)} late: it could not be delivered before")
    if len(notices) == 1:
        title, lines, blocks = _single(notices[0], links)
    else:
        title, lines, blocks = _digest(notices, links)
    blocks.append({"type": "context", "elements": [_markdown(slack_escaped(", ".join(notes)))]})
    return Rendered(
        id=message_id,
        title=title,
        text="\n".join([title, *lines, f"({', '.join(notes)})"]),
        blocks=({"type": "header", "text": {"type": "plain_text", "text": title}}, *blocks),
        body={
            "id": message_id,
            "title": title,
            "dropped": dropped,
            "alerts": [_body(notice, links) for notice in notices],
        },
        dropped=dropped,
    )


def slack_escaped(text: str) -> str:
    """The text as Slack shows it and does not read it: no mention, no link, no formatting.

    Slack's own three escapes keep `<!channel>` and links out; a zero-width space after a mark
    of formatting keeps it from being one.
    """
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"{c}\u200b" if c in "*~`" else c for c in escaped)


def suggested_command(notice: Notice) -> str:
    """What to run first."""
    name = notice.asset.rpartition("/")[2]
    return alert_for(notice.check).command.format(name=name)


def moment(ms: int) -> str:
    """As a person reads it, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _single(notice: Notice, links: Links) -> tuple[str, list[str], list[dict[str, object]]]:
    what = f"{_title(notice)} ({notice.asset.rpartition('/')[2]})"
    if notice.kind is Kind.TEST:
        what = "nothing is wrong"
    title = one_line(f"{_mark(notice)} {_words(notice)}: {what}", _TITLE_MOST)
    sentence, asset = _sentence(notice), one_line(notice.asset, _NAME_MOST)
    since = f"{moment(notice.since_ms)}, for {_duration(notice.at_ms - notice.since_ms)}"
    facts = [
        ("Asset", asset),
        ("Was open" if notice.kind is Kind.RECOVERED else "Since", since),
        ("Severity", notice.severity.value),
        ("Owner", one_line(notice.owner, _NAME_MOST)),
    ]
    if notice.snapshot:
        facts.append(("Last snapshot", one_line(notice.snapshot, _NAME_MOST)))
    fields = [_markdown(f"*{name}*\n{slack_escaped(value)}") for name, value in facts]
    blocks: list[dict[str, object]] = [
        {"type": "section", "text": _markdown(slack_escaped(sentence))},
        {"type": "section", "fields": fields},
    ]
    lines = [sentence, *(f"{name}: {value}" for name, value in facts)]
    if notice.kind is not Kind.TEST:
        more_lines, more_blocks = _what_to_do(notice, links)
        lines += more_lines
        blocks += more_blocks
    return title, lines, blocks


def _what_to_do(notice: Notice, links: Links) -> tuple[list[str], list[dict[str, object]]]:
    """What it means and what to do first, where it is open; where to look."""
    lines: list[str] = []
    blocks: list[dict[str, object]] = []
    if notice.kind in (Kind.OPENED, Kind.STILL_OPEN):
        meaning = _meaning(notice)
        command = suggested_command(notice)
        told = f"*For the planners*: {meaning}\n*First*: `{slack_escaped(command)}`"
        blocks.append({"type": "section", "text": _markdown(told)})
        lines += [f"For the planners: {meaning}", f"First: {command}"]
    page, runbook = links.asset(notice), links.runbook(notice)
    blocks.append({"type": "section", "text": _markdown(_slack_links(page, runbook))})
    lines += [f"Page: {page}", f"Runbook: {runbook}"]
    return lines, blocks


def _digest(
    notices: Sequence[Notice], links: Links
) -> tuple[str, list[str], list[dict[str, object]]]:
    counts = {kind: sum(notice.kind is kind for notice in notices) for kind in Kind}
    told = ", ".join(f"{count} {kind.value}" for kind, count in counts.items() if count)
    worst = max(notices, key=lambda each: (each.kind is not Kind.RECOVERED, each.severity.rank))
    title = one_line(f"{_mark(worst)} {len(notices)} alerts at once: {told}", _TITLE_MOST)
    # A cause far up fails many checks: what is worst stands first.
    ordered = sorted(
        notices, key=lambda n: (n.kind is Kind.RECOVERED, -n.severity.rank, n.since_ms)
    )
    lines, slack_lines = [], []
    for notice in ordered[:DIGEST_MOST]:
        name, sentence = one_line(notice.name, _NAME_MOST), one_line(_sentence(notice), 200)
        words = f"{_mark(notice)} {_words(notice)} since {moment(notice.since_ms)}"
        lines.append(f"{words}: {name}. {sentence}")
        page = _slack_link(links.asset(notice), name)
        slack_lines.append(f"{words}: {page}. {slack_escaped(one_line(sentence, 120))}")
    if len(ordered) > DIGEST_MOST:
        more = f"and {len(ordered) - DIGEST_MOST} more: retail-lakehouse alerts list"
        lines.append(more)
        slack_lines.append(more)
    blocks: list[dict[str, object]] = [
        {"type": "section", "text": _markdown(line)} for line in slack_lines
    ]
    if ordered[0].kind is not Kind.RECOVERED:
        begin = f"Begin with {one_line(ordered[0].name, _NAME_MOST)}:"
        more_lines, more_blocks = _what_to_do(ordered[0], links)
        lines += [begin, *more_lines]
        blocks += [{"type": "section", "text": _markdown(slack_escaped(begin))}, *more_blocks]
    return title, lines, blocks


def _body(notice: Notice, links: Links) -> dict[str, object]:
    return {
        "id": notice.id,
        "kind": notice.kind.value,
        "asset": one_line(notice.asset, _NAME_MOST),
        "check": one_line(notice.check, _NAME_MOST),
        "severity": notice.severity.value,
        "owner": one_line(notice.owner, _NAME_MOST),
        "title": _title(notice),
        "sentence": _sentence(notice),
        "meaning": _meaning(notice),
        "command": suggested_command(notice),
        "since_ms": notice.since_ms,
        "at_ms": notice.at_ms,
        "told_before": notice.told,
        "figures": {name: _figure(value) for name, value in notice.figures.items()},
        "snapshot": one_line(notice.snapshot, _NAME_MOST),
        "page": links.asset(notice),
        "runbook": links.runbook(notice),
    }


def _title(notice: Notice) -> str:
    contract = alert_for(notice.check)
    return contract.title if is_judged(notice.figures) else contract.title_unknown


def _meaning(notice: Notice) -> str:
    meaning = alert_for(notice.check).meaning_for(notice.asset)
    return (
        meaning
        if is_judged(notice.figures)
        else f"Nobody can see whether it is so. If it is: {meaning}"
    )


def _figure(value: Figure) -> Figure:
    if isinstance(value, str):
        return one_line(without_secrets(value), _NAME_MOST)
    # NaN and infinity are no JSON: a receiver would refuse the whole message for them.
    is_number = not isinstance(value, float) or math.isfinite(value)
    return value if is_number else str(value)


def _sentence(notice: Notice) -> str:
    return one_line(without_secrets(notice.sentence), SENTENCE_MOST) or "No reason was given."


def _words(notice: Notice) -> str:
    if notice.kind is Kind.STILL_OPEN:
        return f"Still open ({notice.told + 1}. time told)"
    return notice.kind.value.capitalize()


def _mark(notice: Notice) -> str:
    return _RECOVERED_MARK if notice.kind is Kind.RECOVERED else _MARKS[notice.severity]


def _slack_links(page: str, runbook: str) -> str:
    told = _slack_link(page, "Dagster's page")
    if runbook.startswith(("https://", "http://")):
        return f"{told}  ·  {_slack_link(runbook, 'Runbook')}"
    return f"{told}  ·  Runbook: {slack_escaped(runbook)}"


def _slack_link(address: str, words: str) -> str:
    # Within a link only Slack's own escapes count: a zero-width space would change the address.
    escaped = address.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E")
    return f"<{escaped.replace('|', '%7C')}|{slack_escaped(words)}>"


def _markdown(text: str) -> dict[str, object]:
    return {"type": "mrkdwn", "text": text}


def _duration(ms: int) -> str:
    minutes = max(0, ms) // 60_000
    if minutes < 1:
        return f"{max(0, ms) // 1000} s"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
