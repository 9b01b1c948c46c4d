"""Rules of fetching jars: once, whole, by coordinates, inside the cache folder."""

from __future__ import annotations

import os
import re
import threading
import time
import zipfile
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.local import jars
from retail_lakehouse.local.file_lock import LockHeldError, exclusive_lock
from retail_lakehouse.local.java import JavaHome

_NO_JAVA = JavaHome(Path("/nowhere"), "JAVA_HOME", "17")


def _fake_ivy(tmp_path: Path, script: str) -> JavaHome:
    """A Java that records each run and then does `script` with $LIB as the folder to fill."""
    source = tmp_path / "source.jar"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("a", "a")
    program = tmp_path / "jdk" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        f"echo run >> {tmp_path}/runs\n"
        'for word; do last="$word"; done\n'
        'LIB=$(dirname "$last"); mkdir -p "$LIB"\n'
        f"JAR={source}\n{script}\n"
    )
    program.chmod(0o755)
    return JavaHome(tmp_path / "jdk", "JAVA_HOME", "17.0.9")


def _runs(tmp_path: Path) -> int:
    runs = tmp_path / "runs"
    return len(runs.read_text().splitlines()) if runs.exists() else 0


GOOD = 'cp "$JAR" "$LIB/b-1.jar"; cp "$JAR" "$LIB/a-1.jar"'


def test_jars_come_sorted_and_a_second_call_starts_nothing(tmp_path: Path) -> None:
    java = _fake_ivy(tmp_path, GOOD)
    first = jars.resolve("broker", tmp_path / "cache", java, environ={})
    assert [jar.name for jar in first] == ["a-1.jar", "b-1.jar"]
    assert jars.resolve("broker", tmp_path / "cache", _NO_JAVA, environ={}) == first
    assert _runs(tmp_path) == 1


def test_nothing_but_the_jars_stays_in_the_cache(tmp_path: Path) -> None:
    jars.resolve("broker", tmp_path / "cache", _fake_ivy(tmp_path, GOOD), environ={})
    left = {entry.name for entry in (tmp_path / "cache" / "jars").iterdir()}
    assert len(left) == 2
    assert "broker.lock" in left


@pytest.mark.parametrize("damage", ["missing", "short", "manifest"])
def test_a_half_finished_cache_is_noticed_and_redone(tmp_path: Path, damage: str) -> None:
    java = _fake_ivy(tmp_path, GOOD)
    first = jars.resolve("broker", tmp_path / "cache", java, environ={})
    if damage == "missing":
        first[0].unlink()
    elif damage == "short":
        first[0].write_bytes(first[0].read_bytes()[:-1])
    else:
        (first[0].parent / "manifest.json").write_text('{"bytes_by_jar": ')
    again = jars.resolve("broker", tmp_path / "cache", java, environ={})
    assert again == first
    assert all(zipfile.is_zipfile(jar) for jar in again)
    assert _runs(tmp_path) == 2


def test_a_failure_on_what_an_interrupted_run_left_is_tried_once_more_from_nothing(
    tmp_path: Path,
) -> None:
    java = _fake_ivy(tmp_path, f'if [ -e "$LIB/../home/stale" ]; then exit 1; fi; {GOOD}')
    jars.resolve("broker", tmp_path / "cache", java, environ={})
    folder = next(each for each in (tmp_path / "cache" / "jars").iterdir() if each.is_dir())
    (folder / "manifest.json").unlink()
    stale = folder.with_name(f"{folder.name}.partial") / "home" / "stale"
    stale.parent.mkdir(parents=True)
    stale.touch()
    assert len(jars.resolve("broker", tmp_path / "cache", java, environ={})) == 2
    assert _runs(tmp_path) == 3


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    java = _fake_ivy(tmp_path, f"sleep 0.5; {GOOD}")
    answers: list[list[Path]] = []

    def ask() -> None:
        answers.append(jars.resolve("broker", tmp_path / "cache", java, environ={}))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    assert answers[0] == answers[1] == answers[2]
    assert _runs(tmp_path) == 1


def _partial(tmp_path: Path) -> Path:
    """The folder of a fetch that is under way, as an interrupted run leaves it."""
    folder = tmp_path / "cache" / "jars" / f"broker-{jars._fingerprint('broker')}.partial"
    (folder / "lib").mkdir(parents=True)
    return folder


