"""A driver never outlives its JVM, whoever keeps the sockets between them open."""

import subprocess
import sys

DRIVER = """
import logging, socket, subprocess, sys
from types import SimpleNamespace
from retail_lakehouse.streaming import jvm_watch

logging.basicConfig(stream=sys.stderr, format="%(message)s")
jvm_watch.GRACE_SECONDS = 0.1
ours, theirs = socket.socketpair()
jvm = subprocess.Popen(["sleep", "0.3"])
spark = SimpleNamespace(sparkContext=SimpleNamespace(_gateway=SimpleNamespace(proc=jvm)))
jvm_watch.end_with_jvm(spark, "inventory")
ours.recv(1)  # whoever could answer is gone, and `theirs` stays open
"""


def test_a_driver_that_waits_for_a_jvm_that_is_gone_ends_and_says_so() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == "The JVM of inventory is gone. Start the job again.\n"
