"""Glue job: one maintenance task over the Iceberg tables, beside their streaming jobs."""

import sys

from retail_lakehouse.maintenance.job import run_maintenance

if __name__ == "__main__":
    sys.exit(run_maintenance(sys.argv[1:]))
