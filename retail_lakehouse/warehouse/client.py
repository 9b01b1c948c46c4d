"""Sessions with the warehouse.

Here: how to connect in either profile, one short-lived connection a session, and errors as
sentences. Not here: any statement of ours (`ddl.py`, `refresh.py`, `query.py`).

Every query bills on Redshift Serverless, and an open transaction keeps it awake: a session is
opened for work at hand, in autocommit, and closed at its end. Nothing connects just to look.
"""

import logging
import re
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.errors import (
    WarehouseDenied,
    WarehouseRefused,
    WarehouseUnreachable,
)

_log = logging.getLogger(__name__)

REDSHIFT_PORT = 5439
CONNECT_TIMEOUT_SECONDS = 45
"""For the login's answers: a cold start takes up to 40 s before anything is answered, and a sensor
that waits for longer than 60 s may be given up before it has told that nobody answers."""
_SOCKET_GRACE_SECONDS = 60
"""Beyond the statement's own timeout, which the warehouse itself keeps."""
_LABEL = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
_LOGIN_STATES = ("28000", "28P01")
# A server that dies in the middle of an answer leaves the driver with half a message.
_BROKEN_WIRE = (OSError, struct.error, IndexError)


@dataclass(frozen=True, slots=True)
class WarehouseConfig:
    """How to reach the warehouse. Without `password_file` the login is IAM's, over TLS."""

    host: str
    port: int
    database: str
    user: str = ""
    password_file: Path | None = None
    region: str = ""
    connect_timeout_seconds: int = CONNECT_TIMEOUT_SECONDS
    statement_timeout_seconds: int = 600
    lock_dir: Path | None = None
    """Where one refresh a view at a time is enforced between processes; None: this process."""

    @staticmethod
    def from_settings(settings: Settings) -> "WarehouseConfig":
        """The profile's warehouse: the stand-in on the loopback, or Redshift Serverless."""
        if settings.is_local:
            return WarehouseConfig(
                host=settings.warehouse_host or LOOPBACK,
                port=settings.warehouse_port,
                database=settings.warehouse_database,
                user=settings.warehouse_user,
                password_file=settings.password_file,
                statement_timeout_seconds=settings.statement_timeout_seconds,
                lock_dir=settings.lock_dir,
            )
        return WarehouseConfig(
            host=settings.warehouse_host,
            port=REDSHIFT_PORT,
            database=settings.warehouse_database,
            region=settings.aws_region,
            statement_timeout_seconds=settings.statement_timeout_seconds,
            lock_dir=settings.lock_dir,
        )

    @property
    def address(self) -> str:
        """host:port, for sentences."""
        return f"{self.host}:{self.port}"


