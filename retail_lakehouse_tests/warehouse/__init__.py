"""Tests of the warehouse client and of the views through it."""
