"""The local stand-in for Redshift Serverless: the process around `local/warehouse/`.

Here: `WarehouseServer`, its settings as plain arguments, and the entry point with its signals. Not
here: the wire, the SQL and the views, which are parts of the package beside it.

    python -m retail_lakehouse.local.warehouse_server --port 15439 --password-file … \
        --duckdb-path … --catalog-uri … --catalog-name …
"""

import argparse
import asyncio
import logging
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from retail_lakehouse.local.warehouse.engine import Engine, EngineSettings
from retail_lakehouse.local.warehouse.errors import StartError
from retail_lakehouse.local.warehouse.lake import Lake
from retail_lakehouse.local.warehouse.server import Server
from retail_lakehouse.local.without_pandas import leave_pandas_out
from retail_lakehouse.loopback import LOOPBACK

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class WarehouseServer:
    """The stand-in on one machine. Seconds and megabytes as the names say.

    `catalog_uri` is the SQLite catalog's address (sqlite:///…) or its path; `password_file` holds
    the password of `user`, one line. `port` 0 takes a free one. The first statement after
    `idle_seconds` without any waits `cold_start_seconds`.
    """

    password_file: Path
    duckdb_path: Path
    catalog_uri: str
    catalog_name: str
    host: str = LOOPBACK
    port: int = 15439
    database: str = "dev"
    user: str = "lakehouse"
    cold_start_seconds: float = 0.0
    idle_seconds: float = 300.0
    memory_limit_mb: int = 512
    threads: int = 2
    _server: Server | None = field(default=None, init=False, repr=False)

    async def start(self) -> int:
        """Opens the file and listens; returns the port.

        Raises:
            StartError: the port is taken, the file is held by another process, or an extension
                is missing; one sentence that says what to do.
        """
        if self.host != LOOPBACK:
            raise StartError(f"The stand-in listens on {LOOPBACK} only, not on {self.host}.")
        engine = Engine(
            EngineSettings(
                duckdb_path=self.duckdb_path,
                catalog_path=catalog_path(self.catalog_uri),
                catalog_name=self.catalog_name,
                database=self.database,
                user=self.user,
                memory_limit_mb=self.memory_limit_mb,
                threads=self.threads,
                cold_start_seconds=self.cold_start_seconds,
                idle_seconds=self.idle_seconds,
            )
        )
        server = Server(engine, self.host, self.port, self.password_file)
        try:
            port = await server.start()
        except StartError:
            engine.close()
            raise
        self._server = server
        return port

    async def stop(self) -> None:
        """Ends all sessions, rolls back what is open, and closes the file."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
            StartError: see `start`.
        """
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        port = await self.start()
        _log.info("Warehouse ready on %s:%d, database %s.", self.host, port, self.database)
        await asyncio.to_thread(Lake.warm_up)
        await stopping.wait()
        await self.stop()
        _log.info("Warehouse stopped.")


def catalog_path(uri: str) -> Path:
    """The file behind a SQLite catalog's address, as SqlCatalog and JdbcCatalog write it."""
    path = uri
    for prefix in ("jdbc:sqlite:", "sqlite:///", "sqlite:", "file:"):
        if path.startswith(prefix):
            path = path.removeprefix(prefix)
            break
    return Path(path.split("?", 1)[0])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Local stand-in for Redshift Serverless.")
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=15439)
    parser.add_argument("--database", default="dev")
    parser.add_argument("--user", default="lakehouse")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--duckdb-path", type=Path, required=True)
    parser.add_argument("--catalog-uri", required=True)
    parser.add_argument("--catalog-name", required=True)
    parser.add_argument("--cold-start-seconds", type=float, default=0.0)
    parser.add_argument("--idle-seconds", type=float, default=300.0)
    parser.add_argument("--memory-limit-mb", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> int:
    """Runs the server; 0 after a clean stop, 1 with a sentence when it cannot start."""
    leave_pandas_out()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    server = WarehouseServer(**vars(_arguments()))
    try:
        asyncio.run(server.run())
    except StartError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
