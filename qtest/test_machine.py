"""The CMP machine: its properties and what it says to wrong ones, registers of
start block and bridge, and Linux on several VCPUs under stock TCG.

The expected values are those of docs/machine.rst and of the UltraSPARC IIi
User's Manual (interrupt map and clear registers).

SPDX-License-Identifier: GPL-2.0-or-later
"""

import subprocess
import tempfile
import unittest

from support import FIRMWARE, Guest, GUEST_FAULTS, VMLINUX
from support import Refusals, binary, linux, refused, run_linux
from qemu.machine.qtest import QEMUQtestMachine

CMP8 = ("-M", "cmp8")


class Properties(unittest.TestCase):
    timeout = 120

    def vcpus(self, *args):
        """Number of VCPUs of a machine that is not started, and its PCPUs."""
        with Guest("-S", *args) as guest:
            pcpus = guest.cmd("qom-get", path="/machine", property="pcpus")
            vcpus = guest.cmd("qom-get", path="/machine", property="vcpus")
            self.assertEqual(len(guest.cmd("query-cpus-fast")), vcpus)
            return vcpus, pcpus

    def test_as_many_vcpus_as_pcpus_unless_told(self):
        self.assertEqual(self.vcpus("-M", "cmp8"), (8, 8))
        self.assertEqual(self.vcpus("-M", "cmp"), (8, 8))
        self.assertEqual(self.vcpus("-M", "cmp,pcpus=3"), (3, 3))
        self.assertEqual(self.vcpus("-M", "cmp,pcpus=32"), (32, 32))

    def test_vcpus_and_smp_say_the_same(self):
        self.assertEqual(self.vcpus("-M", "cmp8,vcpus=24"), (24, 8))
        self.assertEqual(self.vcpus("-M", "cmp8", "-smp", "24"), (24, 8))
        self.assertEqual(self.vcpus("-M", "cmp8,vcpus=5", "-smp", "5"), (5, 8))
        self.assertEqual(self.vcpus("-smp", "1", "-M", "cmp8,vcpus=1"), (1, 8))
        self.assertEqual(self.vcpus("-M", "cmp,vcpus=2,pcpus=64"), (2, 64))
        self.assertEqual(self.vcpus("-M", "cmp,pcpus=64,vcpus=2"), (2, 64))

    def test_readconfig(self):
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as f:
            f.write('[machine]\n  type = "cmp"\n  pcpus = "2"\n  vcpus = "6"\n')
            f.flush()
            self.assertEqual(self.vcpus("-readconfig", f.name), (6, 2))

    def test_help_names_properties_with_meaning_and_default(self):
        status, text = help_of("-M", "cmp8,help")
        self.assertEqual(status, 0)
        for line in (r"vcpus=.*1 to 32.*default", r"pcpus=.*1 to 64.*default: 8",
                     r"shared-tick=.*%tick.*default: on"):
            self.assertRegex(text, line)
        status, text = help_of("-M", "help")
        self.assertRegex(text, r"cmp8 .*8 PCPUs")
        self.assertRegex(text, r"cmp .*1 to 64 PCPUs")

    def test_qom_tree_has_a_mailbox_for_each_vcpu(self):
        with Guest("-S", "-M", "cmp8,vcpus=3") as guest:
            tree = guest.cmd("human-monitor-command", command_line="info qom-tree")
            self.assertEqual([tree.count(f"/mailbox[{i}] (cmp-mailbox)") for i in range(4)],
                             [1, 1, 1, 0])
            self.assertIn("/start-block (cmp-start-block)", tree)


def help_of(*args):
    """Exit status and standard output: help is no error."""
    done = subprocess.run([binary(), *args], stdin=subprocess.DEVNULL, text=True, timeout=30,
                          stdout=subprocess.PIPE, check=False)
    return done.returncode, done.stdout


