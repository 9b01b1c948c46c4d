"""Spark as a resource: a session of dagster-pyspark, made when it is first used.

Here: what a session on one machine needs (Java, jars, the platform's catalog). Not here: what runs
in it. The streaming jobs do not use it: they are processes of their own.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from retail_lakehouse.resources.platform import PlatformResource

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from retail_lakehouse.streaming.session import SessionArguments


class SparkResource(PlatformResource):
    """Local Spark with the platform's catalog, to judge rows again or maintain tables."""

    @contextmanager
    def session(self, arguments: "SessionArguments") -> "Iterator[SparkSession]":
        """A session with the catalog that `arguments` name, stopped at the end of the block.

        It belongs in a run's own process: Java and jars are told to PySpark by environment
        variables, which are set here.

        Raises:
            JavaNotFoundError: there is no Java 17.
            JarsUnavailableError: Spark's jars are neither cached nor to be had.
        """
        from dagster_pyspark import LazyPySparkResource

        from retail_lakehouse.local.jars import resolve
        from retail_lakehouse.local.java import find_java
        from retail_lakehouse.local.spark import spark_environment
        from retail_lakehouse.streaming.session import session_config

        settings = self.platform()
        java = find_java(os.environ)
        jars = resolve("spark", settings.cache, java)
        os.environ.update(spark_environment(settings, java, jars))
        # TZ is among them: PySpark turns timestamps into Python's by the process's own zone.
        time.tzset()
        config = session_config(arguments)
        session: SparkSession = LazyPySparkResource(spark_config=config).spark_session
        try:
            yield session
        finally:
            session.stop()
