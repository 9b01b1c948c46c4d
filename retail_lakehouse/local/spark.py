"""How one machine runs a Glue script: the same file, local Spark.

Here: the command line and environment of a streaming job's process. Not here: starting it
(`supervisor.py`). What Glue's job definition says about machine, heap and jars is said here.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.local.java import JAVA_LOCALE, JavaHome
from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.settings import Settings

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class JobCommand:
    """What starts one job: argument vector and whole environment."""

    argv: list[str]
    env: dict[str, str]


def job_command(
    settings: Settings,
    event: str,
    java: JavaHome,
    jars: Sequence[Path],
    environ: Mapping[str, str] = os.environ,
) -> JobCommand:
    """The command of the event's streaming job."""
    script = _PACKAGE_ROOT / "glue_scripts" / f"{event}_streaming.py"
    argv = [sys.executable, str(script), *job_arguments(settings, event).to_argv()]
    return JobCommand(argv, dict(environ) | spark_environment(settings, java, jars))


def spark_environment(settings: Settings, java: JavaHome, jars: Sequence[Path]) -> dict[str, str]:
    """Environment variables under which PySpark starts local Spark with the platform's jars."""
    temporary = settings.root / "run" / "spark"
    temporary.mkdir(parents=True, exist_ok=True)
    options = {
        "spark.master": f"local[{settings.spark_cores}]",
        "spark.driver.memory": f"{settings.spark_heap_mb}m",
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.ui.enabled": "false",
        # One machine and small batches: planning a shuffle anew costs more than it saves.
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.adaptive.enabled": "false",
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.local.dir": str(temporary),
        "spark.driver.extraJavaOptions": shlex.join(
            (*_JAVA_OPTIONS, f"-Djava.io.tmpdir={temporary}")
        ),
    }
    # PySpark splits the line as a shell would, Spark the Java options once more; a path has spaces.
    arguments = [word for each in options.items() for word in ("--conf", "=".join(each))]
    return {
        **JAVA_LOCALE,
        "JAVA_HOME": str(java.path),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": shlex.join((*arguments, "pyspark-shell")),
        "PYTHONPATH": str(_PACKAGE_ROOT),
        "SPARK_LOCAL_IP": LOOPBACK,
        "TZ": "UTC",
        # Two threads of each of these libraries are enough, and every arena costs memory.
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


# Serial collection and few compiler threads: three of these JVMs share a small machine.
_JAVA_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:CICompilerCount=2",
    "-XX:MaxMetaspaceSize=320m",
    "-XX:ReservedCodeCacheSize=128m",
    "-Xss512k",
)
