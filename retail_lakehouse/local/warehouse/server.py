"""The listening socket and the server's life.

Here: accepting clients, and ending all of them with the engine. Not here: the conversation with one
(`connection.py`).

Each connection has one session; its statements run in a worker thread, so reads go on while
another session refreshes a view.
"""

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retail_lakehouse.local.warehouse.connection import Connection
from retail_lakehouse.local.warehouse.engine import Engine
from retail_lakehouse.local.warehouse.errors import StartError

_log = logging.getLogger(__name__)
_MAX_SESSIONS = 64
_STOP_SECONDS = 2.0


class Server:
    """Serves an engine on loopback.

    `password_file` is read at every login, so that a new password holds at once.
    """

    def __init__(self, engine: Engine, host: str, port: int, password_file: Path):
        self._engine = engine
        self._host = host
        self._port = port
        self._password_file = password_file
        self._pool = ThreadPoolExecutor(_MAX_SESSIONS, thread_name_prefix="session")
        self._connections: dict[int, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._next_id = 1

    async def start(self) -> int:
        """Listens; returns the port.

        Raises:
            StartError: the port is taken.
        """
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port)
        except OSError as error:
            raise StartError(
                f"The warehouse's port {self._port} on {self._host} is taken or cannot be opened "
                f"({os.strerror(error.errno or 0)}): stop what listens there, or choose another "
                "with RETAIL_LAKEHOUSE_WAREHOUSE_PORT."
            ) from None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Ends every session, rolls back what is open and closes the file."""
        self._engine.interrupt_fold()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            connection.interrupt()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)
        # The sessions' own ends are the last work of the pool: what they rolled back and let go of
        # decides whether the file can be written out whole.
        self._pool.shutdown(wait=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                while any(thread.is_alive() for thread in self._pool._threads):
                    await asyncio.sleep(0.01)
        await asyncio.to_thread(self._engine.close)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        connection = Connection(
            self._engine, self._pool, reader, writer, self._next_id, self._password_file
        )
        self._next_id += 1
        try:
            await connection.serve(self._connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            _log.debug("A client went away without saying goodbye.")
        except asyncio.CancelledError:
            _log.debug("A session was ended by the server's stop.")
        finally:
            self._connections.pop(connection.process_id, None)
            if task is not None:
                self._tasks.discard(task)
            connection.close()
            writer.close()
