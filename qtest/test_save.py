"""Saving and resetting a machine in the middle of a load.

A program without an operating system (guests/bare-metal) is stopped somewhere
in the middle, saved to a file, and goes on; another QEMU starts from the file.
Both have to end as the run that nobody ever stopped: the same console, the
same counters.  Where the stop falls depends on the host; the end may not.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import tempfile
import time
import unittest

from support import GUEST_FAULTS, GUESTS, SLOWER, Guest, linux, x86_mov, x86_rom
from test_determinism import qcow2

SMALL = "cmp,pcpus=2,vcpus=4,sched=sdb"


def elf(name):
    return os.path.join(GUESTS, "bare-metal", name + ".elf")


def program(name, machine, parameters, *more):
    """Arguments that run a bare-metal program, whose QEMU stays at its end."""
    return ["-nodefaults", "-M", machine, "-bios", elf(name),
            "-fw_cfg", f"name=opt/args,string= {parameters}", "-no-shutdown", *more]


def end(guest, timeout=60):
    """Let the program end: (console, counters)."""
    guest.event_wait("SHUTDOWN", timeout=timeout * SLOWER)
    guest.wait_console(r"\}\n", timeout=20)
    return guest.console, guest.stats()


def wait_for(guest, insns, timeout=40):
    """Wait until so many instructions have been committed; how many have."""
    deadline = time.monotonic() + timeout * SLOWER
    while True:
        now = sum(v for k, v in guest.stats()["vm"].items() if k.startswith("vcpu-insns-"))
        if now >= insns:
            return now
        if time.monotonic() > deadline:
            raise AssertionError(f"{now} instructions in {timeout} s, {insns} were awaited")
        time.sleep(0.01)


def wait_migrated(guest, timeout=40):
    deadline = time.monotonic() + timeout * SLOWER
    while True:
        state = guest.cmd("query-migrate")
        if state.get("status") == "completed":
            return
        if state.get("status") == "failed" or time.monotonic() > deadline:
            raise AssertionError(f"migration: {state}")
        time.sleep(0.02)


def snapshot(guest, what, tag, nodes):
    """snapshot-save or snapshot-load of these disks, and of the machine into the first."""
    guest.cmd(f"snapshot-{what}", job_id=tag, tag=tag, vmstate=nodes[0], devices=list(nodes))
    guest.event_wait("JOB_STATUS_CHANGE", timeout=60 * SLOWER,
                     match={"data": {"id": tag, "status": "concluded"}})
    errors = [job["error"] for job in guest.cmd("query-jobs") if "error" in job]
    guest.cmd("job-dismiss", id=tag)
    if errors:
        raise AssertionError(errors)


def save(guest, path):
    guest.cmd("migrate", uri=f"file:{path}")
    wait_migrated(guest)


def load(guest, path):
    guest.cmd("migrate-incoming", uri=f"file:{path}", exit_on_error=False)
    wait_migrated(guest)


class Continues:
    """For TestCases: a run that is saved goes on as the one that nobody stopped."""

    def check(self, name, machine, parameters, at, look=lambda guest: None):
        """Stop after about 'at' instructions, save, go on; and load."""
        arguments = program(name, machine, parameters)
        with Guest(*arguments) as guest:
            console, counters = end(guest)
        self.assertTrue(json.loads(console)["ok"], console)
        with Guest(*arguments) as saved:
            wait_for(saved, at)
            saved.cmd("stop")
            self.assertEqual(saved.cmd("query-status")["status"], "paused")
            path = os.path.join(saved.dir, "state")
            save(saved, path)
            middle = saved.stats()
            look(saved)
            self.assertNotEqual(middle, counters)
            before = saved.console
            saved.cmd("cont")
            self.assertEqual(end(saved), (console, counters))
            with Guest(*arguments, "-incoming", "defer", "-S") as loaded:
                load(loaded, path)
                self.assertEqual(loaded.stats(), middle)
                loaded.cmd("cont")
                after, loaded_counters = end(loaded)
            self.assertEqual(before + after, console)
            self.assertEqual(loaded_counters, counters)


class Save(Continues, unittest.TestCase):
    timeout = 300

    def test_in_the_middle_of_lock_waits_under_sdb(self):
        self.check("ticket", SMALL, "rounds=50000", 5_000_000)

    def test_in_the_middle_of_lock_waits_under_timeslice(self):
        self.check("tas", "cmp,pcpus=2,vcpus=4,sched=timeslice", "rounds=50000", 2_000_000)

    def test_in_the_middle_of_user_mode(self):
        """A new QEMU's VCPUs are privileged until they are loaded: none may be counted,
        or judged by its SDB, as what it was."""
        with Guest(*program("tas", SMALL, "rounds=60000 user=1"), "-S") as guest:
            guest.cmd("vsched-stop", at=5_000_000)      # its begin is privileged, for 0.3 ms
            guest.cmd("cont")
            guest.event_wait("STOP", timeout=40 * SLOWER)
            now = guest.stats()["vm"]
            self.assertGreater(now["vcpu-insns-user"], 20 * now["vcpu-insns-privileged"] // 10)
            self.assertGreater(now["pcpu-sdb-spins-user"], 0)
        for at in (2_000_000, 7_000_000):
            self.check("tas", SMALL, "rounds=60000 user=1", at)

    def test_in_the_middle_of_cross_calls_of_24_vcpus(self):
        self.check("crosscall", "cmp8,vcpus=24,sched=sdb", "rounds=2", 1_500_000)

    def test_what_was_changed_while_running_comes_along(self):
        """Into a QEMU that was given nothing of it."""
        changes = [("/vsched", "sched", "timeslice"), ("/vsched/policy", "slice", "20us"),
                   ("/vsched", "switch-cost", 100), ("/vsched", "skip", "10us"),
                   ("/vsched", "disk-latency", "1ms")]
        for sdb, change in ((True, ("/vsched/sdb[1]", "period", 100)),
                            (False, ("/vsched", "sdb", False))):
            with self.subTest(sdb=sdb), \
                    Guest(*program("tas", "cmp,pcpus=2,vcpus=4", "rounds=50000")) as saved:
                wait_for(saved, 100_000)
                saved.cmd("stop")
                for path, name, value in (*changes, change):
                    saved.cmd("qom-set", path=path, property=name, value=value)
                saved.cmd("cont")
                wait_for(saved, wait_for(saved, 0) + 100_000)
                saved.cmd("stop")
                path = os.path.join(saved.dir, "state")
                save(saved, path)
                before = saved.console
                saved.cmd("cont")
                console, counters = end(saved)
                with Guest(*program("tas", "cmp,pcpus=2,vcpus=4", "rounds=50000"),
                           "-incoming", "defer", "-S") as loaded:
                    load(loaded, path)
                    for where, name, value in (*changes, change):
                        self.assertEqual(loaded.cmd("qom-get", path=where, property=name), value,
                                         name)
                    loaded.cmd("cont")
                    after, loaded_counters = end(loaded)
                self.assertEqual(before + after, console)
                self.assertEqual(loaded_counters, counters)

    def test_changes_at_the_time_of_the_save(self):
        """What happens at the end of the window in which the machine stops: VCPUs have to leave PCPUs
        that are a block short of that end; gang takes over while one of another VM has waited longest.
        All counters are the same after the load, and 200 us later those of a run that nobody saved."""
        machine = "cmp,pcpus=4,vcpus=12,vms=4+4+4,window="
        to_next = [("vsched-set-affinity", {"vcpu": v, "pcpus": [(v + 1) % 4]}) for v in range(12)]
        for window, time, changes in (
                ("20us", 620000, to_next), ("1us", 603000, to_next),
                ("10us", 700000, [("vsched-move", {"vcpu": v, "pcpu": v % 3}) for v in range(6)]),
                ("1us", 700000, [("vsched-set-pcpu", {"pcpu": 1, "online": False})]),
                ("1us", 959000, [("vsched-set-policy", {"policy": "gang"})])):
            with self.subTest(window=window, changes=changes), \
                    tempfile.NamedTemporaryFile() as file:
                arguments = program("tas", machine + window, "rounds=20000", "-S")
                with Guest(*arguments) as guest:
                    for command, values in changes:
                        guest.cmd(command, **values, at=time)
                    stats = self.run_to(guest, time)
                    save(guest, file.name)
                    whole = self.run_to(guest, time + 200000)
                with Guest(*arguments, "-incoming", "defer") as guest:
                    load(guest, file.name)
                    self.assertEqual(guest.stats(), stats)
                    self.assertEqual(self.run_to(guest, time + 200000), whole)

    @staticmethod
    def run_to(guest, time):
        guest.cmd("vsched-stop", at=time)
        guest.cmd("cont")
        guest.event_wait("STOP", timeout=60 * SLOWER)
        return guest.stats()

    def test_other_machines_are_refused(self):
        with Guest(*program("ticket", SMALL, "rounds=50000")) as saved:
            wait_for(saved, 100_000)
            saved.cmd("stop")
            path = os.path.join(saved.dir, "state")
            save(saved, path)
            for here, why in (("pcpus=2,vcpus=3", "vcpus=4, this machine vcpus=3"),
                              ("pcpus=2,vcpus=4,clock-hz=20000000",
                               "clock-hz=1000000000, .* clock-hz=20000000"),
                              ("pcpus=2,vcpus=4,shared-tick=off",
                               "shared-tick=on, .* shared-tick=off")):
                with self.subTest(here=here), \
                        Guest(*program("ticket", f"cmp,{here},sched=sdb", "rounds=50000"),
                              "-incoming", "defer", "-S") as other:
                    with self.assertRaisesRegex(AssertionError, "failed"):
                        load(other, path)
                    self.assertRegex(other.last_words(), why)

    def pauses(self, guest, why):
        """The guest was continued with a state that it cannot go on from."""
        deadline = time.monotonic() + 20 * SLOWER
        while guest.cmd("query-status")["status"] != "paused":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertIn(why, guest.last_words())

    def refused(self, guest, why):
        """And nothing of it has run."""
        self.pauses(guest, why)
        self.assertEqual(guest.stats()["vm"]["windows"], 0)
        # Nor can it be saved, and so loaded without a word.
        guest.cmd("migrate", uri=f"file:{os.path.join(guest.dir, 'stale')}")
        with self.assertRaisesRegex(AssertionError, "failed"):
            wait_migrated(guest)
        self.assertIn("the machine cannot be saved", guest.last_words())

    def test_a_state_without_the_engine_does_not_run(self):
        """Its devices are at another time than the PCPUs.  A reset makes a machine of it."""
        arguments = ["-nodefaults", "-M", "sun4u", "-vga", "none"]
        engine = [*arguments, "-accel", "tcg,thread=vsched,pcpus=1", "-action", "reboot=reset"]
        with Guest(*arguments, "-accel", "tcg,thread=single") as saved:
            saved.cmd("stop")
            path = os.path.join(saved.dir, "state")
            save(saved, path)
            with Guest(*engine, "-incoming", "defer", "-S") as loaded:
                load(loaded, path)
                for _ in range(2):
                    loaded.cmd("cont")
                    self.refused(loaded, "saved without thread=vsched")
                loaded.cmd("system_reset")
                loaded.cmd("cont")
                wait_for(loaded, 100_000)


class Random(unittest.TestCase):
    """Random numbers that the guest draws after it was saved are those that it would have
    drawn.  The guest is 64 kB of ROM for x86 that prints a letter of each RDRAND."""
    timeout = 100
    numbers = 2000

    def arguments(self, rom):
        return ["-M", "q35", "-nodefaults", "-cpu", "qemu64,+x2apic,+rdrand", "-no-shutdown",
                "-accel", "tcg,thread=vsched,pcpus=1", "-bios", rom]

    @staticmethod
    def rom(numbers):
        return x86_rom([], [], [
            x86_mov("ecx", numbers),
            b"\x66\x0f\xc7\xf0",                       # 1: rdrand %eax
            b"\x24\x0f\x04\x61",                       # and $15, %al; add $'a', %al
            b"\xba\xf8\x03\xee",                       # mov $0x3f8, %dx; out %al, %dx
            b"\x66\xb8\x50\xc3\x00\x00",             # mov $50000, %eax
            b"\x66\x48\x75\xfc",                       # 2: dec %eax; jnz 2b
            b"\x66\x49\x75\xe6",                       # dec %ecx; jnz 1b
            b"\x2e\x0f\x01\x1e\x00\x02\xcc"])         # lidt %cs:0x200 (none); int3: reset

    def test_rdrand(self):
        with tempfile.NamedTemporaryFile(suffix=".rom") as file:
            file.write(self.rom(self.numbers))
            file.flush()
            arguments = self.arguments(file.name)

            def rest(guest):
                self.assertTrue(guest.event_wait("SHUTDOWN", timeout=60 * SLOWER))
                return guest.console

            with Guest(*arguments, arch="x86_64") as guest:
                alone = rest(guest)
            self.assertRegex(alone, f"^[a-p]{{{self.numbers}}}$")
            self.assertEqual(len(set(alone)), 16)
            with Guest(*arguments, "-seed", "2", arch="x86_64") as guest:
                self.assertNotEqual(rest(guest), alone)
            with Guest(*arguments, arch="x86_64") as saved:
                saved.wait_console("[a-p]{20}")
                saved.cmd("stop")
                path = os.path.join(saved.dir, "state")
                save(saved, path)
                before = saved.console
                self.assertLess(len(before), self.numbers)
                saved.cmd("cont")
                self.assertEqual(rest(saved), alone)
                # Of another seed: that of the saved state goes on.
                with Guest(*arguments, "-seed", "2", "-incoming", "defer", "-S",
                           arch="x86_64") as loaded:
                    load(loaded, path)
                    loaded.cmd("cont")
                    self.assertEqual(before + rest(loaded), alone)


class LinuxInTheMiddle:
    """Linux under a load is saved, to a file or into a disk image, and goes on; what
    was saved goes on too.  For classes that are TestCases as well."""
    machine = ""
    workload, append = "compress", ""
    memory = "256"
    nodes = ("state",)          # disks; the first keeps the machine's state

    def start(self, *args, new=False):
        return Guest("-nodefaults", "-M", self.machine,
                     *linux(self.workload, self.append, memory=self.memory), "-no-shutdown",
                     *self.disks(new), *args)

    def disks(self, new):
        """Arguments that make the nodes, with new disks or those that there are."""
        path = os.path.join(self.dir, "state.qcow2")
        if new:
            qcow2(path, 1)
        return ["-blockdev", f"driver=file,filename={path},node-name=state-file",
                "-blockdev", "driver=qcow2,file=state-file,node-name=state"]

    @staticmethod
    def end(guest, timeout=400):
        if not guest.event_wait("SHUTDOWN", timeout=timeout * SLOWER):
            raise AssertionError(f"no power-off in {timeout} s:\n{guest.last_words()}")
        guest.wait_console("reboot: Power down", timeout=20)
        return guest.console, guest.stats()

    def setUp(self):
        with Guest("-M", "none") as scratch:
            self.dir = scratch.dir

    def assert_same(self, one, other):
        self.assertEqual(one[0].splitlines(), other[0].splitlines())
        self.assertEqual(one[1], other[1])

    def points(self, guest):
        """Wait for a moment to save it at: yields a name for each, and how."""
        guest.wait_console("smp: Brought up", timeout=200)
        yield "starting", "file"
        guest.wait_console(f"CPUs online, workload {self.workload}", timeout=200)
        yield "working", "snapshot"
        wait_for(guest, wait_for(guest, 0) + 50_000_000)
        yield "busy", "file"

    def test_save_and_load(self):
        with self.start(new=True) as guest:
            alone = self.end(guest)
        self.assertIn(f"workload {self.workload}: exit 0", alone[0])
        self.assertIsNone(GUEST_FAULTS.search(alone[0]))

        saved = []
        with self.start(new=True) as guest:
            for name, how in self.points(guest):
                path = os.path.join(self.dir, name)
                if how == "file":
                    guest.cmd("stop")
                    save(guest, path)
                else:       # of a running machine, which goes on by itself
                    snapshot(guest, "save", name, self.nodes)
                    guest.cmd("stop")
                saved.append((name, how, guest.console, guest.stats()))
                guest.cmd("cont")
            self.assert_same(alone, self.end(guest))

        for name, how, before, middle in saved:
            with self.subTest(saved=name, how=how):
                self.assertNotIn(f"workload {self.workload}: exit", before)
                self.assertNotEqual(middle, alone[1])
                if how == "file":
                    self.check_file(name, before, middle, alone)
                else:
                    self.check_snapshot(name, middle, alone)

    def check_file(self, name, before, middle, alone):
        """Another QEMU starts from the file."""
        with self.start("-S", "-incoming", "defer") as guest:
            load(guest, os.path.join(self.dir, name))
            self.assertEqual(guest.stats(), middle)
            guest.cmd("cont")
            console, statistics = self.end(guest)
            self.assert_same(alone, (before + console, statistics))

    def check_snapshot(self, name, middle, alone):
        """Another QEMU loads the snapshot, runs on, and goes back to it."""
        with self.start("-S") as guest:
            snapshot(guest, "load", name, self.nodes)
            loaded = guest.stats()
            # it was stopped a little later than it was saved
            self.assertLessEqual(loaded["vm"]["time"], middle["vm"]["time"])
            guest.cmd("cont")
            wait_for(guest, wait_for(guest, 0) + 30_000_000)
            guest.cmd("stop")
            self.assertNotEqual(guest.stats(), loaded)
            discarded = len(guest.console)
            snapshot(guest, "load", name, self.nodes)
            self.assertEqual(guest.stats(), loaded)
            guest.cmd("cont")
            console, statistics = self.end(guest)
            console = console[discarded:]
            self.assertTrue(console, "nothing was printed after loadvm")
            before = alone[0][:-len(console)]
            self.assert_same(alone, (before + console, statistics))


class LinuxOn2Pcpus(LinuxInTheMiddle, unittest.TestCase):
    timeout = 600
    machine = "cmp,pcpus=2,vcpus=4,sched=sdb"
    append = "compress.lines=300"


class Reset(unittest.TestCase):
    timeout = 120

    def test_ten_resets_in_the_middle_of_a_load(self):
        with Guest(*program("ticket", SMALL, "rounds=50000", "-action", "reboot=reset")) as guest:
            for _ in range(10):
                begin = wait_for(guest, 0)
                wait_for(guest, begin + 500_000)
                self.assertEqual(guest.cmd("query-status")["status"], "running")
                guest.cmd("system_reset")
                self.assertTrue(guest.event_wait("RESET", timeout=20 * SLOWER))
            console, _ = end(guest)
        report = json.loads(console)
        self.assertTrue(report["ok"], console)
        self.assertEqual(report["counter"], 4 * 50000)


if __name__ == "__main__":
    unittest.main()
