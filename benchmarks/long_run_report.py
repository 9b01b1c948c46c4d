"""What a long run has shown, as figures and as a page.

Belongs here: recovery times, percentiles, the words of the report. Doesn't belong here: measuring
(`stack_samples.py`, `stack_faults.py`).
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.stack_faults import Fault
from benchmarks.stack_samples import MemoryLook, Sample
from retail_lakehouse.local.recompute.captured import NotCaptured
from retail_lakehouse.local.recompute.history import ViewHistory, history_lines
from retail_lakehouse.local.verify.report import KINDS_IN_LEDGER, NOTE

QUARTER_SECONDS = 900.0
TABLE_AIM_SECONDS = 30.0
VIEW_AIM_SECONDS = 60.0
MEMORY_AIM_MB = 6 * 1024 * 1.048576
"""6 GiB in the MB of `MemoryLook`."""
MISSED_SHARE = 0.05
"""Of a view's refreshes at most so many may be without a digest: a kill costs some, a recorder that
sees hardly any must not pass for `every refresh`."""
SHOWN_UNREAD = 20
STEADY_SAMPLES = 3
"""An age is good again once it was so many samples in a row."""


@dataclass(frozen=True, slots=True)
class Parity:
    """One comparison of all views with their recomputation; `not_made` says why there was none."""

    at: float
    seconds: float
    rows: int
    wrong: list[str]
    not_made: str

    @property
    def equal(self) -> bool:
        """True when it was made and not one digit differed."""
        return not (self.wrong or self.not_made)


@dataclass(slots=True)
class LongRun:
    """Everything that a run collects; times in seconds since 1970."""

    machine: dict[str, Any]
    minutes: float
    events_per_second: float
    started_at: float
    live_at: float = 0.0
    live_after_seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    memory: list[MemoryLook] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    parity: list[Parity] = field(default_factory=list)
    final_parity_ok: bool = False
    digest_looks: int = 0
    digests_unchanged: int = 0
    history: list[ViewHistory] = field(default_factory=list)
    history_error: str = ""
    not_captured: list[NotCaptured] = field(default_factory=list)
    verify_lines: list[str] = field(default_factory=list)
    verify_ok: bool = False
    stop_seconds: float = 0.0
    left_behind: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether everything that must hold did; ages and memory are aims and are shown."""
        recovered = all(each.table_seconds is not None for each in recoveries(self))
        differs = any(each.wrong for each in self.parity)
        always = bool(self.history) and all(_is_always_equal(each) for each in self.history)
        account = self.verify_ok and self.final_parity_ok and always and not differs
        return account and recovered and not self.left_behind