class BadInput(Refusals, unittest.TestCase):
    timeout = 120

    def test_vcpus(self):
        for value in ("0", "33", "-1", "4294967297"):
            self.refuse(rf"vcpus={value} is not possible: 1 to 32 VCPUs, because a UPA module id "
                        "has 5 bits", "-M", f"cmp8,vcpus={value}")
        for value in ("many", "2.5", "99999999999999999999"):
            self.refuse("vcpus", "-M", f"cmp8,vcpus={value}")

    def test_pcpus(self):
        for value in ("0", "65", "-1", "4294967297"):
            self.refuse(rf"pcpus={value} is not possible: 1 to 64 PCPUs",
                        "-M", f"cmp,vcpus=2,pcpus={value}")
        self.refuse("pcpus", "-M", "cmp,pcpus=eight")
        self.refuse(r"machine 'cmp8' has 8 PCPUs; machine 'cmp' has any number",
                    "-M", "cmp8,pcpus=4")
        self.refuse(r"pcpus=33 needs vcpus=", "-M", "cmp,pcpus=33")

    def test_contradictory_smp(self):
        for args in (("-M", "cmp8,vcpus=24", "-smp", "8"), ("-smp", "1", "-M", "cmp8,vcpus=24"),
                     ("-smp", "2", "-M", "cmp8,vcpus=1")):
            self.refuse(r"-smp says \d+ CPUs and vcpus= says \d+", *args)
        self.refuse("maxcpus", *CMP8, "-smp", "2,maxcpus=4")
        self.refuse(r"33.*32", *CMP8, "-smp", "33")

    def test_memory_that_firmware_or_linux_cannot_handle(self):
        for size, said in (("8192", "8192 MiB"), ("4100", "4100 MiB"), ("515", "515 MiB"),
                           ("4", "4 MiB"), ("1000k", "1000 KiB"), ("516M", "516 MiB")):
            self.refuse(rf"{said} of memory are not possible: allowed are multiples of 8 MiB up "
                        "to 4096 MiB", *CMP8, "-m", size)
        self.refuse(r"it does not fit into 8 MiB", *CMP8, "-m", "8", "-kernel", VMLINUX)

    def test_missing_files(self):
        self.refuse("could not open kernel '/nonexistent/vmlinux'",
                    *CMP8, "-kernel", "/nonexistent/vmlinux")
        self.refuse("could not open initial ram disk '/nonexistent/rootfs'",
                    *CMP8, "-kernel", VMLINUX, "-initrd", "/nonexistent/rootfs")
        self.refuse("firmware 'nothing' not found", *CMP8, "-bios", "nothing")

    def test_directories_for_files(self):
        self.refuse("kernel '/tmp' is a directory", *CMP8, "-kernel", "/tmp")
        self.refuse("initial ram disk '/tmp' is a directory",
                    *CMP8, "-kernel", VMLINUX, "-initrd", "/tmp")

    def test_empty_files(self):
        with tempfile.NamedTemporaryFile() as f:
            for what, args in (("kernel", ["-kernel", f.name]), ("firmware", ["-bios", f.name]),
                               ("initial ram disk", ["-kernel", VMLINUX, "-initrd", f.name])):
                self.refuse(f"{what} '{f.name}' is empty", *CMP8, *args)

    def test_initrd_that_does_not_fit(self):
        with tempfile.NamedTemporaryFile() as f:
            f.truncate(100 << 20)
            self.refuse(r"has 104857600 bytes, but 64 MiB of memory have room for \d+ above",
                        *CMP8, "-m", "64", "-kernel", VMLINUX, "-initrd", f.name)


