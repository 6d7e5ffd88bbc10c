"""The same command line is the same run: whatever the host is doing, however
slow its disks are.  docs/determinism.rst is the contract.

A run is what the console said, every counter of query-stats, and the guest's
memory at the end (SHA-256), all taken when the guest has powered off.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
import unittest

from support import Guest, linux

MEMORY = 256        # MiB
MACHINE = ("-M", "cmp,pcpus=2,vcpus=4")


@contextlib.contextmanager
def host_load(processes=2):
    """Processes that do nothing but keep the host's processors busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def qcow2(path, mib):
    """An empty image, made by QEMU itself: no tools are needed."""
    with Guest("-M", "none", "-nodefaults") as maker:
        def job(**options):
            maker.cmd("blockdev-create", job_id="make", options=options)
            maker.event_wait("JOB_STATUS_CHANGE", match={"data": {"status": "concluded"}})
            jobs = maker.cmd("query-jobs")
            if "error" in jobs[0]:
                raise AssertionError(jobs[0]["error"])
            maker.cmd("job-dismiss", id="make")

        job(driver="file", filename=path, size=0)
        maker.cmd("blockdev-add", driver="file", filename=path, node_name="file")
        job(driver="qcow2", file="file", size=mib << 20)
    return path


def disks(directory, *throttle, new=True):
    """Arguments: an IDE disk and a virtio disk, both qcow2, new and empty."""
    out = list(throttle)
    for name in "ide", "virtio":
        path = os.path.join(directory, f"{name}.qcow2")
        if new:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
            qcow2(path, 4)
        file = f"driver=file,filename={path},node-name={name}-file"
        node = f"{name}-file"
        out += ["-blockdev", file]
        if throttle:
            out += ["-blockdev", f"driver=throttle,throttle-group=slow,file={node},"
                    f"node-name={name}-slow"]
            node = f"{name}-slow"
        out += ["-blockdev", f"driver=qcow2,file={node},node-name={name}"]
    return [*out, "-device", "ide-hd,drive=ide,bus=ide.0",
            "-device", "virtio-blk-pci,drive=virtio,bus=pciB"]


class Run:
    """A guest from power-on to power-off, and what is compared of it."""

    def __init__(self, workload, *args, append="", meanwhile=None, timeout=600):
        with Guest(*MACHINE, *linux(workload, append, memory=str(MEMORY)), "-no-shutdown",
                   *args) as guest:
            if meanwhile:
                meanwhile(guest)
            if not guest.event_wait("SHUTDOWN", timeout=timeout * float(
                    os.environ.get("TEST_SLOWER") or 1)):
                raise AssertionError(f"no power-off in {timeout} s:\n{guest.last_words()}")
            guest.wait_console("reboot: Power down", timeout=20)
            self.words = guest.last_words()
            self.console = guest.console
            self.statistics = guest.stats()
            core = os.path.join(guest.dir, "memory")
            guest.cmd("pmemsave", val=0, size=MEMORY << 20, filename=core)
            with open(core, "rb") as f:
                self.memory = hashlib.sha256(f.read()).hexdigest()
            os.remove(core)


class Determinism(unittest.TestCase):
    timeout = 2400

    def assert_same(self, one, other):
        self.assertEqual(one.console.splitlines(), other.console.splitlines())
        self.assertEqual(one.statistics, other.statistics)
        self.assertEqual(one.memory, other.memory)

    def assert_worked(self, run, workload):
        self.assertIn(f"workload {workload}: exit 0", run.console, run.words)
        self.assertTrue(run.statistics, "no statistics of provider vsched")

    def test_a_loaded_host_changes_nothing_but_another_seed_does(self):
        first = Run("forkstorm", append="forkstorm.children=4")
        self.assert_worked(first, "forkstorm")
        with host_load():
            second = Run("forkstorm", append="forkstorm.children=4")
        self.assert_same(first, second)
        # Of two PCPUs, seed 3 draws another to be first than seed 1, the default.
        other = Run("forkstorm", "-seed", "3", append="forkstorm.children=4")
        self.assert_worked(other, "forkstorm")
        self.assertNotEqual(first.statistics, other.statistics)

    def test_a_slow_disk_changes_nothing(self):
        with Guest("-M", "none") as scratch:
            directory = scratch.dir
        quick = Run("disks", *disks(directory), append="disks.kib=64 disks.rounds=1")
        self.assert_worked(quick, "disks")
        self.assertRegex(quick.console, "disks: .*sda.*vda.*: 1 rounds of 64 KiB read back")
        images = self.images(directory)
        # 150 requests a second on the host: each takes some 7 ms, the guest
        # sees 100 us (disk-latency)
        with host_load(1):
            slow = Run("disks", *disks(directory, "-object",
                                            "throttle-group,id=slow,x-iops-total=150"),
                       append="disks.kib=64 disks.rounds=1")
        self.assert_same(quick, slow)
        self.assertEqual(images, self.images(directory))

    def test_stopping_and_saving_change_nothing_and_what_was_saved_goes_on(self):
        with Guest("-M", "none") as scratch:
            directory = scratch.dir
        workload = {"append": "disks.kib=64 disks.rounds=3"}

        def interrupt(guest):
            """In the middle of disk I/O, at moments that the host chooses."""
            guest.wait_console("workload disks")
            for number in range(3):
                time.sleep(0.1)
                guest.cmd("stop")
                guest.cmd("cont")
                # Runs on until no request is in flight, and is saved there.
                said = guest.cmd("human-monitor-command", command_line=f"savevm s{number}")
                self.assertEqual(said, "")

        left_alone = Run("disks", *disks(directory), **workload)
        self.assert_worked(left_alone, "disks")
        interrupted = Run("disks", *disks(directory), meanwhile=interrupt, **workload)
        self.assert_same(left_alone, interrupted)

        loaded = Run("disks", *disks(directory, new=False), "-loadvm", "s1", **workload)
        self.assertTrue(loaded.console, "nothing was printed after loadvm")
        self.assertTrue(left_alone.console.endswith(loaded.console), loaded.words)
        self.assertEqual(left_alone.statistics, loaded.statistics)
        self.assertEqual(left_alone.memory, loaded.memory)

    @staticmethod
    def images(directory):
        """SHA-256 of each image: clusters are allocated in the same order."""
        out = {}
        for name in "ide", "virtio":
            with open(os.path.join(directory, f"{name}.qcow2"), "rb") as f:
                out[name] = hashlib.sha256(f.read()).hexdigest()
        return out


if __name__ == "__main__":
    unittest.main()
