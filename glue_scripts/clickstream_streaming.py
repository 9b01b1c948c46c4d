"""Glue streaming job: the clickstream topic into its two Iceberg tables."""

import sys

from retail_lakehouse.streaming.driver import run_streaming_job

if __name__ == "__main__":
    sys.exit(run_streaming_job("clickstream", sys.argv[1:]))
