"""Rules of whether a process is the recorded one: by its boot and tick, else by the clock."""

import os
import subprocess
import sys
from dataclasses import replace

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.local.process_record import birth_of, record_of


def test_a_process_of_another_boot_is_neither_the_recorded_one_nor_a_later_one() -> None:
    own = record_of(os.getpid(), {})
    process = psutil.Process()
    assert own.is_that(process)
    assert own.is_not_younger_than(process)
    if own.birth is None:
        pytest.skip("This system counts no ticks from its boot.")
    rebooted = replace(own, birth=replace(own.birth, boot_id="another boot"))
    assert not rebooted.is_that(process)
    assert not rebooted.is_not_younger_than(process)
    earlier = replace(own, birth=replace(own.birth, ticks=own.birth.ticks - 1))
    assert not earlier.is_that(process)
    assert earlier.is_not_younger_than(process)
    later = replace(own, birth=replace(own.birth, ticks=own.birth.ticks + 1))
    assert not later.is_not_younger_than(process)


@pytest.mark.parametrize(
    "moved_seconds, is_that, is_not_younger",
    [
        (0.0, True, True),
        (1.0, True, True),
        (-1.0, True, True),
        (5.0, False, False),
        (-5.0, False, True),
    ],
)
def test_where_only_the_clock_is_known_it_may_have_been_set_a_little(
    moved_seconds: float, is_that: bool, is_not_younger: bool
) -> None:
    own = record_of(os.getpid(), {})
    by_clock = replace(own, birth=None, create_time=own.create_time + moved_seconds)
    process = psutil.Process()
    assert by_clock.is_that(process) is is_that
    assert by_clock.is_not_younger_than(process) is is_not_younger


def test_a_birth_is_the_tick_at_which_the_process_started() -> None:
    birth = birth_of(os.getpid())
    if birth is None:
        pytest.skip("This system counts no ticks from its boot.")
    since_boot = psutil.Process().create_time() - psutil.boot_time()
    assert birth.ticks / os.sysconf("SC_CLK_TCK") == pytest.approx(since_boot, abs=2.0)


def test_a_process_that_is_gone_has_no_birth() -> None:
    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    assert birth_of(ended.pid) is None


def test_a_birth_is_read_past_whatever_name_the_process_has() -> None:
    program = (
        "print('started', flush=True)\n"
        "input()\n"
        "open('/proc/self/comm', 'w').write('a) S 1 2')\n"
        "print('named', flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        before = birth_of(child.pid)
        if before is not None:
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "named\n"
            assert birth_of(child.pid) == before
        child.kill()
