"""What Dagster's pages ask, asked of the platform's own web server over HTTP.

Belongs here: starting it on a history that is there, one GraphQL query a page, how long each takes.
Doesn't belong here: the history (`event_log.py`). What a browser does with an answer is not in it.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from retail_lakehouse.assets.keys import table_key
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.local.ports import free_ports, is_answering

START_SECONDS = 180.0
STOP_SECONDS = 30.0

_TABLE = json.dumps(table_key(event_table(INVENTORY)).path)
PAGES: Mapping[str, str] = {
    "asset graph: every asset, its newest event, its checks": (
        "{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { timestamp } "
        "assetChecksOrError { ... on AssetChecks { checks { name "
        "executionForLatestMaterialization { status } } } } } }"
    ),
    "a table's page: 100 materializations with their figures": (
        f"{{ assetOrError(assetKey: {{path: {_TABLE}}}) {{ ... on Asset {{ "
        "assetMaterializations(limit: 100) { timestamp metadataEntries { label "
        "... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue } } } } } }"
    ),
    "a check's page: 25 verdicts": (
        f"{{ assetCheckExecutions(assetKey: {{path: {_TABLE}}}, "
        f'checkName: "{Measure.INGEST_LAG.value}", limit: 25) {{ status evaluation {{ '
        "description metadataEntries { label } } } }"
    ),
    "a sensor's page: 25 ticks": (
        '{ sensorOrError(sensorSelector: {repositoryLocationName: "retail_lakehouse", '
        'repositoryName: "__repository__", sensorName: "watch_stream"}) { ... on Sensor { '
        "sensorState { ticks(limit: 25) { status timestamp skipReason } } } } }"
    ),
    "runs: the last 30": (
        "{ runsOrError(limit: 30) { ... on Runs { results { runId status tags { key } } } } }"
    ),
}


def page_times(root: Path, times: int) -> dict[str, float]:
    """Milliseconds of each page's query, the median of so many, the first one not counted.

    Raises:
        RuntimeError: the server did not start, refused a query, or had nothing to show.
    """
    with _web_server(root) as ask:
        return {name: _median_ms(ask, query, times) for name, query in PAGES.items()}


def _median_ms(ask: Callable[[str], object], query: str, times: int) -> float:
    ask(query)
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        ask(query)
        took.append((time.perf_counter() - begun) * 1000)
    return round(median(took), 1)


@contextmanager
def _web_server(root: Path) -> Iterator[Callable[[str], object]]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "retail_lakehouse.cli", "web", "--read-only"]
    log = root / "logs" / "web.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as told:
        process = subprocess.Popen(  # noqa: S603
            [*command, "--port", str(port), "--state-dir", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_answering(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"Dagster's pages did not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield lambda query: _asked(port, query)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _asked(port: int, query: str) -> object:
    request = urllib.request.Request(
        f"http://localhost:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        told: dict[str, Any] = json.load(answer)
    # An object of another type than the query names comes as an empty one.
    if told.get("errors") or not all(told["data"].values()):
        raise RuntimeError(f"Dagster did not answer a page's query: {told}. The query: {query}")
    return told["data"]