class Registers(unittest.TestCase):
    """Start block and bridge, from outside (no VCPU executes)."""

    timeout = 120
    START_BLOCK = 0x1fe0f000000
    BRIDGE = 0x1fe00000000
    SERIAL = 0x2b                         # its interrupt number, and its map and clear register
    SERIAL_MAP, SERIAL_CLEAR = 0x1058, 0x1858
    DISK, DISK_MAP = 0x20, 0x1000

    def machine(self, *args):
        machine = QEMUQtestMachine(binary(), args=[*args, "-L", FIRMWARE, "-nodefaults"],
                                   base_temp_dir="/var/tmp")
        machine.add_args("-display", "none")
        machine.launch()
        self.addCleanup(machine.shutdown, hard=True)
        return machine

    @staticmethod
    def read(machine, addr):
        answer = machine.qtest(f"readq {addr:#x}").split()
        return int(answer[1], 16)

    def interrupt(self, machine, ino, level):
        bridge = next("/machine/unattached/" + child["name"] for child in
                      machine.cmd("qom-list", path="/machine/unattached")
                      if child["type"] == "child<sabre>")
        answer = machine.qtest(f"set_irq_in {bridge} pbm-irq {ino} {level}")
        self.assertIn("OK", answer)

    @staticmethod
    def mailbox(machine, vcpu, counter):
        return machine.cmd("qom-get", path=f"/machine/mondo/mailbox[{vcpu}]", property=counter)

    def write_map(self, machine, register, module, enabled=True):
        machine.qtest(f"writel {self.BRIDGE + register + 4:#x} {enabled << 31 | module << 26:#x}")

    def test_identity_and_configuration(self):
        machine = self.machine("-M", "cmp,pcpus=6,vcpus=19")
        self.assertEqual(self.read(machine, self.START_BLOCK), 0x434d505354415254)
        self.assertEqual(self.read(machine, self.START_BLOCK + 8), 6 << 8 | 19)

    def test_state_of_each_module(self):
        machine = self.machine("-M", "cmp8,vcpus=3")
        states = []
        for module in (0, 1, 2, 3, 31, 32, 1 << 40):
            machine.qtest(f"writeq {self.START_BLOCK + 0x10:#x} {module:#x}")
            states.append(self.read(machine, self.START_BLOCK + 0x38))
        self.assertEqual(states, [1, 0, 0, 2, 2, 2, 2])

    def test_a_command_from_outside_starts_nothing(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        machine.qtest(f"writeq {self.START_BLOCK + 0x10:#x} 1")
        machine.qtest(f"writeq {self.START_BLOCK + 0x30:#x} 1")
        self.assertEqual(self.read(machine, self.START_BLOCK + 0x30), 3)
        self.assertEqual(self.read(machine, self.START_BLOCK + 0x38), 0)

    def test_shutdown_register_is_the_exit_status(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        machine.qtest(f"writeq {self.START_BLOCK + 0x40:#x} 0x125")
        machine.wait(timeout=30)
        self.assertEqual(machine.exitcode(), 0x25)

    def test_device_vector_goes_to_the_module_of_the_map_register(self):
        machine = self.machine("-M", "cmp8,vcpus=4")
        self.write_map(machine, self.SERIAL_MAP, 3)
        self.interrupt(machine, self.SERIAL, 1)
        self.assertEqual([self.mailbox(machine, i, "received") for i in range(4)], [0, 0, 0, 1])

    def test_disabled_interrupt_is_sent_when_it_is_enabled(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        self.write_map(machine, self.SERIAL_MAP, 1, enabled=False)
        self.interrupt(machine, self.SERIAL, 1)
        self.assertEqual(self.mailbox(machine, 1, "device-vectors"), 0)
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.assertEqual(self.mailbox(machine, 1, "device-vectors"), 1)

    def test_pending_interrupt_is_not_sent_twice(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.interrupt(machine, self.SERIAL, 1)
        self.interrupt(machine, self.SERIAL, 0)
        self.interrupt(machine, self.SERIAL, 1)
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.assertEqual(self.mailbox(machine, 1, "device-vectors"), 1)
        self.assertEqual(self.mailbox(machine, 1, "device-refused"), 0)

    def test_full_mailbox_refuses_and_another_module_accepts(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.write_map(machine, self.DISK_MAP, 1)
        self.interrupt(machine, self.SERIAL, 1)
        self.interrupt(machine, self.DISK, 1)
        self.assertEqual(self.mailbox(machine, 1, "device-vectors"), 1)
        self.assertEqual(self.mailbox(machine, 1, "device-refused"), 1)
        self.write_map(machine, self.DISK_MAP, 0)       # still in transmit: to its new target
        self.assertEqual(self.mailbox(machine, 0, "device-vectors"), 1)

    def test_clear_register_lets_a_line_that_is_still_up_interrupt_again(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.interrupt(machine, self.SERIAL, 1)
        machine.qtest(f"writel {self.BRIDGE + self.SERIAL_CLEAR + 4:#x} 0")
        # The first vector is still in the mailbox, so the second is refused.
        self.assertEqual(self.mailbox(machine, 1, "device-vectors"), 1)
        self.assertEqual(self.mailbox(machine, 1, "device-refused"), 1)

    def test_stopped_vcpu_is_not_started_by_a_vector(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.interrupt(machine, self.SERIAL, 1)
        machine.qtest(f"writeq {self.START_BLOCK + 0x10:#x} 1")
        self.assertEqual(self.read(machine, self.START_BLOCK + 0x38), 0)

    def test_reset_empties_mailboxes_and_counters_go_on(self):
        machine = self.machine("-M", "cmp8,vcpus=2")
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.interrupt(machine, self.SERIAL, 1)
        machine.cmd("system_reset")
        machine.event_wait("RESET")
        self.write_map(machine, self.SERIAL_MAP, 1)
        self.interrupt(machine, self.SERIAL, 1)
        self.assertEqual(self.mailbox(machine, 1, "device-vectors"), 2)
        self.assertEqual(self.mailbox(machine, 1, "device-refused"), 0)


class Faults(unittest.TestCase):
    timeout = 60

    def test_trap_at_the_highest_level_is_reported(self):
        """Power-on leaves TL at MAXTL, and a PROM of zeros is illegal instructions."""
        with tempfile.NamedTemporaryFile() as prom:
            prom.truncate(0x2000)
            status, text = refused("-M", "cmp8,vcpus=2", "-bios", prom.name, "-no-reboot")
        self.assertRegex(text, r"CPU 0: trap 0x010 at pc 0x0*1fff0000020 while trap level is MAXTL "
                               r"\(5\): error state")
        self.assertEqual(status, 0, "the guest panicked, QEMU did not")

    def test_pause_at_panic(self):
        with tempfile.NamedTemporaryFile() as prom:
            prom.truncate(0x2000)
            # Stopped at first: an event in the middle of QMP's negotiation is
            # taken for its answer by QEMU's Python library.
            with Guest("-M", "cmp8,vcpus=2", "-bios", prom.name, "-action",
                       "panic=pause", "-S") as guest:
                guest.cmd("cont")
                guest.event_wait("GUEST_PANICKED", timeout=30)
                self.assertEqual(guest.cmd("query-status")["status"], "guest-panicked")


class Linux(unittest.TestCase):
    """Unmodified SMP Linux: reboots and resets."""

    timeout = 600

    def test_one_vcpu(self):
        console = run_linux("cmp8,vcpus=1", "boot", test=self)
        self.assertIn("1 of 1 CPUs online", console)

    def test_two_vcpus(self):
        console = run_linux("cmp,pcpus=2", "boot", test=self)
        self.assertIn("2 of 2 CPUs online", console)

    def test_reboot_reboots(self):
        with Guest("-M", "cmp8,vcpus=1",
                   *linux("shell", append="rdinit=/sbin/reboot -- -f")) as guest:
            guest.event_wait("SHUTDOWN", timeout=200)       # -no-reboot
            self.assertEqual(guest.wait_exit(), 0)
            self.assertNotIn("Reboot failed", guest.console)

    def test_reset_in_the_middle_of_a_boot(self):
        with Guest("-M", "cmp8,vcpus=2", *linux("boot"),
                   "-action", "reboot=reset") as guest:
            guest.wait_console(r"smp: Brought up 1 node, 2 CPUs", timeout=200)
            guest.cmd("system_reset")
            guest.wait_console(r"(?s)Brought up 1 node, 2 CPUs.*Brought up 1 node, 2 CPUs",
                               timeout=200)
            self.assertEqual(guest.wait_exit(200), 0)
            self.assertIsNone(GUEST_FAULTS.search(guest.console), guest.last_words())


if __name__ == "__main__":
    unittest.main()
