"""retail_lakehouse: a real-time lakehouse for retail, with Dagster as its control plane."""
