import itertools
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from retail_lakehouse.alerts import delivery
from retail_lakehouse.alerts.delivery import Delivered, backoff_seconds, deliver, next_entry
from retail_lakehouse.alerts.incidents import Kind
from retail_lakehouse.alerts.message import Links, Rendered
from retail_lakehouse.alerts.notifiers import DELIVERED, Notifier, Outcome, notifier_for
from retail_lakehouse.alerts.outbox import open_outbox
from retail_lakehouse.alerts.routes import LOG_ROUTE, Route, RouteKind
from retail_lakehouse.contracts.service_levels import Severity
from retail_lakehouse_tests.alerts.build import NOW, notice, receiver, until

LINKS = Links("http://127.0.0.1:3000")


class Clock:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


def webhook(url: str, name: str = "hook") -> Route:
    return Route(name, RouteKind.WEBHOOK, url=url)


def post(folder: Path, *numbers: int) -> None:
    with open_outbox(folder) as outbox:
        outbox.post([(notice(number),) for number in numbers], "m", NOW)


def assets(bodies: list[dict[str, object]]) -> list[str]:
    told = []
    for body in bodies:
        alerts = body["alerts"]
        assert isinstance(alerts, list)
        told += [alert["asset"].rpartition("_")[2] for alert in alerts]
    return told


def refusal() -> tuple[int, dict[str, str], str]:
    return 422, {}, ""


def quick(route: Route) -> Notifier:
    return notifier_for(route, 0.3)


def test_a_notifier_that_is_down_then_up_gets_everything_in_order(tmp_path: Path) -> None:
    clock = Clock()
    with receiver() as end:
        route = webhook(end.url)
        end.answers = [
            (500, {}, ""),
            (429, {"Retry-After": "120"}, ""),
            (503, {}, ""),
            (200, {}, ""),
        ]
        for number in range(12):
            post(tmp_path, number)
            deliver(tmp_path, [route], LINKS, clock=clock)
            clock.ms += 15_000
        waited = [clock.ms]
        while deliver(tmp_path, [route], LINKS, clock=clock).waiting:
            clock.ms += 15_000
            waited.append(clock.ms)
            assert len(waited) < 100
        assert assets([each.body for each in end.taken]) == [str(number) for number in range(12)]
        keys = [each.headers["Idempotency-Key"] for each in end.attempts]
        assert len(set(keys)) == 12
        # The one at the head is tried again under the same key, and nobody overtakes it.
        assert keys[:4] == [keys[0]] * 4
    with open_outbox(tmp_path) as outbox:
        assert outbox.entries == {}
        assert outbox.routes["hook"].delivered == 12


def test_nothing_is_sent_before_what_retry_after_asks_for(tmp_path: Path) -> None:
    clock = Clock()
    with receiver() as end:
        end.answers = [(429, {"Retry-After": "300"}, ""), (200, {}, "")]
        post(tmp_path, 1)
        for _ in range(25):
            deliver(tmp_path, [webhook(end.url)], LINKS, clock=clock)
            clock.ms += 10_000
        assert len(end.attempts) == 1
        clock.ms = NOW + 300_000
        assert deliver(tmp_path, [webhook(end.url)], LINKS, clock=clock) == Delivered(1, 0, {})


def test_a_clock_that_is_set_back_makes_no_route_rest_for_longer(tmp_path: Path) -> None:
    clock = Clock()
    post(tmp_path, 1)
    with open_outbox(tmp_path) as outbox:
        outbox.record_failure("hook", "The webhook answered 500.", NOW + 300_000)
    with receiver() as end:
        assert deliver(tmp_path, [webhook(end.url)], LINKS, clock=clock).waiting == 1
        clock.ms = NOW - 24 * 3_600_000
        assert deliver(tmp_path, [webhook(end.url)], LINKS, clock=clock) == Delivered(1, 0, {})


def test_backoff_doubles_up_to_a_bound_and_retry_after_is_the_least() -> None:
    assert [backoff_seconds(n, None) for n in range(8)] == [5, 10, 20, 40, 60, 60, 60, 60]
    assert backoff_seconds(10_000, None) == 60
    assert backoff_seconds(0, 60.0) == 60
    assert backoff_seconds(7, 30.0) == 60
    assert backoff_seconds(7, 300.0) == 300


