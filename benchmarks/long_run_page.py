"""What a long run has shown, as a page.

    python -m benchmarks.long_run_page benchmarks/results/long_run.json

writes the page of a run that is over anew, beside its JSON.

Belongs here: the words. Doesn't belong here: the figures (`long_run_report.py`).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.long_run_report import (
    MISSED_SHARE,
    TABLE_AIM_SECONDS,
    VIEW_AIM_SECONDS,
    LongRun,
    MissedAim,
    failures,
    from_json,
    in_recovery,
    missed_aims,
    recoveries,
    unknowns,
)
from retail_lakehouse.local.recompute.history import history_lines
from retail_lakehouse.local.verify.report import KINDS_IN_LEDGER, NOTE

QUARTER_SECONDS = 900.0
MB_OF_GIB = 1024 * 1.048576
"""The MB of `MemoryLook` in one GiB."""
MEMORY_AIM_GIB = 6
SHOWN_UNREAD = 20


def markdown(run: LongRun) -> str:
    """The page."""
    return "\n".join(_lines(run)) + "\n"


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
    yield f"**{_verdict(run)}**"
    yield ""
    yield from _aim_lines(run)
    yield ""
    yield f"- Live after {run.live_after_seconds:.0f} s, from an empty state folder."
    yield f"- `verify`: {run.verify_lines[-1] if run.verify_lines else 'not reached'}"
    kinds = [line for line in run.verify_lines if KINDS_IN_LEDGER in line]
    yield from (f"  - {line.removeprefix(NOTE)}" for line in kinds)
    if not kinds:
        yield "  - Which kinds of duplicates the topics had, it did not tell in this run."
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


def _verdict(run: LongRun) -> str:
    if failures(run):
        return f"Not everything held: {'; '.join(failures(run))}."
    if unknowns(run):
        return f"Nothing failed, but not all was written down: {'; '.join(unknowns(run))}."
    return "Everything held."


def _aim_lines(run: LongRun) -> Iterator[str]:
    """The aims at every single sample: a median hides the one that missed."""
    calm = in_recovery(run).count(False)
    missed = missed_aims(run)
    yield f"Aims, at each of the {calm} samples at which no fault was felt:"
    yield ""
    for place, aim in (("table", TABLE_AIM_SECONDS), ("view", VIEW_AIM_SECONDS)):
        here = [each for each in missed if each.place == place]
        told = f"- under {aim:.0f} s at the {place}: "
        if not here:
            yield f"{told}held."
            continue
        samples = sum(len(each.ages) for each in here)
        times = "; ".join(_missed_line(each, run) for each in here)
        yield f"{told}**aim missed** at {samples} of them: {times}."
    if run.memory:
        most = max(look.total_mb for look in run.memory) / MB_OF_GIB
        verdict = "held" if most <= MEMORY_AIM_GIB else "**aim missed**"
        yield (
            f"- at most {MEMORY_AIM_GIB} GiB of memory, at each of {len(run.memory)} looks: "
            f"{verdict}, {most:.2f} GiB."
        )


def _missed_line(missed: MissedAim, run: LongRun) -> str:
    begin, end = ((at - run.live_at) / 60 for at in (missed.begin, missed.end))
    known = [age for age in missed.ages if age is not None]
    worst = f"{max(known):.0f} s" if known else "age unknown"
    return f"minute {begin:.1f}" + (f" to {end:.1f}" if end > begin else "") + f", {worst}"


def _parity_line(run: LongRun) -> str:
    made = [each for each in run.parity if not each.not_made]
    wrong = sum(1 for each in made if each.wrong)
    skipped = len(run.parity) - len(made)
    took = f", {statistics.median(p.seconds for p in made):.1f} s each (median)" if made else ""
    final = "equal" if run.final_parity_ok else "not equal"
    names = ", ".join(f"`{name}`" for name in run.plain_views)
    return (
        f"The {len(run.plain_views)} plain views on top ({names}) are queries over those, the "
        "dimensions and the clock, and have no refresh of their own: above equal materialized "
        "views only the query could be wrong. Each against a recomputation from the raw rows: "
        f"compared {len(made)} times, {wrong} with a difference{took}; {skipped} not made as the "
        f"warehouse did not answer; after the last refresh: {final}."
    )


def _history_line(run: LongRun) -> str:
    if not run.history:
        return f"Materialized views after every refresh: not compared. {run.history_error}"
    sums = history_lines(run.history)[0]
    return (
        f"The {len(run.history)} materialized views after every refresh against the raw rows: "
        f"{sums}; looked {run.digest_looks:,} times."
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
    if open_ended := [each.view for each in run.history if not each.has_end]:
        yield ""
        yield (
            f"How capturing ended is not known of {', '.join(open_ended)}, so their last refreshes "
            "may be missing."
        )
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
    totals = [look.total_mb / MB_OF_GIB for look in run.memory]
    if not totals:
        return "Memory: never looked at."
    return (
        f"Memory of the whole stack (PSS): median {statistics.median(totals):.2f} GiB, most "
        f"{max(totals):.2f} GiB."
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


def main() -> int:
    """Writes the page of a JSON file."""
    parser = argparse.ArgumentParser(description="Write a run's page anew from its JSON.")
    parser.add_argument("json", type=Path, help="what the run has written into results/")
    path = parser.parse_args().json
    page = markdown(from_json(json.loads(path.read_text(encoding="utf-8"))))
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
