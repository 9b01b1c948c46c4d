"""How many events a second the simulator brings to a real broker from one core.

    python -m benchmarks.simulator

Each of the runs starts a broker of its own in a temporary folder, keeps the simulator with all its
threads on one core and the broker off it, and has a million records produced, acknowledged and
booked in the ledger, with the shares of malformed, late and duplicate events that the settings give
by default. Written: `benchmarks/results/simulator.json`; its figure is the median of the runs by
wall time, which others on the machine can only lower; `cores_of_others` says how busy those were,
`events_per_cpu_second` what is left without waiting for anybody.

Belongs here: the runs and their figures. Doesn't belong here: what the simulator makes.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.stack_samples import machine
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.local import jars, ports
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.java import find_java
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.simulator import SimulatorOptions, run_simulator
from retail_lakehouse.settings import Settings

RESULTS = Path(__file__).with_name("results")
AIM_EVENTS_PER_SECOND = 50_000
_ENDLESS_RATE = 1e9
_SIMULATOR_CORE = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run; cores are means over it, of the simulator, its broker and everybody else."""

    records_acknowledged: int
    unresolved: int
    seconds: float
    events_per_second: int
    events_per_cpu_second: int
    cores_of_simulator: float
    cores_of_broker: float
    cores_of_others: float


def measure(events: int, settings: Settings) -> Run:
    """Runs the simulator as fast as it goes."""
    java = find_java(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(
            Path(folder),
            java,
            jars.resolve("broker", settings.cache, java),
            ports.free_port(),
            ports.free_port(),
        )
        broker.start()
        try:
            kafka = {"bootstrap.servers": broker.bootstrap_servers}
            ensure_topics(
                kafka, [TopicSpec(topic.name, 3, 1, topic.configs(1)) for topic in TOPICS]
            )
            assert broker.pid is not None  # noqa: S101
            _part_cores(broker.pid)
            ledger = Path(folder) / "ledger"
            options = SimulatorOptions(
                ledger, kafka, events_per_second=_ENDLESS_RATE, max_events=events
            )
            before = _cpu_seconds(broker.pid)
            begun = time.monotonic()
            report = run_simulator(options)
            wall = time.monotonic() - begun
            own, brokers, every = (
                after - earlier
                for after, earlier in zip(_cpu_seconds(broker.pid), before, strict=True)
            )
            with Ledger(ledger) as book:
                acknowledged = sum(book.totals(topic.name).acknowledged for topic in TOPICS)
        finally:
            broker.stop()
    return Run(
        records_acknowledged=acknowledged,
        unresolved=report.unresolved,
        seconds=round(wall, 2),
        events_per_second=round(acknowledged / wall),
        events_per_cpu_second=round(acknowledged / own),
        cores_of_simulator=round(own / wall, 2),
        cores_of_broker=round(brokers / wall, 2),
        cores_of_others=round(max(0.0, every - own - brokers) / wall, 2),
    )


def _part_cores(broker_pid: int) -> None:
    """Keeps this process, and what threads it starts from now on, on one core; the broker off."""
    others = set(range(os.cpu_count() or 1)) - {_SIMULATOR_CORE}
    os.sched_setaffinity(0, {_SIMULATOR_CORE})
    for task in Path(f"/proc/{broker_pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), others or {_SIMULATOR_CORE})


def _cpu_seconds(broker_pid: int) -> tuple[float, float, float]:
    """Processor seconds so far of this process, of the broker and of the whole machine."""
    broker = psutil.Process(broker_pid).cpu_times()
    machine_times = psutil.cpu_times()
    busy = sum(machine_times) - machine_times.idle - getattr(machine_times, "iowait", 0.0)
    return time.process_time(), broker.user + broker.system, busy


def main() -> int:
    """Runs it and writes the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    allowed = os.sched_getaffinity(0)
    runs = []
    for _ in range(asked.runs):
        # The next broker starts on every core again.
        os.sched_setaffinity(0, allowed)
        runs.append(measure(asked.events, Settings.load()))
    figures = {
        "machine": machine(),
        "aim_events_per_second": AIM_EVENTS_PER_SECOND,
        "events_per_second": round(statistics.median(r.events_per_second for r in runs)),
        "events_per_cpu_second": round(statistics.median(r.events_per_cpu_second for r in runs)),
        "runs": [asdict(run) for run in runs],
    }
    text = json.dumps(figures, indent=1) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "simulator.json").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
