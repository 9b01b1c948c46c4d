"""Rules of the streaming jobs' environment: it is the same wherever the clone lies."""

from __future__ import annotations

import shlex
from pathlib import Path

from retail_lakehouse.local.java import JavaHome
from retail_lakehouse.local.spark import spark_environment
from retail_lakehouse.settings import Settings


def test_paths_with_spaces_and_quotes_reach_spark_whole(tmp_path: Path) -> None:
    folder = tmp_path / "my project's files"
    jars = [folder / "cache" / "a.jar", folder / "cache" / "b.jar"]
    settings = Settings.load({"state_dir": folder / "state"})
    environment = spark_environment(
        settings, JavaHome(folder / "java", "JAVA_HOME", "17.0.9"), jars
    )
    words = shlex.split(environment["PYSPARK_SUBMIT_ARGS"])
    assert words[-1] == "pyspark-shell"
    assert set(words[:-1:2]) == {"--conf"}
    options = dict(word.split("=", 1) for word in words[1:-1:2])
    assert options["spark.jars"].split(",") == [str(jar) for jar in jars]
    assert options["spark.local.dir"] == str(folder / "state" / "run" / "spark")
    java_options = shlex.split(options["spark.driver.extraJavaOptions"])
    assert java_options[-1] == f"-Djava.io.tmpdir={folder / 'state' / 'run' / 'spark'}"
    assert all(option.startswith("-") for option in java_options)
