"""How many events a second the simulator brings to a real broker from one core.

Run: `python benchmarks/simulator.py [--events 1000000] [--own-core]`. It starts a broker of its
own in a temporary folder. The figure is records acknowledged and booked in the ledger, by the
simulator process's CPU seconds (all its threads) and by wall time; `--own-core` keeps the
simulator on one core and the broker off it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.local import jars, ports
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.java import find_java
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.simulator import SimulatorOptions, run_simulator

_ENDLESS_RATE = 1e9


def measure(events: int, own_core: bool, cache: Path) -> dict[str, object]:
    """Runs the simulator as fast as it goes; returns the figures."""
    java = find_java(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(
            Path(folder),
            java,
            jars.resolve("broker", cache, java),
            ports.free_port(),
            ports.free_port(),
        )
        broker.start()
        try:
            kafka = {"bootstrap.servers": broker.bootstrap_servers}
            ensure_topics(
                kafka, [TopicSpec(topic.name, 3, 1, topic.configs(1)) for topic in TOPICS]
            )
            if own_core and broker.pid is not None:
                os.sched_setaffinity(0, {0})
                for task in Path(f"/proc/{broker.pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), {1})
            ledger = Path(folder) / "ledger"
            options = SimulatorOptions(
                ledger, kafka, events_per_second=_ENDLESS_RATE, max_events=events
            )
            cpu, wall = time.process_time(), time.monotonic()
            report = run_simulator(options)
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            with Ledger(ledger) as book:
                acknowledged = sum(book.totals(topic.name).acknowledged for topic in TOPICS)
        finally:
            broker.stop()
    return {
        "records_acknowledged": acknowledged,
        "unresolved": report.unresolved,
        "events_per_cpu_second": round(acknowledged / cpu),
        "events_per_second": round(acknowledged / wall),
        "own_core": own_core,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--own-core", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path(".lakehouse/cache"))
    asked = parser.parse_args()
    figures = measure(asked.events, asked.own_core, asked.cache)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
