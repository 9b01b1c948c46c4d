"""How the client connects and what it says when it cannot; no server is needed here."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.client import Session, WarehouseClient, WarehouseConfig
from retail_lakehouse.warehouse.errors import (
    WarehouseDenied,
    WarehouseRefused,
    WarehouseUnreachable,
)


def config(tmp_path: Path, port: int) -> WarehouseConfig:
    password = tmp_path / "warehouse-password"
    password.write_text("secret-of-the-test\n")
    return WarehouseConfig("127.0.0.1", port, "dev", "lakehouse", password)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken but does not listen, so that nobody else comes to listen there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


class ScriptedServer:
    """Accepts one connection, answers with `reply` to the first bytes, then closes."""

    def __init__(self, reply: bytes) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self._reply = reply
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(self._reply)

    def close(self) -> None:
        self.listener.close()
        self._thread.join(5)


def error_response(sqlstate: str, message: str) -> bytes:
    body = b"SFATAL\x00C" + sqlstate.encode() + b"\x00M" + message.encode() + b"\x00\x00"
    return b"E" + struct.pack("!i", len(body) + 4) + body


class RefusingConnection:
    """A connection whose every statement fails as it is told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.closed = False
        self.notices: list[dict[bytes, bytes]] = []

    def cursor(self) -> "RefusingConnection":
        return self

    def execute(self, sql: str, parameters: object) -> None:
        raise self.error

    def close(self) -> None:
        self.closed = True


def test_a_warehouse_that_is_not_there_is_named_in_one_sentence(
    tmp_path: Path, closed_port: int
) -> None:
    with (
        pytest.raises(WarehouseUnreachable, match=f"No warehouse .* 127.0.0.1:{closed_port}"),
        WarehouseClient(config(tmp_path, closed_port)).session("test"),
    ):
        pass


def test_a_port_that_accepts_and_says_nothing_does_not_hold_the_caller(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = int(silent.getsockname()[1])
        patient = replace(config(tmp_path, port), connect_timeout_seconds=1)
        with pytest.raises(WarehouseUnreachable), WarehouseClient(patient).session("test"):
            pass


@pytest.mark.parametrize(
    "error",
    [
        NoCredentialsError(),
        EndpointConnectionError(endpoint_url="https://redshift-serverless.test"),
        ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetCredentials"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_credentials_that_aws_does_not_give_are_a_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(**_: object) -> None:
        raise error

    monkeypatch.setattr("redshift_connector.connect", connect)
    on_aws = WarehouseConfig("wg.test", 5439, "dev", region="ap-south-1")
    with (
        pytest.raises(WarehouseDenied, match=r"AWS gave no credentials .* wg\.test:5439"),
        WarehouseClient(on_aws).session("test"),
    ):
        pass


def test_a_missing_password_file_says_what_makes_it(tmp_path: Path) -> None:
    missing = WarehouseConfig("127.0.0.1", 1, "dev", "lakehouse", tmp_path / "nothing")
    with (
        pytest.raises(WarehouseDenied, match="cannot be read"),
        WarehouseClient(missing).session("test"),
    ):
        pass


def test_a_refused_login_is_told_apart_from_a_warehouse_that_is_down(tmp_path: Path) -> None:
    server = ScriptedServer(error_response("28P01", "password authentication failed"))
    try:
        with (
            pytest.raises(WarehouseDenied, match="password authentication failed") as caught,
            WarehouseClient(config(tmp_path, server.port)).session("test"),
        ):
            pass
    finally:
        server.close()
    assert "secret-of-the-test" not in str(caught.value)


@pytest.mark.parametrize("reply", [b"", b"R", error_response("57P03", "it starts up")])
def test_a_server_that_breaks_off_is_unreachable(tmp_path: Path, reply: bytes) -> None:
    server = ScriptedServer(reply)
    try:
        with (
            pytest.raises(WarehouseUnreachable),
            WarehouseClient(config(tmp_path, server.port)).session("test"),
        ):
            pass
    finally:
        server.close()


def test_on_aws_the_login_is_iam_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    import redshift_connector
    from redshift_connector.error import InterfaceError

    seen: dict[str, Any] = {}

    def connect(**arguments: object) -> None:
        seen.update(arguments)
        raise InterfaceError("stop here")

    monkeypatch.setattr(redshift_connector, "connect", connect)
    host = "analytics-wg.123456789012.ap-south-1.redshift-serverless.amazonaws.com"
    settings = Settings.load(
        {
            "profile": "aws",
            "bootstrap_servers": "b-1:9098",
            "warehouse_host": host,
            "aws_region": "ap-south-1",
            "warehouse_location": "s3://bucket/warehouse",
            "checkpoint_location": "s3://bucket/checkpoints",
        }
    )
    with (
        pytest.raises(WarehouseUnreachable),
        WarehouseClient.from_settings(settings).session("test"),
    ):
        pass
    assert (seen["iam"], seen["ssl"], seen["host"], seen["port"]) == (True, True, host, 5439)
    assert "password" not in seen


def test_an_error_carries_its_sqlstate_its_statement_and_the_warehouses_hint() -> None:
    from redshift_connector.error import ProgrammingError

    error = ProgrammingError({"C": "42P01", "M": 'relation "x" does not exist', "H": "Make it."})
    session = Session(RefusingConnection(error), WarehouseConfig("h", 1, "d"), 0.0)
    with pytest.raises(WarehouseRefused) as caught:
        session.rows("-- why\nSELECT *\nFROM x")
    assert caught.value.sqlstate == "42P01"
    assert str(caught.value) == (
        'The warehouse refused `SELECT * FROM x`: relation "x" does not exist [42P01]. Make it.'
    )


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), TimeoutError("timed out")])
def test_a_connection_that_breaks_leaves_the_statements_fate_unknown(error: OSError) -> None:
    session = Session(RefusingConnection(error), WarehouseConfig("h", 1, "d"), 0.0)
    with pytest.raises(WarehouseUnreachable, match="unknown"):
        session.execute("REFRESH MATERIALIZED VIEW mart.x")


