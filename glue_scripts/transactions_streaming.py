"""Glue streaming job: the transactions topic into its two Iceberg tables."""

import sys

from retail_lakehouse.streaming.driver import run_streaming_job

if __name__ == "__main__":
    sys.exit(run_streaming_job("transactions", sys.argv[1:]))
