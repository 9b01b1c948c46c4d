"""Tests, mirroring the package; each is named after the rule it locks."""