def test_a_route_that_is_closed_keeps_no_other_from_its_messages(tmp_path: Path) -> None:
    with receiver() as good, receiver() as bad:
        bad.answers = [(500, {}, "")]
        post(tmp_path, 1, 2)
        routes = [webhook(bad.url, "bad"), webhook(good.url, "good")]
        done = deliver(tmp_path, routes, LINKS)
        assert assets([each.body for each in good.taken]) == ["1", "2"]
        assert (done.sent, done.waiting) == (2, 2)
        assert done.errors == {"bad": "The webhook answered 500."}


def test_a_notifier_that_raises_rests_as_one_that_fails_and_the_tick_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising:
        def send(self, message: Rendered) -> Outcome:
            raise LookupError("https://hooks.example/hunter2")

    post(tmp_path, 1)
    for _ in range(2):
        done = deliver(tmp_path, [LOG_ROUTE], LINKS, make=lambda route: Raising())
        assert done == Delivered(0, 1, {"log": "The notifier failed: LookupError."})
    with open_outbox(tmp_path) as outbox:
        assert outbox.routes["log"].failures == 1
    assert "hunter2" not in caplog.text


def test_a_pass_ends_in_time_beside_an_end_that_hangs(tmp_path: Path) -> None:
    with receiver() as slow, receiver() as good:
        slow.hang = 2.0
        post(tmp_path, 1)
        routes = [webhook(slow.url, "slow"), webhook(good.url, "good")]
        began = time.monotonic()
        deliver(tmp_path, routes, LINKS, pass_seconds=0.5)
        deliver(tmp_path, routes, LINKS, pass_seconds=0.5)
        assert time.monotonic() - began < 1.5
        assert len(good.taken) == 1
        # The attempt goes on, alone, and counts when it is done.
        assert len(slow.attempts) == 1
        until(lambda: not delivery._attempts[tmp_path, "slow"].thread.is_alive())
        assert deliver(tmp_path, routes, LINKS, pass_seconds=0.5).waiting == 0
        assert len(slow.attempts) == 1


def test_an_attempt_that_never_ends_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "ABANDONED_AFTER_SECONDS", 0.3)
    ended, calls = threading.Event(), []

    class Stuck:
        def send(self, message: Rendered) -> Outcome:
            calls.append(message.id)
            if len(calls) == 1:
                ended.wait(20)
            return DELIVERED

    post(tmp_path, 1)
    for _ in range(4):
        deliver(tmp_path, [LOG_ROUTE], LINKS, make=lambda route: Stuck(), pass_seconds=0.15)
        time.sleep(0.15)
    ended.set()
    assert len(calls) == 2
    with open_outbox(tmp_path) as outbox:
        assert outbox.entries == {}


def test_a_message_that_a_route_refuses_thrice_lets_the_next_pass(tmp_path: Path) -> None:
    clock = Clock()
    with receiver() as end:
        end.answers = [*(refusal() for _ in range(3)), (200, {}, "")]
        post(tmp_path, 1, 2)
        for _ in range(6):
            deliver(tmp_path, [webhook(end.url)], LINKS, clock=clock)
            clock.ms += 60_000
        assert assets([each.body for each in end.taken]) == ["2"]
    with open_outbox(tmp_path) as outbox:
        assert outbox.entries == {}
        assert outbox.routes["hook"].refused == 1


def test_owner_and_severity_route_and_a_digest_is_cut_for_each(tmp_path: Path) -> None:
    with receiver() as loud, receiver() as every:
        routes = [
            Route("loud", RouteKind.WEBHOOK, url=loud.url, least_severity=Severity.CRITICAL),
            webhook(every.url, "every"),
        ]
        mild = notice(2, severity=Severity.WARNING)
        with open_outbox(tmp_path) as outbox:
            outbox.post([(notice(1), mild), (notice(3, severity=Severity.INFO),)], "m", NOW)
        assert deliver(tmp_path, routes, LINKS).waiting == 0
        assert assets([each.body for each in loud.taken]) == ["1"]
        assert assets([each.body for each in every.taken]) == ["1", "2", "3"]