def test_a_jar_that_an_interrupted_run_left_is_not_taken_for_one_of_this_run(
    tmp_path: Path,
) -> None:
    java = _fake_ivy(tmp_path, GOOD)
    left = _partial(tmp_path) / "lib" / "of-another-version-1.jar"
    left.write_bytes((tmp_path / "source.jar").read_bytes())
    found = jars.resolve("broker", tmp_path / "cache", java, environ={})
    assert [jar.name for jar in found] == ["a-1.jar", "b-1.jar"]
    assert _runs(tmp_path) == 1


def test_a_failure_from_nothing_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(jars.JarsUnavailableError):
        jars.resolve("broker", tmp_path / "cache", _fake_ivy(tmp_path, "exit 1"), environ={})
    assert _runs(tmp_path) == 1


def test_jars_of_a_fetch_that_failed_are_not_used(tmp_path: Path) -> None:
    java = _fake_ivy(tmp_path, f"{GOOD}; exit 1")
    for _ in range(2):
        with pytest.raises(jars.JarsUnavailableError):
            jars.resolve("broker", tmp_path / "cache", java, environ={})
    assert [each.name for each in (tmp_path / "cache" / "jars").glob("*/manifest.json")] == []


@pytest.mark.parametrize("manifest", ["{}", '{"bytes_by_jar": {}}', "[]", '{"bytes_by_jar": 7}'])
def test_a_manifest_that_names_no_jar_is_none(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert jars.whole_jars(tmp_path) is None


def test_everything_that_ivy_writes_stays_below_the_cache(tmp_path: Path) -> None:
    keep = f'printf "%s\\n" "$@" > {tmp_path}/words; cp "$LIB"/../ivysettings.xml {tmp_path}/xml'
    java = _fake_ivy(tmp_path, f"{keep}; {GOOD}")
    jars.resolve("broker", tmp_path / "cache", java, environ={"HTTPS_PROXY": "http://proxy:81"})
    words = (tmp_path / "words").read_text().splitlines()
    root = tmp_path / "cache" / "jars"
    for option in ("-Duser.home=", "-Divy.home="):
        assert [word.startswith(f"{option}{root}/") for word in words if option in word] == [True]
    assert "-Dhttps.proxyHost=proxy" in words
    # Some jars are of the type that OSGi has; Ivy leaves them out unless told.
    assert words[words.index("-types") :][:3] == ["-types", "jar", "bundle"]
    assert f'defaultCacheDir="{root}/' in (tmp_path / "xml").read_text()
    assert [word for word in words if word.endswith((".xml", "[ext]"))] == [
        *(word for word in words if word.startswith(f"{root}/"))
    ]


def test_spark_asks_for_nothing_that_pyspark_brings(tmp_path: Path) -> None:
    excluded = re.findall(r'<exclude module="([^"]+)"', jars._module_xml("spark"))
    assert {"hadoop-client-api", "spark-core_2.12", "slf4j-api"} <= set(excluded)
    assert "<exclude" not in jars._module_xml("broker")


def test_another_pyspark_is_another_cache_entry_for_spark_and_the_same_for_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: tuple[jars.JarKind, ...] = ("spark", "broker")
    spark, broker = (jars._fingerprint(kind) for kind in kinds)
    (tmp_path / "spark-core_2.12-9.9.9.jar").touch()
    monkeypatch.setattr(jars, "bundled_jars_dir", lambda: tmp_path)
    assert jars._fingerprint("spark") != spark
    assert jars._fingerprint("broker") == broker


def test_jars_that_are_there_wait_for_no_other_fetch(tmp_path: Path) -> None:
    java = _fake_ivy(tmp_path, GOOD)
    first = jars.resolve("broker", tmp_path / "cache", java, environ={})
    with exclusive_lock(tmp_path / "cache" / "jars" / "broker.lock", 1.0):
        again = jars.resolve("broker", tmp_path / "cache", java, environ={}, timeout_seconds=0.0)
    assert again == first


def test_who_waits_for_another_fetch_in_vain_is_told_by_whom(tmp_path: Path) -> None:
    lock = tmp_path / "cache" / "jars" / "broker.lock"
    with (
        exclusive_lock(lock, 1.0),
        pytest.raises(LockHeldError, match=f"rocess {os.getpid()} .*has held {lock}"),
    ):
        jars.resolve("broker", tmp_path / "cache", _NO_JAVA, environ={}, timeout_seconds=0.2)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo 'Host nowhere.example not found. url=x'; exit 1", "cannot be reached.*HTTPS_PROXY"),
        ("echo ':: org.x#y;1.0: not found'; exit 1", r"does not have org\.x#y;1\.0"),
        ('echo broken > "$LIB/a-1.jar"', r"came damaged \(a-1\.jar\)"),
        ("echo something else; exit 3", "something else"),
        ("true", "could not be fetched"),
    ],
)
def test_a_failed_fetch_is_one_sentence(tmp_path: Path, script: str, sentence: str) -> None:
    with pytest.raises(jars.JarsUnavailableError, match=sentence):
        jars.resolve("broker", tmp_path / "cache", _fake_ivy(tmp_path, script), environ={})


