"""Telling from memory alone: edges, retries, a receiver that is down, hangs or refuses."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from retail_lakehouse.alerts.incidents import Kind
from retail_lakehouse.alerts.message import Links, Rendered
from retail_lakehouse.alerts.notifiers import DELIVERED, Notifier, Outcome
from retail_lakehouse.alerts.routes import Route, RouteKind
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.watchdog.telling import WAITING_MOST, Teller
from retail_lakehouse.watchdog.verdicts import verdict
from retail_lakehouse_tests.alerts.build import MINUTE, NOW, receiver, until

LINKS = Links("http://127.0.0.1:3000")
KNOWN = {"control_plane:daemon_ticks", "control_plane:code_server_answers"}


class Clocked:
    """A teller with a clock of its own, and attempts that are waited for."""

    def __init__(self, url: str = "", notifier: Notifier | None = None) -> None:
        route = Route("hook", RouteKind.WEBHOOK, url=url)
        self.teller = (
            Teller(LINKS, lambda route: notifier) if notifier is not None else Teller(LINKS)
        )
        self.teller.take_routes([route])
        self.seconds = 0.0

    def see(self, passed: bool, measure: Measure = Measure.DAEMON_TICKS) -> list[Kind]:
        seen = verdict(measure, passed=passed, sentence="It hangs.", at_ms=NOW)
        return [n.kind for n in self.teller.tell([seen], KNOWN, self.now_ms)]

    @property
    def now_ms(self) -> int:
        return NOW + round(self.seconds * 1000)

    def deliver(self, seconds: float = 0.0) -> None:
        self.seconds += seconds
        self.teller.deliver(self.now_ms, self.seconds)

    def settle(self) -> None:
        """Lets every attempt that is under way end, and takes in what came of it."""
        while any(way.attempt for way in self.teller._ways.values()):
            for each in threading.enumerate():
                if each.name == "tell-hook":
                    each.join(10)
            self.deliver()


def test_an_incident_is_told_when_it_opens_at_growing_intervals_and_when_it_recovers() -> None:
    with receiver() as end:
        clocked = Clocked(end.url)
        told = []
        for minute in range(0, 330, 5):
            clocked.seconds = minute * 60.0
            told += [(minute, kind.value) for kind in clocked.see(passed=minute >= 325)]
            clocked.deliver()
            clocked.settle()
        assert told == [
            (0, "opened"),
            (15, "still open"),
            (75, "still open"),
            (315, "still open"),
            (325, "recovered"),
        ]
        assert [each.body["alerts"][0]["kind"] for each in end.taken] == [k for _, k in told]
        assert end.taken[0].body["alerts"][0]["runbook"] == "docs/runbooks/daemon-ticks.md"
        assert end.taken[0].body["alerts"][0]["page"] == "http://127.0.0.1:3000/automation"
        assert clocked.teller.waiting == 0


def test_a_receiver_that_is_down_gets_everything_in_order_when_it_is_back() -> None:
    with receiver() as end:
        end.answers = [(503, {}, "")]
        clocked = Clocked(end.url)
        clocked.see(passed=False)
        clocked.see(passed=False, measure=Measure.CODE_SERVER_ANSWERS)
        for _ in range(60):
            clocked.deliver(10)
            clocked.settle()
        clocked.see(passed=True)
        assert clocked.teller.waiting == 3
        assert 9 <= len(end.attempts) <= 16, "the waits grow, to a minute at the most"
        end.answers = [(200, {}, "")]
        for _ in range(8):
            clocked.deliver(300)
            clocked.settle()
        told = [(a["kind"], a["check"]) for each in end.taken for a in each.body["alerts"]]
        assert told == [
            ("opened", "daemon_ticks"),
            ("opened", "code_server_answers"),
            ("recovered", "daemon_ticks"),
        ]
        assert "late: it could not be delivered before" in end.taken[0].body["text"]


def test_a_receiver_that_hangs_holds_up_neither_a_look_nor_another_route() -> None:
    hanging, sent = threading.Event(), []

    class Hanging:
        def send(self, message: Rendered) -> Outcome:
            hanging.wait(20)
            return DELIVERED

    class Quick:
        def send(self, message: Rendered) -> Outcome:
            sent.append(message.id)
            return DELIVERED

    teller = Teller(LINKS, lambda route: Hanging() if route.name == "hangs" else Quick())
    routes = [Route(name, RouteKind.WEBHOOK, url="https://x.example/") for name in ("hangs", "ok")]
    teller.take_routes(routes)
    seen = verdict(Measure.DAEMON_TICKS, passed=False, sentence="It hangs.", at_ms=NOW)
    teller.tell([seen], KNOWN, NOW)
    teller.deliver(NOW, 0.0)
    until(lambda: bool(sent))
    teller.deliver(NOW, 1.0)
    assert teller.waiting == 1, "the other route has it"
    hanging.set()


def test_an_attempt_that_never_ends_is_given_up_and_another_is_made() -> None:
    begun: list[threading.Event] = []

    class Hanging:
        def send(self, message: Rendered) -> Outcome:
            begun.append(threading.Event())
            begun[-1].wait(20)
            return DELIVERED

    clocked = Clocked(notifier=Hanging())
    clocked.see(passed=False)
    clocked.deliver()
    until(lambda: len(begun) == 1)
    clocked.deliver(59)
    assert len(begun) == 1
    clocked.deliver(2)
    until(lambda: len(begun) == 2)
    for each in begun:
        each.set()
    clocked.settle()
    assert clocked.teller.waiting == 0


def test_a_notifier_that_raises_is_an_attempt_that_failed_and_its_words_are_not_passed_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raising:
        def send(self, message: Rendered) -> Outcome:
            raise RuntimeError("https://hooks.example/s3cr3t")

    clocked = Clocked(notifier=Raising())
    clocked.see(passed=False)
    clocked.deliver()
    clocked.settle()
    assert clocked.teller.waiting == 1
    assert "RuntimeError" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_a_message_that_a_route_refuses_three_times_lets_the_next_one_pass() -> None:
    sent = []

    class Refusing:
        def send(self, message: Rendered) -> Outcome:
            if "daemon_ticks" in str(message.body):
                return Outcome(False, "The webhook answered 422.", is_refused=True)
            sent.append(message.id)
            return DELIVERED

    clocked = Clocked(notifier=Refusing())
    clocked.see(passed=False)
    clocked.see(passed=False, measure=Measure.CODE_SERVER_ANSWERS)
    for _ in range(8):
        clocked.deliver(300)
        clocked.settle()
    assert len(sent) == 1
    assert clocked.teller.waiting == 0


def test_what_waits_is_bounded_reminders_go_first_and_the_next_message_says_how_many() -> None:
    class Down:
        def send(self, message: Rendered) -> Outcome:
            return Outcome(False, "Down.")

    clocked = Clocked(notifier=Down())
    kinds: list[Kind] = []
    clocked.see(passed=False)
    while len(kinds) < WAITING_MOST + 20:
        clocked.seconds += 4 * 3600
        kinds += clocked.see(passed=False)
    clocked.see(passed=True)
    assert clocked.teller.waiting == WAITING_MOST
    (way,) = clocked.teller._ways.values()
    assert way.dropped == len(kinds) + 2 - WAITING_MOST
    kept = [entry.kind for entry in way.waiting]
    assert kept[0] is Kind.OPENED
    assert kept[-1] is Kind.RECOVERED


def test_what_went_while_a_message_was_on_its_way_is_the_next_ones_to_say() -> None:
    told: list[int] = []
    up = threading.Event()

    class Slow:
        def send(self, message: Rendered) -> Outcome:
            up.wait(20)
            told.append(message.dropped)
            return DELIVERED

    clocked = Clocked(notifier=Slow())
    clocked.see(passed=False)
    clocked.deliver()
    for _ in range(WAITING_MOST + 3):
        clocked.seconds += 4 * 3600
        clocked.see(passed=False)
    (way,) = clocked.teller._ways.values()
    dropped = way.dropped
    assert dropped > 0
    up.set()
    clocked.settle()
    assert sum(told[1:]) == dropped
    assert way.dropped == 0


def test_a_route_that_got_another_name_loses_nothing_that_waits() -> None:
    sent: list[tuple[str, str]] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def send(self, message: Rendered) -> Outcome:
            if self.name == "old":
                return Outcome(False, "Down.")
            sent.append((self.name, message.id))
            return DELIVERED

    def named(*names: str) -> list[Route]:
        return [Route(name, RouteKind.WEBHOOK, url="https://x.example/") for name in names]

    teller = Teller(LINKS, lambda route: Noting(route.name))
    teller.take_routes(named("old", "other"))
    seen = verdict(Measure.DAEMON_TICKS, passed=False, sentence="It hangs.", at_ms=NOW)
    (notice,) = teller.tell([seen], KNOWN, NOW)
    teller.deliver(NOW, 0.0)
    until(lambda: len(sent) == 1)
    teller.take_routes(named("new", "other"))
    teller.deliver(NOW, 1.0)
    until(lambda: len(sent) == 2)

    def all_is_sent() -> bool:
        teller.deliver(NOW, 2.0)
        return teller.waiting == 0

    until(all_is_sent)
    assert sent == [("other", notice.id), ("new", notice.id)]


def test_a_storm_is_one_digest() -> None:
    with receiver() as end:
        clocked = Clocked(end.url)
        seen = [
            verdict(
                Measure.SENSOR_TICKS, passed=False, sentence="No.", at_ms=NOW, part=f"sensor_{n}"
            )
            for n in range(8)
        ]
        clocked.teller.tell(seen, {each.name for each in seen}, NOW)
        clocked.deliver()
        clocked.settle()
        (digest,) = end.taken
        assert len(digest.body["alerts"]) == 8


def test_what_is_silenced_is_told_when_the_silence_ends() -> None:
    clocked = Clocked(notifier=LogOnly())
    seen = verdict(Measure.DAEMON_TICKS, passed=False, sentence="It hangs.", at_ms=NOW)
    assert clocked.teller.tell([seen], KNOWN, NOW, lambda name: True) == []
    (notice,) = clocked.teller.tell([seen], KNOWN, NOW + 10 * MINUTE)
    assert notice.kind is Kind.OPENED


class LogOnly:
    def send(self, message: Rendered) -> Outcome:
        return DELIVERED


def test_a_watchdog_that_starts_anew_tells_the_same_incident_under_the_same_id() -> None:
    ids = []
    for _ in range(2):
        clocked = Clocked(notifier=LogOnly())
        seen = verdict(Measure.DAEMON_TICKS, passed=False, sentence="It hangs.", at_ms=NOW - 5)
        ids += [notice.id for notice in clocked.teller.tell([seen], KNOWN, NOW)]
    assert ids[0] == ids[1]


def test_telling_imports_nothing_that_writes_or_is_heavy(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, retail_lakehouse.local.watchdog.__main__; "
        "print([n for n in ('dagster', 'sqlalchemy', 'pyarrow', 'pandas', 'boto3', 'slack_sdk') "
        "if n in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
