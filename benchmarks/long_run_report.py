"""What a long run has shown, as figures and as JSON.

Belongs here: recovery times, what did not hold, which aims were missed, the JSON and back. Doesn't
belong here: measuring (`stack_samples.py`, `stack_faults.py`), the page (`long_run_page.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.stack_faults import Inflicted
from benchmarks.stack_samples import MemoryLook, Sample
from retail_lakehouse.local.recompute.captured import NotCaptured
from retail_lakehouse.local.recompute.history import ViewHistory

TABLE_AIM_SECONDS = 30.0
VIEW_AIM_SECONDS = 60.0
MISSED_SHARE = 0.05
"""Of a view's refreshes at most so many may be without a digest: a kill costs some, a recorder that
sees hardly any must not pass for `every refresh`."""
STEADY_SAMPLES = 3
"""An age is good again once it was so many samples in a row."""


@dataclass(frozen=True, slots=True)
class Parity:
    """One comparison of all plain views with their recomputation; `not_made` says why not."""

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
    plain_views: list[str]
    """The views of each `Parity`."""
    live_at: float = 0.0
    live_after_seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    memory: list[MemoryLook] = field(default_factory=list)
    faults: list[Inflicted] = field(default_factory=list)
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
        """Whether all that must hold is known to; ages and memory are aims (`missed_aims`)."""
        return not (failures(self) or unknowns(self))


def failures(run: LongRun) -> list[str]:
    """What must hold and did not, in words."""
    return list(_failures(run))


def _failures(run: LongRun) -> Iterator[str]:
    if not run.verify_ok:
        yield "`verify` does not hold"
    if not run.final_parity_ok:
        yield "the plain views were not equal after the last refresh"
    if any(each.wrong for each in run.parity):
        yield "a plain view differed"
    if not run.history:
        yield "the materialized views were not compared"
    for each in run.history:
        if not each.is_equal:
            yield f"{each.view} is not shown equal after every refresh"
        if len(each.missed) > MISSED_SHARE * each.refreshes:
            yield f"{each.view} was without a digest after too many refreshes"
    for fault, recovery in zip(run.faults, recoveries(run), strict=True):
        if recovery.table_seconds is None:
            yield f"the tables never were good again after: {fault.what}"
        if recovery.view_seconds is None:
            yield f"the views never were good again after: {fault.what}"
    if run.left_behind:
        yield "processes were left behind"


def unknowns(run: LongRun) -> list[str]:
    """What must hold and was not written down, in words."""
    open_ended = [each.view for each in run.history if not each.has_end]
    if not open_ended:
        return []
    return [
        f"how capturing the digests of {len(open_ended)} views ended, so refreshes after the last "
        "captured one may be missing"
    ]


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


@dataclass(slots=True)
class MissedAim:
    """Calm samples in a row whose age was not under its aim; None: of unknown age."""

    place: str
    aim_seconds: float
    begin: float
    end: float
    ages: list[float | None]


def missed_aims(run: LongRun) -> list[MissedAim]:
    """Every time an age missed its aim while no fault was felt, of the tables, then the views."""
    calm = [not felt for felt in in_recovery(run)]
    table = [(s.at, s.table_age_seconds) for s in run.samples]
    view = [(s.at, s.view_age_seconds) for s in run.samples]
    return [
        *_missed("table", TABLE_AIM_SECONDS, table, calm),
        *_missed("view", VIEW_AIM_SECONDS, view, calm),
    ]


def _missed(
    place: str, aim: float, ages: Sequence[tuple[float, float | None]], calm: Sequence[bool]
) -> Iterator[MissedAim]:
    under_way: MissedAim | None = None
    for (at, age), is_calm in zip(ages, calm, strict=True):
        if not is_calm or (age is not None and age < aim):
            if under_way is not None:
                yield under_way
            under_way = None
        elif under_way is None:
            under_way = MissedAim(place, aim, at, at, [age])
        else:
            under_way.end = at
            under_way.ages.append(age)
    if under_way is not None:
        yield under_way


def to_json(run: LongRun) -> dict[str, Any]:
    """Everything, for whoever wants other figures; `from_json` takes it back."""
    return {
        "machine": run.machine,
        "minutes": run.minutes,
        "events_per_second": run.events_per_second,
        "plain_views": run.plain_views,
        "live_after_seconds": run.live_after_seconds,
        "live_at": run.live_at,
        "held": run.held,
        "failures": failures(run),
        "unknowns": unknowns(run),
        "missed_aims": [asdict(each) for each in missed_aims(run)],
        "samples": [asdict(sample) for sample in run.samples],
        "memory": [asdict(look) for look in run.memory],
        "faults": [
            {**asdict(fault), **asdict(recovery)}
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
        "verify_ok": run.verify_ok,
        "stop_seconds": run.stop_seconds,
        "left_behind": run.left_behind,
    }


def from_json(document: dict[str, Any]) -> LongRun:
    """The run that `to_json` wrote; what follows from the rest is found anew."""
    return LongRun(
        machine=document["machine"],
        minutes=document["minutes"],
        events_per_second=document["events_per_second"],
        plain_views=document["plain_views"],
        live_at=document["live_at"],
        live_after_seconds=document["live_after_seconds"],
        samples=[Sample(**each) for each in document["samples"]],
        memory=[MemoryLook(**each) for each in document["memory"]],
        faults=[Inflicted(each["what"], each["at"], each["note"]) for each in document["faults"]],
        parity=[Parity(**each) for each in document["parity"]],
        final_parity_ok=document["final_parity_ok"],
        digest_looks=document["digest_looks"],
        digests_unchanged=document["digests_unchanged"],
        history=[
            ViewHistory(**{**each, "missed": tuple(each["missed"])}) for each in document["history"]
        ],
        history_error=document["history_error"],
        not_captured=[
            NotCaptured(**{**each, "views": tuple(each["views"])})
            for each in document["not_captured"]
        ],
        verify_lines=document["verify"],
        verify_ok=document["verify_ok"],
        stop_seconds=document["stop_seconds"],
        left_behind=document["left_behind"],
    )
