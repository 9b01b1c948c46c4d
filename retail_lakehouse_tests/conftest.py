"""What tests share: the cache of jars, Java, one real broker and one Spark a session, topics.

Belongs here: fixtures that several rooms need. Doesn't belong here: fixtures of one room.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retail_lakehouse.contracts.tables import TABLES
from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.local import jars, ports
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.java import JavaHome, find_java
from retail_lakehouse.local.spark import spark_environment
from retail_lakehouse.settings import ENV_PREFIX, Settings
from retail_lakehouse.streaming.session import session_config
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse_tests.temporary_files import folder_in_memory

if TYPE_CHECKING:
    from alembic.config import Config
    from pyspark.sql import SparkSession

MakeTopic = Callable[..., str]


_CACHE_VARIABLE = f"{ENV_PREFIX}CACHE_DIR"
# Read before the variables are taken away: a test that names no cache must not write into this one.
_CACHE = Path(os.environ.get(_CACHE_VARIABLE) or Path(__file__).parents[1] / ".lakehouse" / "cache")
_FIRST = tuple(Path(__file__).with_name(name) for name in ("warehouse", "web"))


def pytest_configure() -> None:
    """Temporary files lie in memory where there is enough; `--basetemp` says otherwise."""
    folder = folder_in_memory()
    if folder is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files that come last by name go first.

    Files run side by side in this order, and the last long one would be waited for alone.
    """
    items.sort(key=lambda item: not any(folder in item.path.parents for folder in _FIRST))


@pytest.fixture(scope="session", autouse=True)
def _spark_compiles_quickly() -> Iterator[None]:
    """Spark in tests lives for seconds: Java's second compiler would cost more than it saves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _dagster_reads_its_migrations_once() -> Iterator[None]:
    """They are some ninety modules, and each new instance would run them all several times."""
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.from_config
    known: dict[str, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        name = str(config.config_file_name)
        if name not in known:
            known[name] = read(config)
        return known[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", staticmethod(from_config))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_settings_are_told() -> Iterator[None]:
    """Whatever settings the developer's shell has, tests see the defaults."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(ENV_PREFIX):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """The cache that outlives test runs, so that jars are fetched once a machine."""
    return _CACHE


@pytest.fixture(scope="session")
def java_home() -> JavaHome:
    """The Java that the platform would take here."""
    return find_java(os.environ)


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody uses now."""
    return ports.free_port()


@pytest.fixture(scope="session")
def broker_jars(cache_dir: Path, java_home: JavaHome) -> list[Path]:
    """The class path of the broker."""
    return jars.resolve("broker", cache_dir, java_home)


@pytest.fixture(scope="session")
def spark_jars(cache_dir: Path, java_home: JavaHome) -> list[Path]:
    """What `spark.jars` wants, in the order of its names."""
    return jars.resolve("spark", cache_dir, java_home)


def new_broker(folder: Path, java_home: JavaHome, broker_jars: list[Path]) -> Broker:
    """A small broker on ports of its own, started; stop it."""
    port, controller_port = ports.free_ports(2)
    made = Broker(folder, java_home, broker_jars, port, controller_port, heap_mb=256)
    made.start(timeout_seconds=120)
    return made


@pytest.fixture(scope="session")
def broker(
    tmp_path_factory: pytest.TempPathFactory, java_home: JavaHome, broker_jars: list[Path]
) -> Iterator[Broker]:
    """A real broker for the whole session: use topics of your own, and leave it running."""
    running = new_broker(tmp_path_factory.mktemp("a broker é"), java_home, broker_jars)
    yield running
    running.stop()


@pytest.fixture
def make_topic(broker: Broker, request: pytest.FixtureRequest) -> MakeTopic:
    """Make topics that no other test has: `make_topic(partitions=1, configs=None) -> name`."""

    def make(partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        # Kafka allows 249 characters, and a test's name with parameters may have more and others.
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", str(request.node.name))[:80]
        name = f"{stem}.{uuid.uuid4().hex[:8]}"
        wish = TopicSpec(name, partitions, 1, dict(configs or {}))
        ensure_topics({"bootstrap.servers": broker.bootstrap_servers}, [wish], timeout_seconds=60)
        return name

    return make


@pytest.fixture(scope="session")
def spark_settings(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Settings:
    """Settings of the session's one Spark: its catalog is for all tests, so name tables or topics.

    A test that wants tables of its own takes `lakehouse`, which empties these.
    """
    settings = Settings.load(
        {"state_dir": tmp_path_factory.mktemp("spark") / "a state é", "cache_dir": cache_dir}
    )
    prepare_catalog(settings)
    return settings


@pytest.fixture(scope="session")
def spark(
    spark_settings: Settings, java_home: JavaHome, spark_jars: list[Path]
) -> Iterator[SparkSession]:
    """Local Spark as a job has it, one for the whole session."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for key, value in session_config(job_arguments(spark_settings, "inventory")).items():
        builder = builder.config(key, value)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in spark_environment(spark_settings, java_home, spark_jars).items():
            patch.setenv(name, value)
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture
def lakehouse(spark_settings: Settings) -> Settings:
    """The session's Spark catalog with all tables, new and empty."""
    catalog = open_catalog(spark_settings)
    for contract in TABLES:
        name = contract.identifier
        # One that nobody has written to is as good as new.
        if catalog.table_exists(name) and catalog.load_table(name).metadata.snapshots:
            catalog.drop_table(name)
    ensure_tables(catalog, spark_settings)
    return spark_settings
