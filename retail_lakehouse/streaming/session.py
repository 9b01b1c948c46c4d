"""The Spark session of a job.

Here: the configuration that must stand before the context starts. Not here: what runs in it.
Where the machine matters (master, heap, jars) the launcher says so: Glue by its job definition,
one machine by `local/spark.py`.
"""

from typing import Any

from pyspark.sql import SparkSession

from retail_lakehouse.streaming.arguments import JobArguments


def spark_session(arguments: JobArguments) -> SparkSession:
    """A session whose catalog `arguments.catalog_name` holds the platform's tables."""
    catalog = f"spark.sql.catalog.{arguments.catalog_name}"
    builder = (
        SparkSession.builder.appName(arguments.job_name)
        .config(
            "spark.sql.extensions",
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        )
        .config(catalog, "org.apache.iceberg.spark.SparkCatalog")
        .config(f"{catalog}.warehouse", arguments.warehouse)
        # The batch's session has a table cache of its own: a cached table would hide commits.
        .config(f"{catalog}.cache-enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", "true")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.streaming.stopTimeout", "8s")
        .config("spark.sql.streaming.minBatchesToRetain", "10")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20000")
        .config("spark.ui.showConsoleProgress", "false")
    )
    if arguments.catalog_uri:
        builder = (
            builder.config(f"{catalog}.type", "jdbc")
            .config(f"{catalog}.uri", arguments.catalog_uri)
            .config(f"{catalog}.jdbc.schema-version", "V1")
        )
    else:
        builder = builder.config(
            f"{catalog}.catalog-impl", "org.apache.iceberg.aws.glue.GlueCatalog"
        ).config(f"{catalog}.io-impl", "org.apache.iceberg.aws.s3.S3FileIO")
    spark = builder.getOrCreate()
    _quiet(spark)
    return spark


# A Python worker reads Kafka from a thread that Spark warns of at every batch; the interruption it
# fears is a query's stop, after which the process ends anyway.
_NOISY_LOGGERS = {"org.apache.spark.sql.kafka010.KafkaDataConsumer": "ERROR"}


def _quiet(spark: SparkSession) -> None:
    spark.sparkContext.setLogLevel("WARN")
    jvm: Any = spark._jvm
    log4j = jvm.org.apache.logging.log4j
    for name, level in _NOISY_LOGGERS.items():
        log4j.core.config.Configurator.setLevel(name, log4j.Level.valueOf(level))
