"""Whether Dagster's daemon and code server live, and all verdicts of one look together.

Here: pure functions over a look and the memory. Not here: sensors and schedules (`tickers.py`),
the disk (`disk.py`), looking.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from retail_lakehouse.alerts.incidents import Seen, incident_name
from retail_lakehouse.contracts.service_levels import CONTROL_PLANE, SERVICE_LEVELS, Measure
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.disk import judge_disk
from retail_lakehouse.watchdog.looks import Beat, Kept, Limits, Look, Memory, TickerKind
from retail_lakehouse.watchdog.memory import excused, only, resumed, silent_seconds, with_signs
from retail_lakehouse.watchdog.tickers import judge_tickers, ticker_names, ticker_tokens
from retail_lakehouse.watchdog.verdicts import ALWAYS_KNOWN, clock, span, verdict

DAEMON = "daemon"
CODE_SERVER = "code server"
_ANSWERED = "code server answered"
"""Unlike the code server's own name never excused: when it last answered."""
_THREADS = {TickerKind.SENSOR: "SENSOR", TickerKind.SCHEDULE: "SCHEDULER"}


@dataclass(frozen=True, slots=True)
class Judged:
    """What a look comes to. `known`: the names of all incidents there may be now."""

    memory: Memory
    seen: tuple[Seen, ...]
    known: frozenset[str]


def limits_of(settings: Settings) -> Limits:
    """The service levels; of the disk, the settings'."""
    levels = SERVICE_LEVELS
    return Limits(
        daemon_silent_seconds=levels.daemon_silent_seconds,
        daemon_thread_silent_seconds=levels.daemon_thread_silent_seconds,
        code_server_silent_seconds=levels.code_server_silent_seconds,
        code_server_loading_seconds=levels.code_server_loading_seconds,
        sensor_silent_seconds=levels.sensor_silent_seconds,
        sensor_silent_intervals=levels.sensor_silent_intervals,
        sensor_failed_ticks=levels.sensor_failed_ticks,
        schedule_silent_seconds=levels.schedule_silent_seconds,
        disk_warning_free_mb=settings.disk_warning_free_mb,
        disk_critical_free_mb=settings.disk_critical_free_mb,
    )


def judge(memory: Memory, look: Look, limits: Limits) -> Judged:
    """Every verdict of the look. What cannot be told apart from another's fault is left out."""
    memory = resumed(memory, look.at_seconds)
    beats = _current(look.history.beats) if look.history else ()
    memory = with_signs(memory, _beat_tokens(beats), look.at_seconds)
    if look.code.answers:
        memory = excused(memory, _ANSWERED, look.at_seconds)
    if look.code.answers or CODE_SERVER not in memory.alive_seconds:
        memory = excused(memory, CODE_SERVER, look.at_seconds)
    for name in _stopped(look, beats):
        memory = excused(memory, name, look.at_seconds)
    memory = replace(memory, declared=look.code.declared or memory.declared)
    states = look.history.states if look.history else None
    memory = with_signs(
        memory, ticker_tokens(memory.declared or (), states, look.at_ms), look.at_seconds
    )
    daemon, code = _judge_daemon(memory, look, limits, beats), _judge_code(memory, look, limits)
    hidden = _hidden(memory, look, limits)
    for name in ticker_names(memory.declared or (), hidden):
        # Their silence is somebody else's, and begins anew when that one is back.
        memory = excused(memory, name, look.at_seconds)
    tickers, ticker_known = judge_tickers(memory, states, look.at_ms, limits, hidden)
    memory, disk = judge_disk(memory, look, limits)
    seen = (daemon, code, *tickers, *disk)
    watched = {DAEMON, CODE_SERVER, _ANSWERED, *_beat_names(beats)}
    watched |= {*ticker_names(memory.declared or ())}
    if look.history is None:
        watched |= memory.alive_seconds.keys()
    memory = only(memory, frozenset(watched))
    failing = frozenset(each.name for each in seen if not each.passed)
    return Judged(replace(memory, failing=failing), seen, ALWAYS_KNOWN | ticker_known)


def _current(beats: Iterable[Beat]) -> tuple[Beat, ...]:
    """The threads of the latest process: those of an earlier one say nothing any more."""
    ordered = sorted(beats, key=lambda beat: beat.at_ms)
    return tuple(beat for beat in ordered if beat.process_id == ordered[-1].process_id)


def _beat_names(beats: Iterable[Beat]) -> set[str]:
    return {f"{kind} {beat.thread}" for beat in beats for kind in ("thread", "clean")}


def _beat_tokens(beats: tuple[Beat, ...]) -> dict[str, object]:
    tokens: dict[str, object] = {DAEMON: beats[-1].at_ms if beats else None}
    for beat in beats:
        sign = (beat.process_id, beat.at_ms)
        tokens[f"thread {beat.thread}"] = sign
        tokens[f"clean {beat.thread}"] = None if beat.error else sign
    return tokens


def _stopped(look: Look, beats: Iterable[Beat]) -> frozenset[str]:
    """What is silent because somebody stopped it on purpose."""
    names: set[str] = set()
    if look.daemon_kept is not None and look.daemon_kept.is_stopped:
        names |= {DAEMON, *_beat_names(beats)}
    if look.code_kept is not None and look.code_kept.is_stopped:
        names.add(CODE_SERVER)
    return frozenset(names)


