"""What is counted under paging= does not depend on what the host does meanwhile: it stops QEMU and
lets it go at random, has other work to do, or asks QEMU over QMP all the time.

tlbtrace.S walks about in pages of all sizes.  full/test_paging_linux.py does the
same with Linux.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

from support import SLOWER, Guest, x86_image
from test_paging import Configured

QUERIES = ("query-paging", {}), ("query-status", {}), ("query-vsched", {}), ("query-dsp", {}), \
    ("query-stats", {"target": "vcpu"}), ("human-monitor-command", {"command-line": "info paging"})


@contextlib.contextmanager
def stops(guest):
    """SIGSTOP and SIGCONT, each for up to 20 ms; yields a list of the stops"""
    over, done = threading.Event(), []
    pid = guest.get_pid()

    def run():
        moments = random.Random(1)
        while not over.wait(moments.uniform(0, 0.02)):
            os.kill(pid, signal.SIGSTOP)
            done.append(time.monotonic())
            time.sleep(moments.uniform(0, 0.02))
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def load(_guest):
    """Processes that do nothing but use up time, one more than there are processors"""
    with contextlib.ExitStack() as stack:
        for _ in range((os.cpu_count() or 1) + 1):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        yield [None]


@contextlib.contextmanager
def nothing(_guest):
    yield [None]


def wait_end(guest, asks, timeout):
    """Until the guest has switched itself off; the number of queries that QEMU answered before"""
    end = time.monotonic() + timeout * SLOWER
    asked = 0
    if not asks:
        guest.event_wait("SHUTDOWN", timeout=timeout * SLOWER)
    while asks:
        if guest.cmd("query-status")["status"] == "shutdown":
            break
        for command, arguments in QUERIES:
            answer = guest.qmp(command, arguments)
            assert "return" in answer, answer
            asked += 1
        assert time.monotonic() < end, "the guest did not end"
    return asked


def outcome(guest, disturbs, asks, timeout):
    """(all counters and the console, stops or the like, queries)"""
    guest.cmd("cont")
    with disturbs(guest) as done:
        asked = wait_end(guest, asks, timeout)
    return (guest.cmd("query-paging"), guest.cmd("query-dsp"), guest.stats(), guest.console), \
        len(done), asked


class BareMetal(Configured):
    timeout = 600

    def setUp(self):
        super().setUp()
        self.rom = x86_image("tlbtrace.S", os.path.join(self.dir, "rom"), "-DSEED=3",
                             "-DSTEPS=200000")

    def run_it(self, paging, disturbs, asks):
        with Guest("-S", "-M", "q35", "-nodefaults", "-cpu", "max", "-m", "256", "-bios",
                   self.rom, "-no-shutdown", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                   "-accel", f"tcg,thread=vsched,pcpus=1,paging={paging}",
                   arch="x86_64") as guest:
            return outcome(guest, disturbs, asks, 300)

    def test_same_counters(self):
        for paging in "native", "nested", "shadow", "agile":
            first, _, _ = self.run_it(paging, nothing, False)
            misses = {c["name"]: c["privileged"] for c in first[0][0]["counters"]}
            self.assertGreater(misses["dtlb-misses"], 50_000)
            for disturbs, asks in (stops, False), (load, False), (nothing, True), (stops, True):
                with self.subTest(paging=paging, disturbs=disturbs.__name__, asks=asks):
                    found, stopped, asked = self.run_it(paging, disturbs, asks)
                    self.assertEqual(found, first)
                    self.assertGreater(stopped, 5 if disturbs is stops else 0)
                    self.assertGreaterEqual(asked, len(QUERIES) if asks else 0)


if __name__ == "__main__":
    unittest.main()