def test_a_fetch_that_hangs_ends_at_its_deadline_and_leaves_no_process(tmp_path: Path) -> None:
    java = _fake_ivy(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 30")
    started = time.monotonic()
    with pytest.raises(jars.JarsUnavailableError, match="did not end in time"):
        jars.resolve("broker", tmp_path / "cache", java, environ={}, timeout_seconds=1.0)
    assert time.monotonic() - started < 10
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_what_came_before_a_deadline_is_kept_each_time(tmp_path: Path) -> None:
    java = _fake_ivy(tmp_path, "exec sleep 30")
    came = _partial(tmp_path) / "home" / "cache" / "came"
    came.parent.mkdir(parents=True)
    came.touch()
    with pytest.raises(jars.JarsUnavailableError, match="what came is kept"):
        jars.resolve("broker", tmp_path / "cache", java, environ={}, timeout_seconds=0.5)
    assert came.exists()
    assert _runs(tmp_path) == 1


def test_a_fetch_that_is_cancelled_leaves_no_process_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    java = _fake_ivy(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 30")
    cancelled = threading.Event()

    def cancel() -> None:
        deadline = time.monotonic() + 10
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        cancelled.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(jars.FetchCancelledError):
        jars.resolve("broker", tmp_path / "cache", java, environ={}, cancelled=cancelled)
    canceller.join()
    assert _runs(tmp_path) == 1
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_the_terminals_ctrl_c_does_not_reach_a_fetch(tmp_path: Path) -> None:
    """It goes to every process of the terminal's group; only we decide what becomes of Ivy."""
    script = f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; {GOOD}"
    java = _fake_ivy(tmp_path, script)
    fetching = threading.Thread(
        target=jars.resolve, args=("broker", tmp_path / "cache", java), kwargs={"environ": {}}
    )
    fetching.start()
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    ivy = int((tmp_path / "pid").read_text())
    groups = os.getpgid(ivy), os.getsid(ivy)
    (tmp_path / "go").touch()
    fetching.join(10)
    assert groups == (ivy, ivy)
    assert os.getpgid(0) != ivy


def test_a_java_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(jars.JarsUnavailableError, match="/nowhere/bin/java could not be started"):
        jars.resolve("broker", tmp_path / "cache", _NO_JAVA, environ={})


def test_other_coordinates_are_another_cache_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = _fake_ivy(tmp_path, GOOD)
    first = jars.resolve("broker", tmp_path / "cache", java, environ={})
    other = {**jars.COORDINATES, "broker": (jars.Coordinate("org.x", "y", "2"),)}
    monkeypatch.setattr(jars, "COORDINATES", other)
    assert jars.resolve("broker", tmp_path / "cache", java, environ={}) != first


def test_the_pyspark_that_is_installed_is_the_version_of_the_connector() -> None:
    bundled = {jar.name for jar in jars.bundled_jars_dir().glob("spark-core_*.jar")}
    assert bundled == {f"spark-core_2.12-{jars.SPARK_VERSION}.jar"}


@pytest.mark.stack
def test_spark_gets_only_what_pyspark_lacks(spark_jars: list[Path]) -> None:
    def module(jar: Path) -> str:
        return re.split(r"-\d", jar.name)[0]

    names = {module(jar) for jar in spark_jars}
    assert {
        "iceberg-spark-runtime",
        "spark-sql-kafka",
        "sqlite-jdbc",
        "kafka-clients",
        "commons-pool2",
    } <= names
    assert not names & {module(jar) for jar in jars.bundled_jars_dir().glob("*.jar")}


@pytest.mark.stack
def test_the_broker_gets_a_logging_binding(broker_jars: list[Path]) -> None:
    names = {jar.name for jar in broker_jars}
    assert f"kafka_2.13-{jars.KAFKA_VERSION}.jar" in names
    assert any(name.startswith("log4j-slf4j-impl") for name in names)