def _hidden(memory: Memory, look: Look, limits: Limits) -> frozenset[TickerKind]:
    """The kinds that cannot tick, whatever their own code does."""
    if _stopped(look, ()):
        return frozenset(TickerKind)
    code_is_silent = silent_seconds(memory, CODE_SERVER) > limits.code_server_silent_seconds
    if code_is_silent or silent_seconds(memory, DAEMON) > limits.daemon_silent_seconds:
        return frozenset(TickerKind)
    return frozenset(
        kind
        for kind, thread in _THREADS.items()
        if silent_seconds(memory, f"thread {thread}") > limits.daemon_thread_silent_seconds
    )


def _judge_daemon(memory: Memory, look: Look, limits: Limits, beats: tuple[Beat, ...]) -> Seen:
    silent = silent_seconds(memory, DAEMON)
    last_ms = beats[-1].at_ms if beats else None
    sentence, since_ms = "", look.at_ms - round(silent * 1000)
    if silent > limits.daemon_silent_seconds:
        if look.history is None:
            sentence = (
                f"Dagster's history cannot be read for {span(silent)}, so nobody knows whether its "
                f"daemon lives: {look.why_no_history}"
            )
        elif last_ms is None:
            sentence = f"Dagster's daemon has sent no heartbeat yet, for {span(silent)}."
        else:
            # Its own stamp: a watchdog that starts anew tells the same incident, not another.
            since_ms = min(last_ms, look.at_ms)
            sentence = (
                f"Dagster's daemon has sent no heartbeat since {clock(last_ms)}, for "
                f"{span(silent)}: no sensor and no schedule ticks."
            )
        sentence += _word(look.daemon_kept, silent)
    else:
        told = [_thread_trouble(memory, beat, limits) for beat in beats]
        sentence = next((each for each in told if each), "")
    if not sentence:
        words = f"All {len(beats)} threads of Dagster's daemon send heartbeats."
        if look.daemon_kept is not None and look.daemon_kept.is_stopped:
            words = "Dagster's daemon has been stopped on purpose."
        return verdict(Measure.DAEMON_TICKS, passed=True, sentence=words, at_ms=look.at_ms)
    figures = {"silent_seconds": round(silent)}
    return verdict(
        Measure.DAEMON_TICKS, passed=False, sentence=sentence, at_ms=since_ms, figures=figures
    )


def _thread_trouble(memory: Memory, beat: Beat, limits: Limits) -> str:
    silent = silent_seconds(memory, f"thread {beat.thread}")
    if silent > limits.daemon_thread_silent_seconds:
        return (
            f"The thread {beat.thread} of Dagster's daemon has sent no heartbeat since "
            f"{clock(beat.at_ms)}, for {span(silent)}; its other threads do."
        )
    raising = silent_seconds(memory, f"clean {beat.thread}")
    if raising > limits.daemon_thread_silent_seconds:
        return (
            f"The thread {beat.thread} of Dagster's daemon has raised errors for {span(raising)}: "
            f"{beat.error}"
        )
    return ""


def code_server_limit(memory: Memory, look: Look, limits: Limits) -> float:
    """For how many seconds it may be silent: longer when it was started since it last answered."""
    kept = look.code_kept
    if kept is None or not kept.is_running or look.code.is_broken:
        return limits.code_server_silent_seconds
    is_new = kept.up_seconds < (
        silent_seconds(memory, _ANSWERED)
        if _ANSWERED in memory.alive_seconds
        else limits.code_server_loading_seconds
    )
    return limits.code_server_loading_seconds if is_new else limits.code_server_silent_seconds


def _judge_code(memory: Memory, look: Look, limits: Limits) -> Seen:
    silent = silent_seconds(memory, CODE_SERVER)
    limit = code_server_limit(memory, look, limits)
    if incident_name(CONTROL_PLANE, Measure.CODE_SERVER_ANSWERS) in memory.failing:
        # One that dies while it loads, again and again, has not recovered with each start.
        limit = limits.code_server_silent_seconds
    if silent <= limit:
        words = "Dagster's code server answers."
        if look.code_kept is not None and look.code_kept.is_stopped:
            words = "Dagster's code server has been stopped on purpose."
        elif silent > limits.code_server_silent_seconds:
            words = f"Dagster's code server is loading its code, for {span(silent)}."
        elif not look.code.answers:
            words = f"Dagster's code server has not answered for {span(silent)} only."
        return verdict(Measure.CODE_SERVER_ANSWERS, passed=True, sentence=words, at_ms=look.at_ms)
    sentence = (
        f"Dagster's code server has not answered for {span(silent)}, so no sensor and no schedule "
        f"can work: {look.code.why}{_word(look.code_kept, silent)}"
    )
    return verdict(
        Measure.CODE_SERVER_ANSWERS,
        passed=False,
        sentence=sentence,
        at_ms=look.at_ms - round(silent * 1000),
        figures={"silent_seconds": round(silent)},
    )


def _word(kept: Kept | None, silent: float) -> str:
    """What the supervisor knows of the process."""
    if kept is None:
        return ""
    if kept.message:
        return f" The supervisor says: {kept.message}"
    if not kept.is_running:
        return ""
    if kept.up_seconds < silent:
        return f" Its process was started {span(kept.up_seconds)} ago."
    return " Its process is there, so it hangs."
