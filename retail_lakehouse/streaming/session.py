"""The Spark session of a job.

Here: the configuration that must stand before the context starts. Not here: what runs in it.
Where the machine matters (master, heap, jars) the launcher says so: Glue by its job definition,
one machine by `local/spark.py`.
"""

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
    return builder.getOrCreate()
