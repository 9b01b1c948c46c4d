"""Tests of retail_lakehouse.kafka."""
