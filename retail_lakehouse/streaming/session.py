"""The Spark session of a job.

Here: the configuration that must stand before the context starts. Not here: what runs in it.
Where the machine matters (master, heap, jars) the launcher says so: Glue by its job definition,
one machine by `local/spark.py`.
"""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Spark warns at every fetch that a Python worker reads Kafka from a thread of its own; the
# interruption it fears is a query's stop, after which the process ends anyway.
_QUIET_LOGGERS = ("org.apache.spark.sql.kafka010.consumer.KafkaDataConsumer",)


class SessionArguments(Protocol):
    """What a job's arguments say of its session, a streaming job's or maintenance's."""

    @property
    def job_name(self) -> str:
        """Name of the application."""
        ...

    @property
    def catalog_name(self) -> str:
        """Name under which the session has the catalog."""
        ...

    @property
    def catalog_uri(self) -> str:
        """JDBC address of the local catalog; empty for the Glue Data Catalog."""
        ...

    @property
    def warehouse(self) -> str:
        """Root of the tables."""
        ...


def session_config(arguments: SessionArguments) -> dict[str, str]:
    """Spark configuration of every session that touches the platform's tables."""
    catalog = f"spark.sql.catalog.{arguments.catalog_name}"
    config = {
        "spark.app.name": arguments.job_name,
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.warehouse": arguments.warehouse,
        # The batch's session has a table cache of its own: a cached table would hide commits.
        f"{catalog}.cache-enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.streaming.stopTimeout": "8s",
        "spark.sql.streaming.minBatchesToRetain": "10",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
        "spark.ui.showConsoleProgress": "false",
        # A stream runs some ten of these a batch, and the thousand of each that Spark keeps by
        # itself, plans included, are heap that nobody reads: figures are in the marks.
        "spark.sql.ui.retainedExecutions": "20",
        "spark.ui.retainedJobs": "20",
        "spark.ui.retainedStages": "20",
        "spark.ui.retainedTasks": "200",
    }
    if arguments.catalog_uri:
        return config | {
            f"{catalog}.type": "jdbc",
            f"{catalog}.uri": arguments.catalog_uri,
            f"{catalog}.jdbc.schema-version": "V1",
            # The look for its own tables leaves a result set open, and with it a read transaction:
            # once another job has committed, a commit fails with SQLITE_BUSY_SNAPSHOT.
            f"{catalog}.jdbc.init-catalog-tables": "false",
        }
    return config | {
        f"{catalog}.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
        f"{catalog}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
    }


def spark_session(arguments: SessionArguments) -> "SparkSession":
    """A session whose catalog `arguments.catalog_name` holds the platform's tables."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for key, value in session_config(arguments).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    jvm: Any = spark._jvm
    log4j = jvm.org.apache.logging.log4j
    for name in _QUIET_LOGGERS:
        log4j.core.config.Configurator.setLevel(name, log4j.Level.ERROR)
    return spark
