"""Tests of what stands in for AWS on one machine."""
