"""Whether each sensor and schedule ticks, and ticks well.

Here: pure functions over what the code declares and what Dagster remembers. Not here: the daemon
and the code server, without which none ticks (`judge.py`).

A sensor is judged by its last ticks, and by how long none has ended well, which also finds one that
hangs. A schedule ticks when its time has come: judged are its last tick, and that the scheduler
notes now and then that it looked. One that was switched off, or is not in the code any more, is not
judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from retail_lakehouse.alerts.incidents import Seen, incident_name
from retail_lakehouse.contracts.service_levels import CONTROL_PLANE, Measure
from retail_lakehouse.watchdog.looks import (
    Declared,
    Limits,
    Memory,
    State,
    Tick,
    TickEnd,
    TickerKind,
)
from retail_lakehouse.watchdog.memory import (
    BREAK_SECONDS,
    only,
    resumed,
    silent_seconds,
    with_signs,
)
from retail_lakehouse.watchdog.verdicts import clock, span, verdict

_WORDS = {TickerKind.SENSOR: "sensor", TickerKind.SCHEDULE: "schedule"}


def ticker_names(
    declared: Iterable[Declared], kinds: Collection[TickerKind] = frozenset(TickerKind)
) -> list[str]:
    """The names under which they are remembered."""
    return [_key(each.kind, each.name) for each in declared if each.kind in kinds]


def look_at_tickers(
    memory: Memory,
    declared: tuple[Declared, ...],
    states: Sequence[State],
    at_seconds: float,
    at_ms: int,
    limits: Limits,
    break_seconds: float = BREAK_SECONDS,
) -> tuple[Memory, list[Seen]]:
    """A whole look from inside Dagster, where daemon and code server live: else nobody looks."""
    memory = replace(resumed(memory, at_seconds, break_seconds), declared=declared)
    memory = with_signs(memory, ticker_tokens(declared, states, at_ms), at_seconds)
    memory = only(memory, frozenset(ticker_names(declared)))
    return memory, judge_tickers(memory, states, at_ms, limits, ())[0]


def ticker_tokens(
    declared: Sequence[Declared], states: Sequence[State] | None, at_ms: int
) -> dict[str, object]:
    """What changes with each sign of life; of one that is off, every look; None without any."""
    if states is None:
        return {}
    by_key = _by_key(states)
    tokens: dict[str, object] = {}
    for each in declared:
        key = _key(each.kind, each.name)
        state = by_key.get(key)
        if not _is_on(each, state):
            tokens[key] = ("off", at_ms)
        elif state is None:
            tokens[key] = None
        elif each.kind is TickerKind.SENSOR:
            tokens[key] = next((t.id for t in state.ticks if t.end is TickEnd.WELL), None)
        elif state.ticks or state.noted_ms is not None:
            tokens[key] = (state.noted_ms, state.ticks[0].id if state.ticks else None)
        else:
            tokens[key] = None
    return tokens


def judge_tickers(
    memory: Memory,
    states: Sequence[State] | None,
    at_ms: int,
    limits: Limits,
    hidden: Collection[TickerKind],
) -> tuple[list[Seen], frozenset[str]]:
    """A verdict on each that can be judged, and the names of all incidents there may be.

    `hidden`: kinds that cannot tick for another's fault; they are not judged.
    """
    declared = memory.declared
    if declared is None:
        # Nobody knows yet which there are: what is open stays open.
        return [], frozenset(n for n in memory.failing if n.endswith(f":{Measure.SENSOR_TICKS}"))
    known = frozenset(
        incident_name(f"{CONTROL_PLANE}/{each.name}", Measure.SENSOR_TICKS) for each in declared
    )
    if states is None:
        return [], known
    by_key = _by_key(states)
    return [
        _judge(memory, each, by_key.get(_key(each.kind, each.name)), at_ms, limits)
        for each in declared
        if each.kind not in hidden
    ], known


def _judge(memory: Memory, told: Declared, state: State | None, at_ms: int, limits: Limits) -> Seen:
    what = f"The {_WORDS[told.kind]} {told.name}"
    if not _is_on(told, state):
        return _passed(told, f"{what} is switched off.", at_ms)
    ticks = state.ticks if state else ()
    silent = silent_seconds(memory, _key(told.kind, told.name))
    failed = _failed_in_a_row(ticks)
    is_sensor = told.kind is TickerKind.SENSOR
    if len(failed) >= (limits.sensor_failed_ticks if is_sensor else 1):
        first = failed[-1]
        times = f"its last {len(failed)} ticks" if is_sensor else "its last tick"
        sentence = f"{what} failed in {times}, since {clock(first.at_ms)}: {failed[0].error}"
        return _failed(told, sentence, first.at_ms, {"failed_ticks": len(failed)})
    limit = _silence_limit(told, limits)
    if silent <= limit:
        return _passed(told, f"{what} ticks.", at_ms)
    since_ms = at_ms - round(silent * 1000)
    figures = {"silent_seconds": round(silent)}
    last = ticks[0] if ticks else None
    if last is None:
        return _failed(told, f"{what} has not ticked for {span(silent)}.", since_ms, figures)
    if not is_sensor:
        sentence = f"{what} has not been looked at by the scheduler for {span(silent)}."
    elif last.end is TickEnd.OPEN:
        sentence = (
            f"{what} hangs: the tick that began at {clock(last.at_ms)} does not end, and none has "
            f"ended well for {span(silent)}."
        )
    elif last.end is TickEnd.WELL:
        sentence = f"{what} has not ticked since {clock(last.at_ms)}, for {span(silent)}."
    else:
        sentence = f"{what} has had no tick that ended well for {span(silent)}: {last.error}"
    return _failed(told, sentence, since_ms, figures)


def _failed_in_a_row(ticks: Sequence[Tick]) -> list[Tick]:
    """The latest failed ones, the newest first. One that could not reach the code says nothing."""
    failed = []
    for tick in ticks:
        if tick.end is TickEnd.WELL:
            break
        if tick.end is TickEnd.FAILED:
            failed.append(tick)
    return failed


def _silence_limit(told: Declared, limits: Limits) -> float:
    if told.kind is TickerKind.SCHEDULE:
        return limits.schedule_silent_seconds
    intervals = limits.sensor_silent_intervals * told.interval_seconds
    return max(limits.sensor_silent_seconds, intervals)


def _is_on(told: Declared, state: State | None) -> bool:
    return told.is_on if state is None or state.is_on is None else state.is_on


def _key(kind: TickerKind, name: str) -> str:
    return f"{kind.value} {name}"


def _by_key(states: Iterable[State]) -> dict[str, State]:
    return {_key(state.kind, state.name): state for state in states}


def _passed(told: Declared, sentence: str, at_ms: int) -> Seen:
    return verdict(
        Measure.SENSOR_TICKS, passed=True, sentence=sentence, at_ms=at_ms, part=told.name
    )


def _failed(told: Declared, sentence: str, since_ms: int, figures: dict[str, int]) -> Seen:
    return verdict(
        Measure.SENSOR_TICKS,
        passed=False,
        sentence=sentence,
        at_ms=since_ms,
        part=told.name,
        figures=dict(figures),
    )