@pytest.mark.parametrize("label", ["", "it's", "a b", "x" * 101, "run;DROP"])
def test_a_label_that_could_carry_sql_is_refused(tmp_path: Path, label: str) -> None:
    client = WarehouseClient(config(tmp_path, 1))
    with pytest.raises(ValueError, match="session label"), client.session(label):
        pass


def test_a_session_begins_by_setting_its_label_zone_and_timeout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import redshift_connector

    connection = MagicMock()
    monkeypatch.setattr(redshift_connector, "connect", lambda **_: connection)
    password = tmp_path / "password"
    password.write_text("x")
    client = WarehouseClient(WarehouseConfig("h", 1, "d", "u", password))
    with client.session("run:1", 30):
        told = [call.args[0] for call in connection.cursor().execute.call_args_list]
    assert told == [
        "SET query_group TO 'run:1'",
        "SET timezone TO 'UTC'",
        "SET statement_timeout TO 30000",
    ]


@pytest.mark.parametrize("who_waits", ["the login", "the first SET"])
def test_a_cold_start_shows_whichever_statement_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, who_waits: str
) -> None:
    import redshift_connector

    connection, waits = MagicMock(), [0.2]

    def wait(*_: object, **__: object) -> Any:
        time.sleep(waits.pop() if waits else 0.0)
        return connection

    if who_waits == "the login":
        monkeypatch.setattr(redshift_connector, "connect", wait)
    else:
        monkeypatch.setattr(redshift_connector, "connect", lambda **_: connection)
        connection.cursor().execute.side_effect = wait
    password = tmp_path / "password"
    password.write_text("x")
    with WarehouseClient(WarehouseConfig("h", 1, "d", "u", password)).session("run:1") as session:
        session.execute("REFRESH MATERIALIZED VIEW mart.v")
        assert session.first_statement_seconds is not None
        assert session.first_statement_seconds >= 0.2