def test_a_route_that_was_taken_away_keeps_nothing_waiting(tmp_path: Path) -> None:
    with receiver() as bad, receiver() as good:
        bad.answers = [(500, {}, "")]
        post(tmp_path, 1)
        deliver(tmp_path, [webhook(bad.url, "bad")], LINKS)
        assert deliver(tmp_path, [webhook(good.url, "good")], LINKS).waiting == 0
        assert len(good.taken) == 1


def test_what_was_dropped_is_said_once_with_the_next_delivery(tmp_path: Path) -> None:
    clock = Clock()
    with receiver() as end:
        end.answers = [(500, {}, "")]
        post(tmp_path, 0)
        deliver(tmp_path, [webhook(end.url)], LINKS, clock=clock)
        with open_outbox(tmp_path) as outbox:
            for number in range(60):
                digest = tuple(
                    notice(100 * number + each, Kind.STILL_OPEN, told=1, sentence="x" * 600)
                    for each in range(1, 21)
                )
                outbox.post([digest], "m", NOW + number)
            dropped = outbox.routes["hook"].dropped
        assert dropped > 0
        end.answers = [(200, {}, "")]
        clock.ms += 60_000
        while deliver(tmp_path, [webhook(end.url)], LINKS, clock=clock).waiting:
            pass
        counts = [each.body["dropped"] for each in end.taken]
        assert counts[0] == dropped
        assert set(counts[1:]) == {0}
        assert assets([each.body for each in end.taken])[0] == "0"
        assert len(end.taken) + dropped == 61


def _deliver_for_ever(folder: Path, url: str) -> None:
    while True:
        deliver(folder, [webhook(url)], LINKS, make=quick, pass_seconds=2.0)


def test_a_sender_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    with receiver() as end:
        end.hang = 0.02
        post(tmp_path, *range(40))
        for attempt in range(4):
            sender = multiprocessing.get_context("spawn").Process(
                target=_deliver_for_ever, args=(tmp_path, end.url)
            )
            sender.start()
            wanted = len(end.attempts) + 4
            until(lambda wanted=wanted: len(end.attempts) >= wanted, 30)  # type: ignore[misc]
            time.sleep(0.003 * attempt)
            assert sender.pid is not None
            os.kill(sender.pid, signal.SIGKILL)
            sender.join()
        while deliver(tmp_path, [webhook(end.url)], LINKS).waiting:
            pass
        told = assets([each.body for each in end.taken])
        assert list(dict.fromkeys(told)) == [str(number) for number in range(40)]
        # What was sent twice has the same key both times: at most one for each kill.
        assert len(told) - 40 <= 4
        assert len({each.headers["Idempotency-Key"] for each in end.taken}) == 40


def test_a_clock_that_was_set_back_makes_no_route_rest_for_longer_than_it_may(
    tmp_path: Path,
) -> None:
    post(tmp_path, 1)
    with open_outbox(tmp_path) as outbox:
        outbox.record_failure("log", "Down.", NOW + 3_600_000)
        assert next_entry(outbox, LOG_ROUTE, [LOG_ROUTE], NOW) is None
        outbox.record_failure("log", "Down.", NOW + 86_400_000)
        assert next_entry(outbox, LOG_ROUTE, [LOG_ROUTE], NOW) is not None


def test_a_rest_of_an_hour_is_kept_although_time_goes_on_while_it_is_written_down(
    tmp_path: Path,
) -> None:
    asked: list[str] = []
    clock = itertools.count(NOW, 5)

    class Busy:
        def send(self, message: Rendered) -> Outcome:
            asked.append(message.id)
            return Outcome(False, "The webhook answered 429.", 3600.0)

    post(tmp_path, 1)
    for _ in range(2):
        deliver(
            tmp_path,
            [LOG_ROUTE],
            LINKS,
            make=lambda route: Busy(),
            clock=lambda: next(clock),
            pass_seconds=1.0,
        )
    assert len(asked) == 1