class Session:
    """One connection, in autocommit. Not for use by several threads."""

    def __init__(self, connection: Any, config: WarehouseConfig, connect_seconds: float) -> None:
        self._connection = connection
        self.config = config
        self.connect_seconds = connect_seconds
        self.first_statement_seconds: float | None = None
        """Until the session's first statement was answered, the login before it included: a cold
        start shows here, whichever of them waits for it."""

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Runs one statement and returns its rows; `%s` in `sql` takes the parameters in turn.

        Raises:
            WarehouseRefused: the warehouse answered with an error.
            WarehouseUnreachable: the connection broke or timed out.
        """
        return self._run(sql, parameters)[1]

    def table(self, sql: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Runs one statement and returns its column names and rows; raises as `rows`."""
        return self._run(sql, ())

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """Runs one statement for its effect; raises as `rows`."""
        self._run(sql, parameters)

    def take_notices(self) -> list[str]:
        """What the warehouse remarked since the last call, in its own words."""
        texts = [_text(notice.get(b"M", b"")) for notice in self._connection.notices]
        self._connection.notices.clear()
        return texts

    def setting(self, name: str, value: str) -> None:
        """Sets a session parameter; `name` and `value` are ours, never a user's."""
        self._run(f"SET {name} TO {value}", ())

    def _run(
        self, sql: str, parameters: Sequence[object]
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        started = time.monotonic()
        try:
            return self._answer(sql, parameters)
        finally:
            if self.first_statement_seconds is None:
                taken = time.monotonic() - started
                self.first_statement_seconds = self.connect_seconds + taken

    def _answer(
        self, sql: str, parameters: Sequence[object]
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        from redshift_connector.error import Error, IntegrityError, ProgrammingError

        try:
            cursor = self._connection.cursor()
            try:
                cursor.execute(sql, tuple(parameters) or None)
                if cursor.description is None:
                    return (), []
                names = tuple(_text(column[0]) for column in cursor.description)
                return names, [tuple(row) for row in cursor.fetchall()]
            finally:
                cursor.close()
        except (ProgrammingError, IntegrityError) as error:
            raise _refused(error, sql) from error
        except (Error, *_BROKEN_WIRE) as error:
            raise WarehouseUnreachable(
                f"The connection to the warehouse at {self.config.address} broke during "
                f"`{_head(sql)}` ({_first_line(error)}). Whether the statement took effect is "
                "unknown; look whether the warehouse runs, then try again."
            ) from error


class WarehouseClient:
    """Opens sessions. Holds no connection itself."""

    def __init__(self, config: WarehouseConfig) -> None:
        self.config = config

    @staticmethod
    def from_settings(settings: Settings) -> "WarehouseClient":
        """The client of the profile's warehouse."""
        return WarehouseClient(WarehouseConfig.from_settings(settings))

    @contextmanager
    def session(
        self, label: str, statement_timeout_seconds: int | None = None
    ) -> Iterator[Session]:
        """One connection, closed at the end of the block.

        `label` goes with every query into the warehouse's log (`query_group`), so that a query
        leads back to the run that sent it: letters, digits and `_ . : / -`, at most 100.
        A statement is stopped after `statement_timeout_seconds`, if not given the setting's: it
        must not be longer than that, for files are deleted once no query can need them.

        Raises:
            WarehouseDenied: the login is refused, or the password file cannot be read.
            WarehouseUnreachable: nothing answers at the address.
            ValueError: the label has other characters.
        """
        if not _LABEL.fullmatch(label):
            raise ValueError(
                f"The session label {label!r} may hold letters, digits and _ . : / - only, at most "
                "100 of them."
            )
        timeout_seconds = statement_timeout_seconds or self.config.statement_timeout_seconds
        session = self._connect(timeout_seconds)
        try:
            session.setting("query_group", f"'{label}'")
            # A user's or the workgroup's own zone would move GETDATE() and every cast of a time.
            session.setting("timezone", "'UTC'")
            session.setting("statement_timeout", str(timeout_seconds * 1000))
            yield session
        finally:
            _close(session)

    def _connect(self, statement_timeout_seconds: int) -> Session:
        import redshift_connector
        from botocore.exceptions import BotoCoreError, ClientError
        from redshift_connector.error import Error, ProgrammingError

        started = time.monotonic()
        arguments = self._arguments()
        try:
            connection = redshift_connector.connect(
                **arguments,
                timeout=self.config.connect_timeout_seconds,
                application_name="retail-lakehouse",
            )
        except (BotoCoreError, ClientError) as error:
            # The driver asks AWS for the login's credentials, and hands on what that raises.
            raise WarehouseDenied(
                f"AWS gave no credentials for the warehouse at {self.config.address} "
                f"({_first_line(error)}). Check the role of this process, its "
                "redshift-serverless:GetCredentials, and its way to AWS."
            ) from error
        except ProgrammingError as error:
            raise self._login_error(error) from error
        except (Error, *_BROKEN_WIRE) as error:
            if _sqlstate(error) in _LOGIN_STATES:
                raise self._login_error(error) from error
            raise WarehouseUnreachable(
                f"No warehouse answers at {self.config.address} ({_first_line(error)}). Locally "
                "start it with `retail-lakehouse dev`; on AWS check the workgroup's endpoint and "
                "its security group."
            ) from error
        # The driver opens a transaction by default, and an open one keeps Redshift awake and paid.
        connection.autocommit = True
        # It also knows one timeout only: a silent port must not hold a caller as long as a refresh.
        connection._usock.settimeout(statement_timeout_seconds + _SOCKET_GRACE_SECONDS)
        return Session(connection, self.config, time.monotonic() - started)

    def _arguments(self) -> dict[str, Any]:
        config = self.config
        common: dict[str, Any] = {
            "host": config.host,
            "port": config.port,
            "database": config.database,
        }
        if config.password_file is None:
            return common | {"iam": True, "ssl": True, "region": config.region}
        try:
            password = config.password_file.read_text("utf-8").strip()
        except OSError as error:
            raise WarehouseDenied(
                f"The warehouse's password file {config.password_file} cannot be read "
                f"({error.strerror}). It is made when the warehouse first starts: run "
                "`retail-lakehouse dev`."
            ) from error
        return common | {"user": config.user, "password": password, "ssl": False}

    def _login_error(self, error: Exception) -> WarehouseDenied | WarehouseUnreachable:
        message = _message(error)
        if _sqlstate(error) in _LOGIN_STATES:
            return WarehouseDenied(
                f"The warehouse at {self.config.address} refused the login to database "
                f"{self.config.database}: {message}. Check the user and, on AWS, what the role "
                "may do in the database; locally the password file belongs to the state folder of "
                "the running warehouse."
            )
        return WarehouseUnreachable(
            f"The warehouse at {self.config.address} did not open a session: {message}. "
            "Try again in a moment; if it stays so, restart it."
        )


def statement(name: str) -> str:
    """The text of `warehouse/sql/<name>.sql`."""
    return resources.files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8").strip()


def _close(session: Session) -> None:
    from redshift_connector.error import Error

    try:
        session._connection.close()
    except (Error, *_BROKEN_WIRE) as error:
        _log.info("The warehouse had closed the connection already: %s", _first_line(error))


def _refused(error: Exception, sql: str) -> WarehouseRefused:
    sqlstate = _sqlstate(error)
    hint = _field(error, "H")
    sentence = f"The warehouse refused `{_head(sql)}`: {_message(error)} [{sqlstate}]."
    return WarehouseRefused(f"{sentence} {hint}" if hint else sentence, sqlstate)


def _field(error: Exception, key: str) -> str:
    fields = error.args[0] if error.args else None
    return str(fields.get(key, "")) if isinstance(fields, dict) else ""


def _sqlstate(error: Exception) -> str:
    return _field(error, "C")


def _message(error: Exception) -> str:
    return (_field(error, "M") or _first_line(error)).rstrip(".")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).split("\n", 1)[0]


def _head(sql: str) -> str:
    lines = [line for line in sql.splitlines() if not line.startswith("--")]
    text = " ".join(" ".join(lines).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