def _is_always_equal(view: ViewHistory) -> bool:
    seen = view.has_end and len(view.missed) <= MISSED_SHARE * view.refreshes
    return view.is_equal and seen


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds after a fault until the ages were good again; None: they never were."""

    table_seconds: float | None
    view_seconds: float | None
    worst_table_age: float | None
    worst_view_age: float | None


def recoveries(run: LongRun) -> list[Recovery]:
    """For each fault, how long it was felt.

    Good again is the first of three samples in a row at which the newest event is younger than
    the aim and than the fault: right after a kill the ages are still those from before it.
    """
    found = []
    for number, fault in enumerate(run.faults):
        end = run.faults[number + 1].at if number + 1 < len(run.faults) else float("inf")
        after = [sample for sample in run.samples if fault.at < sample.at <= end]
        table = [(s.at, s.table_age_seconds) for s in after]
        view = [(s.at, s.view_age_seconds) for s in after]
        table_seconds = _good_again(table, fault.at, TABLE_AIM_SECONDS)
        view_seconds = _good_again(view, fault.at, VIEW_AIM_SECONDS)
        found.append(
            Recovery(
                table_seconds,
                view_seconds,
                _worst(table, fault.at, table_seconds),
                _worst(view, fault.at, view_seconds),
            )
        )
    return found


def _good_again(
    ages: Sequence[tuple[float, float | None]], fault: float, aim: float
) -> float | None:
    good = [age is not None and age < aim and at - age > fault for at, age in ages]
    for number in range(len(good) - STEADY_SAMPLES + 1):
        if all(good[number : number + STEADY_SAMPLES]):
            return ages[number][0] - fault
    return None


def _worst(
    ages: Sequence[tuple[float, float | None]], fault: float, seconds: float | None
) -> float | None:
    until = float("inf") if seconds is None else fault + seconds
    return max((age for at, age in ages if age is not None and at <= until), default=None)


def in_recovery(run: LongRun) -> list[bool]:
    """For each sample, whether a fault was still felt at the table or at the view."""
    windows = []
    for fault, recovery in zip(run.faults, recoveries(run), strict=True):
        both = (recovery.table_seconds, recovery.view_seconds)
        known = [seconds for seconds in both if seconds is not None]
        windows.append((fault.at, fault.at + max(known) if len(known) == 2 else float("inf")))
    return [any(begin < s.at < end for begin, end in windows) for s in run.samples]


def markdown(run: LongRun) -> str:
    """The page."""
    return "\n".join(_lines(run)) + "\n"


def to_json(run: LongRun) -> dict[str, Any]:
    """Everything, for whoever wants other figures."""
    return {
        "machine": run.machine,
        "minutes": run.minutes,
        "events_per_second": run.events_per_second,
        "live_after_seconds": round(run.live_after_seconds, 1),
        "live_at": run.live_at,
        "held": run.held,
        "samples": [asdict(sample) for sample in run.samples],
        "memory": [asdict(look) for look in run.memory],
        "faults": [
            {"what": fault.what, "at": fault.at, "note": fault.note, **asdict(recovery)}
            for fault, recovery in zip(run.faults, recoveries(run), strict=True)
        ],
        "parity": [asdict(each) for each in run.parity],
        "final_parity_ok": run.final_parity_ok,
        "digest_looks": run.digest_looks,
        "digests_unchanged": run.digests_unchanged,
        "history": [asdict(each) for each in run.history],
        "history_error": run.history_error,
        "not_captured": [asdict(each) for each in run.not_captured],
        "verify": run.verify_lines,
        "stop_seconds": round(run.stop_seconds, 1),
        "left_behind": run.left_behind,
    }


def _lines(run: LongRun) -> Iterator[str]:
    about = run.machine
    yield f"# {run.minutes:g} minutes at {run.events_per_second:,.0f} events a second"
    yield ""
    day = time.strftime("%Y-%m-%d", time.gmtime(run.live_at))
    yield (
        f"`python -m benchmarks.long_run --minutes {run.minutes:g} --events-per-second "
        f"{run.events_per_second:g}`, {day}: "
        f"{about['cores']} cores ({about['processor']}), {about['memory_gib']} GiB, "
        f"{about['kernel']}, Python {about['python']}. Sampled every 10 s, so times of "
        "recovery are good to 10 s."
    )
    yield ""
    yield f"**{'Everything held.' if run.held else 'Not everything held.'}**"
    yield ""
    yield f"- Live after {run.live_after_seconds:.0f} s, from an empty state folder."
    yield f"- `verify`: {run.verify_lines[-1] if run.verify_lines else 'not reached'}"
    kinds = (line for line in run.verify_lines if KINDS_IN_LEDGER in line)
    yield from (f"  - {line.removeprefix(NOTE)}" for line in kinds)
    yield f"- {_history_line(run)}"
    yield f"- {_parity_line(run)}"
    yield f"- {_memory_line(run)}"
    left = ", ".join(run.left_behind) or "none"
    yield f"- Stopped in {run.stop_seconds:.1f} s; processes left: {left}."
    yield ""
    yield from _age_lines(run)
    yield ""
    yield from _fault_lines(run)
    yield ""
    yield from _history_lines(run)
    yield ""
    yield from _process_lines(run)


def _parity_line(run: LongRun) -> str:
    made = [each for each in run.parity if not each.not_made]
    wrong = sum(1 for each in made if each.wrong)
    skipped = len(run.parity) - len(made)
    took = f", {statistics.median(p.seconds for p in made):.1f} s each (median)" if made else ""
    final = "equal" if run.final_parity_ok else "not equal"
    return (
        f"Views against a recomputation from the raw rows: {len(made)} checks, {wrong} with a "
        f"difference{took}; {skipped} not made as the warehouse did not answer; after the last "
        f"refresh: {final}."
    )


def _history_line(run: LongRun) -> str:
    if not run.history:
        return f"Views after every refresh: not compared. {run.history_error}"
    sums = history_lines(run.history)[0]
    return (
        f"Materialized views after every refresh against the raw rows: {sums}; looked "
        f"{run.digest_looks:,} times."
    )


def _history_lines(run: LongRun) -> Iterator[str]:
    yield "## Views after every refresh"
    yield ""
    yield (
        "Of each materialized view, count and a hash of all rows were read after every refresh; "
        "when the run was over, one pass over the raw rows gave what they must have been. A "
        "refresh counts if it brought something, from the first captured one to the last of the "
        f"run; one without a digest is covered by the next, and at most {MISSED_SHARE:.0%} of a "
        "view's may be without. Hashing every view after every refresh is part of the load under "
        "which this run was measured."
    )
    yield ""
    yield "| view | refreshes | without a digest | digests | equal |"
    yield "| --- | --- | --- | --- | --- |"
    for each in run.history:
        cells = (each.refreshes, len(each.missed), each.digests, each.equal)
        yield f"| {each.view} | {' | '.join(str(cell) for cell in cells)} |"
    for each in run.history:
        if each.difference:
            yield ""
            yield f"{each.view}: {each.difference}"
        if not each.has_end:
            yield ""
            yield f"{each.view}: how capturing ended is not known, so the last may be missing."
    yield from _not_captured_lines(run)


def _not_captured_lines(run: LongRun) -> Iterator[str]:
    if not run.not_captured:
        return
    yield ""
    yield "Not read before the next refresh came:"
    yield ""
    for each in run.not_captured[:SHOWN_UNREAD]:
        minute = (each.refreshed_at_ms / 1000 - run.live_at) / 60
        why = " ".join(each.not_read.split())
        yield f"- minute {minute:.1f}: {', '.join(each.views)}. {why}"
    more = len(run.not_captured) - SHOWN_UNREAD
    if more > 0:
        yield f"- and {more} more"


def _memory_line(run: LongRun) -> str:
    totals = [look.total_mb for look in run.memory]
    if not totals:
        return "Memory: never looked at."
    verdict = "within" if max(totals) <= MEMORY_AIM_MB else "above"
    return (
        f"Memory of the whole stack (PSS): median {statistics.median(totals) / 1073.7:.2f} GiB, "
        f"most {max(totals) / 1073.7:.2f} GiB, {verdict} the aim of 6 GiB."
    )


def _age_lines(run: LongRun) -> Iterator[str]:
    aims = f"{TABLE_AIM_SECONDS:.0f} s at the table, {VIEW_AIM_SECONDS:.0f} s at the view"
    yield "## Age of the newest event"
    yield ""
    yield f"Seconds, p50 / p95 / most, of the worst table and the worst view. Aims: {aims}."
    yield ""
    yield "| minutes | table | view | table, recovering | view, recovering | events/s | cores |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    felt = in_recovery(run)
    quarters = int((run.samples[-1].at - run.live_at) // QUARTER_SECONDS) + 1 if run.samples else 0
    for quarter in range(quarters):
        begin = run.live_at + quarter * QUARTER_SECONDS
        end = begin + QUARTER_SECONDS
        here = [(s, f) for s, f in zip(run.samples, felt, strict=True) if begin <= s.at < end]
        calm, shaken = [s for s, f in here if not f], [s for s, f in here if f]
        turn = " (hour's turn)" if int(begin // 3600) != int(min(end, _end(run)) // 3600) else ""
        cells = [
            _spread([s.table_age_seconds for s in calm]),
            _spread([s.view_age_seconds for s in calm]),
            _spread([s.table_age_seconds for s in shaken]),
            _spread([s.view_age_seconds for s in shaken]),
            f"{statistics.median(s.events_per_second for s, _ in here):,.0f}" if here else "-",
            f"{statistics.fmean(s.machine_cpu for s, _ in here):.2f}" if here else "-",
        ]
        yield f"| {quarter * 15}-{quarter * 15 + 15}{turn} | {' | '.join(cells)} |"
    unknown = sum(s.table_age_seconds is None or s.view_age_seconds is None for s in run.samples)
    yield ""
    yield f"{len(run.samples)} samples, {unknown} of them without an age. Cores: of all processes."


def _end(run: LongRun) -> float:
    return run.samples[-1].at


def _spread(ages: Sequence[float | None]) -> str:
    known = sorted(age for age in ages if age is not None)
    if not known:
        return "-"
    p95 = known[min(len(known) - 1, int(len(known) * 0.95))]
    return f"{statistics.median(known):.0f} / {p95:.0f} / {known[-1]:.0f}"


def _fault_lines(run: LongRun) -> Iterator[str]:
    yield "## Faults"
    yield ""
    if not run.faults:
        yield "None in this run."
        return
    yield (
        "Recovered: seconds until the worst age was under its aim, with events from after the "
        "fault, for three samples in a row."
    )
    yield ""
    yield "| minute | what | table good again | worst age | view good again | worst age |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for fault, recovery in zip(run.faults, recoveries(run), strict=True):
        note = f" ({fault.note})" if fault.note else ""
        cells = (
            recovery.table_seconds,
            recovery.worst_table_age,
            recovery.view_seconds,
            recovery.worst_view_age,
        )
        told = " | ".join("never" if cell is None else f"{cell:.0f} s" for cell in cells)
        yield f"| {(fault.at - run.live_at) / 60:.1f} | {fault.what}{note} | {told} |"


def _process_lines(run: LongRun) -> Iterator[str]:
    yield "## Processes"
    yield ""
    yield "| process | PSS median MB | PSS most MB | cores (mean) |"
    yield "| --- | --- | --- | --- |"
    for name in sorted({name for look in run.memory for name in look.pss_mb}):
        sizes = [look.pss_mb[name] for look in run.memory if name in look.pss_mb]
        cores = [look.cores.get(name, 0.0) for look in run.memory[1:]] or [0.0]
        yield (
            f"| {name} | {statistics.median(sizes):,.0f} | {max(sizes):,.0f} | "
            f"{statistics.fmean(cores):.2f} |"
        )
