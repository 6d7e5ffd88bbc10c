"""The CMP machine: its properties and what it says to wrong ones, registers of
start block and bridge, and Linux on several VCPUs under stock TCG.

The expected values are those of docs/machine.rst and of the UltraSPARC IIi
User's Manual (interrupt map and clear registers).

SPDX-License-Identifier: GPL-2.0-or-later
"""

import bz2
import gzip
import lzma
import os
import re
import subprocess
import tempfile
import unittest

from support import FIRMWARE, GUESTS, Guest, GUEST_FAULTS, VMLINUX
from support import Refusals, binary, linux, refused, run_linux
from test_bare_metal import run as bare_metal
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
            self.refuse("vcpus is not a whole number: allowed are 1 to 32 VCPUs",
                        "-M", f"cmp8,vcpus={value}")

    def test_pcpus(self):
        for value in ("0", "65", "-1", "4294967297"):
            self.refuse(rf"pcpus={value} is not possible: 1 to 64 PCPUs",
                        "-M", f"cmp,vcpus=2,pcpus={value}")
        self.refuse("pcpus is not a whole number: allowed are 1 to 64 PCPUs",
                    "-M", "cmp,pcpus=eight")
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

    def test_command_line_that_linux_would_not_take(self):
        self.refuse("-append has 1024 characters, .*: allowed are up to 1023", *CMP8,
                    "-kernel", VMLINUX, "-append", "x" * 1024)

    def test_vga(self):
        for machine in "cmp8", "sun4u":
            self.refuse("-vga: machine .* has std or none", "-M", machine, "-vga", "cirrus")

    def test_missing_files(self):
        self.refuse("could not open kernel '/nonexistent/vmlinux': No such file",
                    *CMP8, "-kernel", "/nonexistent/vmlinux")
        self.refuse("could not open initial ram disk '/nonexistent/rootfs': No such file",
                    *CMP8, "-kernel", VMLINUX, "-initrd", "/nonexistent/rootfs")
        self.refuse("firmware 'nothing' not found", *CMP8, "-bios", "nothing")

    def test_no_ordinary_files(self):
        for path, is_ in (("/tmp", "a directory"), ("/dev/zero", "not an ordinary file")):
            for what, args in (("kernel", ["-kernel", path]), ("firmware", ["-bios", path]),
                               ("initial ram disk", ["-kernel", VMLINUX, "-initrd", path])):
                self.refuse(f"{what} '{path}' is {is_}", *CMP8, *args)

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


NOPS = b"\x01\0\0\0" * 0x1000


def elf(machine=43, bits=64, entry=0x404000, address=0x404000, order="big", code=NOPS):
    """An ELF file with one segment (System V ABI, Object Files)."""
    word, size = (8, 120) if bits == 64 else (4, 84)
    fields = [b"\x7fELF", bits // 32, 2 if order == "big" else 1, 1, bytes(9),
              (2, 2), (machine, 2), (1, 4), (entry, word), (size - 56 if bits == 64 else 52, word),
              (0, word), (0, 4), (size - 56 if bits == 64 else 52, 2),
              (56 if bits == 64 else 32, 2), (1, 2), (0, 2), (0, 2), (0, 2)]
    if bits == 64:
        fields += [(1, 4), (7, 4), (size, 8), (address, 8), (address, 8),
                   (len(code), 8), (len(code), 8), (0x2000, 8)]
    else:
        fields += [(1, 4), (size, 4), (address, 4), (address, 4), (len(code), 4),
                   (len(code), 4), (7, 4), (0x2000, 4)]
    head = b"".join(f[0].to_bytes(f[1], order) if isinstance(f, tuple) else
                    f if isinstance(f, bytes) else bytes([f]) for f in fields)
    return head + code


def aout(size, machine=3):
    """An a.out header for size bytes of text (SunOS 4, a.out(5)): magic OMAGIC."""
    return b"".join(n.to_bytes(4, "big")
                    for n in (machine << 16 | 0o407, size, 0, 0, 0, 0x4000, 0, 0))


def bzimage():
    """"HdrS" at 0x202 and a boot sector (Linux/x86 Boot Protocol)"""
    image = bytearray(0x1000)
    image[510:512] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    return bytes(image)


class WrongFiles(Refusals, unittest.TestCase):
    """Files that are no kernel and no firmware: what they are, and what is wanted."""

    timeout = 120
    OTHERS = (                                      # wrong as a kernel and as firmware
        ("a gzip file", gzip.compress(elf())),
        ("an xz file", lzma.compress(elf())),
        ("a bzip2 file", bz2.compress(elf())),
        ("a Linux kernel for x86 \\(bzImage\\)", bzimage()),
        ("a text file", b"#!/bin/sh\necho no kernel\n"),
        ("a cpio archive", b"070701" + bytes(200)),
        ("an ELF file for x86-64", elf(machine=62, order="little")),
        ("an ELF file for i386", elf(machine=3, bits=32, order="little")),
        ("an ELF file for 32-bit SPARC", elf(machine=2, bits=32)),
        ("an ELF file for machine 4711", elf(machine=4711)),
        ("an ELF file for SPARC V9 that is not 64-bit", elf(bits=32)),
        ("an ELF file that is cut short", elf()[:20]),
        ("an ELF file that is cut short", elf()[:64]),
        ("an ELF file that is cut short", elf()[:0x2000]),
    )

    def write(self, content):
        f = tempfile.NamedTemporaryFile()
        self.addCleanup(f.close)
        f.write(content)
        f.flush()
        return f.name

    def refuse_kernel(self, is_, content, *args):
        name = self.write(content)
        self.refuse(f"(?s)could not load kernel '{name}': it is {is_}.*Wanted is an uncompressed "
                    "Linux kernel: ELF, 64-bit, SPARC V9", *CMP8, "-kernel", name, *args)

    def refuse_firmware(self, is_, content):
        name = self.write(content)
        self.refuse(f"(?s)could not load firmware '{name}': it is {is_}.*Wanted is ELF, 64-bit, "
                    "SPARC V9, linked for 0xffd00000", *CMP8, "-bios", name)

    def test_kernel(self):
        for is_, content in self.OTHERS:
            self.refuse_kernel(is_, content)
        self.refuse_kernel("neither ELF nor a.out", NOPS)

    def test_kernel_that_is_no_kernel_but_another_program(self):
        self.refuse_kernel("an ELF file for SPARC V9, but not a kernel", elf(entry=0x404250))
        self.refuse_kernel("an ELF file for SPARC V9, but not a kernel", elf(entry=0x808000))

    def test_half_a_vmlinux(self):
        with open(VMLINUX, "rb") as f:
            content = f.read()
        self.refuse_kernel("an ELF file that is cut short", content[:len(content) // 2])
        self.refuse_kernel("an ELF file that is cut short", content[:-1])

    def test_kernel_that_reaches_beyond_memory(self):
        for kernel in (elf(address=(1 << 64) - 0x4000, entry=(1 << 64) - 0x4000),
                       elf(address=1 << 40, entry=1 << 40),
                       aout(124 << 20) + bytes(124 << 20)):
            name = self.write(kernel)
            self.refuse(f"could not load kernel '{name}': it does not fit into 128 MiB of memory: "
                        "it wants to be at 0x[0-9a-f]+ to 0x[0-9a-f]+, and the firmware has the "
                        "last 4 MiB", *CMP8, "-m", "128", "-kernel", name)

    def test_bare_metal_program_as_kernel(self):
        """It is linked for the PROM (guests/bare-metal/kit.ld)."""
        self.refuse("(?s)wants to be at 0xffd00000 to 0xffd.*linked for the PROM: -bios starts it",
                    *CMP8, "-kernel", os.path.join(GUESTS, "bare-metal", "idle.elf"))

    def test_headers_that_make_no_sense(self):
        """Fields of the ELF header at their offsets (System V ABI): one is wrong, or is anything."""
        good = elf()
        for offset, size, value, is_ in (
                (16, 2, 1, "of type 1, not an executable"), (16, 2, 3, "of type 3"),
                (16, 2, 0xffff, "of type 65535"), (56, 2, 0, "without segments"),
                (54, 2, 0, "whose program headers have 0 bytes, not 56"),
                (54, 2, 0xffff, "whose program headers have 65535 bytes"),
                (56, 2, 0xffff, "cut short"), (32, 8, 1 << 63, "cut short"),
                (32, 8, (1 << 64) - 1, "cut short"), (64 + 32, 8, (1 << 64) - 1, "cut short"),
                (64 + 40, 8, 1, "with a segment that is larger in the file than in memory")):
            bad = good[:offset] + value.to_bytes(size, "big") + good[offset + size:]
            self.refuse_kernel("an ELF file.*" + is_, bad)
        self.refuse_kernel("an a.out file without text and data", aout(0) + bytes(64))
        for size in (0xffffffff, 0x80000000):
            self.refuse_kernel("an a.out file that is cut short", aout(size) + bytes(64))

    def test_aout(self):
        self.refuse_kernel("an a.out file that is cut short", aout(0x4000) + bytes(0x3fff))
        self.refuse_kernel("neither ELF nor a.out", aout(0x4000, machine=2) + bytes(0x4000))

    def test_firmware(self):
        for is_, content in self.OTHERS:
            self.refuse_firmware(is_, content)
        self.refuse_firmware("an ELF file for SPARC V9, but not linked for the PROM", elf())
        self.refuse_firmware("32 bytes, which end before the power-on vector", b"\x01\0\0\0" * 8)
        self.refuse_firmware("4194305 bytes, more than the 4 MiB of the PROM",
                             b"\1" + bytes(4 << 20))

    def test_sun4u(self):
        """QEMU's own machine says less, but starts as little."""
        for says, content in (("neither ELF nor a.out", gzip.compress(elf())),
                              ("neither ELF nor a.out", bzimage()),
                              ("incompatible architecture", elf(machine=2, bits=32)),
                              ("Failed to load ELF", elf()[:0x2000]),
                              ("too big to load", elf(address=1 << 40, entry=1 << 40))):
            name = self.write(content)
            self.refuse(f"could not load kernel '{name}': .*{says}",
                        "-M", "sun4u", "-kernel", name)
        name = self.write(elf()[:0x2000])
        self.refuse(f"could not load prom '{name}': Failed to load ELF",
                    "-M", "sun4u", "-bios", name)


def smallest_kernel(status):
    """Ends QEMU with the size of the initial RAM disk, where the board finds "HdrS" (the Linux
    kernel's arch/sparc/kernel/head_64.S); status if there is none.  The firmware maps as much as
    the file has, from 16 KiB before the entry point."""
    code = (0x30680010,                             # ba,a %xcc, . + 0x40
            0x01000000,                             # nop
            0x48647253, 0, 0, 0, 0, status,         # 8: "HdrS"; 24: address, 28: size
            *[0] * 8,
            0x87414000,                             # 0x40: rd %pc, %g3
            0xc400ffdc,                             # ld [%g3 - 36], %g2
            0x821021fe,                             # mov 0x1fe, %g1
            0x83287020,                             # sllx %g1, 32, %g1
            0x0903c000,                             # sethi %hi(0x0f000000), %g4
            0x82104004,                             # or %g1, %g4, %g1
            0x82106040,                             # or %g1, 0x40, %g1    SHUTDOWN
            0xc4f042a0,                             # stxa %g2, [%g1] 0x15
            0x10680000, 0x01000000)                 # ba %xcc, . ; nop
    return b"".join(word.to_bytes(4, "big") for word in code).ljust(0x8000, b"\0")


class RightFiles(unittest.TestCase):
    timeout = 120

    def status(self, kernel, *args):
        with tempfile.NamedTemporaryFile() as f:
            f.write(kernel)
            f.flush()
            with Guest("-M", "cmp8,vcpus=1", "-m", "64", "-kernel", f.name, *args) as guest:
                return guest.wait_exit(60)

    def test_elf_and_aout_with_and_without_initrd(self):
        code = smallest_kernel(42)
        with tempfile.NamedTemporaryFile() as initrd:
            initrd.write(bytes(77))
            initrd.flush()
            for kernel in (elf(code=code), aout(len(code)) + code):
                self.assertEqual(self.status(kernel), 42)
                self.assertEqual(self.status(kernel, "-initrd", initrd.name), 77)
# Models on which Linux (qtest/full/test_processors.py) and selftest (below) run.
POSSIBLE = ("TI-UltraSparc-I", "TI-UltraSparc-II", "TI-UltraSparc-IIi", "NEC-UltraSparc-I",
            "Fujitsu-Sparc64-IV", "Fujitsu-Sparc64-V")


class Processors(Refusals, unittest.TestCase):
    timeout = 120

    def test_models(self):
        """All that QEMU has are either refused, with those that are possible, or run."""
        listed = subprocess.run([binary(), "-cpu", "help"], stdout=subprocess.PIPE, text=True,
                                timeout=30, check=True).stdout
        models = re.findall(r"^ (\S+) +\(IU", listed, re.MULTILINE)
        self.assertEqual(len(models), 17)
        self.assertLessEqual(set(POSSIBLE), set(models))
        for model in models:
            if model in POSSIBLE:
                status, report = bare_metal("selftest", "cmp8,vcpus=24", "-cpu", model)
                self.assertEqual((status, report["ok"], report["started"]), (0, True, 24), model)
            else:
                self.refuse(rf"(?s)Invalid CPU model: {model}\n.*valid models are: "
                            + ", ".join(POSSIBLE), *CMP8, "-cpu", model)

    def test_help_and_unknown_models_name_those_that_are_possible(self):
        possible = ", ".join(POSSIBLE)
        for machine in ("cmp8", "cmp,vcpus=2"):
            for help_ in ("help", "?"):
                status, text = help_of("-M", machine, "-cpu", help_)
                self.assertEqual(status, 0)
                self.assertIn(f"Machine '{machine.partition(',')[0]}' takes: {possible}\n", text)
        self.assertNotIn("takes", help_of("-cpu", "help")[1])
        self.assertNotIn("takes", help_of("-M", "sun4u", "-cpu", "help")[1])
        self.refuse(f"(?s)unable to find CPU model 'foo'\n.*valid models are: {possible}\n",
                    *CMP8, "-cpu", "foo")

    def test_another_processor_made_of_one_that_is_possible(self):
        for change in ("nwindows=4", "nwindows=16", "iu-version=0x3e001434000000", "+hypv", "+gl",
                       "-vis1", "+cmt", "mmu-version=3", "fpu-version=7"):
            self.refuse("nwindows, iu-version, fpu-version, mmu-version, hypv, gl, cmt and vis1 of the processor have to be "
                        "those of TI-UltraSparc-II", *CMP8, "-cpu", f"TI-UltraSparc-II,{change}")
        for change in ("module-id=1", "+tick-read-only", "tick-frequency=1000000000"):
            self.refuse("(module-id|tick-read-only|tick-frequency) of the processor is what the "
                        "machine says", *CMP8, "-cpu", f"TI-UltraSparc-II,{change}")
        status, report = bare_metal("selftest", "cmp8,vcpus=2", "-cpu", "TI-UltraSparc-II,-vis2")
        self.assertEqual((status, report["ok"]), (0, True))


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

    def test_trap_at_the_highest_level_stops_that_processor(self):
        """Power-on leaves TL at MAXTL, and a PROM of zeros is illegal instructions."""
        for accel in ("vsched", "tcg"):
            with self.subTest(accel=accel), tempfile.NamedTemporaryFile() as prom:
                prom.truncate(0x2000)
                with Guest("-M", "cmp8,vcpus=2", "-bios", prom.name, "-accel",
                           {"vsched": "tcg,thread=vsched", "tcg": "tcg,thread=single"}[accel]) as guest:
                    event = guest.event_wait("GUEST_PANICKED", timeout=30)
                    self.assertEqual(event["data"]["action"], "run")
                    self.assertEqual(guest.cmd("query-status")["status"], "running")
                    # It is a report, not the end: the guest can be reset, and fails again.
                    guest.cmd("set-action", reboot="reset")
                    guest.cmd("system_reset")
                    guest.event_wait("GUEST_PANICKED", timeout=30)
                    self.assertRegex(guest.last_words(), r"CPU 0: trap 0x010 at pc 0x0*1fff0000020 "
                                     r"while trap level is MAXTL \(5\): error state")


    def test_a_processor_that_is_started_at_no_instruction_s_address(self):
        """PC and nPC have no bits 1:0 (SPARC V9, 5.2.1).  The first processor maps the PROM at 0,
        starts the second one at 7, waits, and ends QEMU with RESULT, 0, and 16 times PC."""
        code = (0x86102030, 0xc0f0ca00,                             # ITLB tag: 0
                0x84102007, 0x8528b03d, 0x09000007, 0x881123ff, 0x8929301c,
                0x84108004, 0x8410a045, 0xc4f00a80,                 # a locked page of 4 MiB
                0x0903c000, 0x821021fe, 0x83287020, 0x82104004,     # %g1: start block
                0x84102001, 0x86006010, 0xc4f0c2a0,                 # MODULE = 1
                0x88102007, 0x86006018, 0xc8f0c2a0,                 # PC = 7
                0x86006030, 0xc4f0c2a0,                             # COMMAND = START
                0x0b000061, 0x8a1162a0,                             # 100000 times:
                0x0ac94000, 0x8a216001,                             # brnz %g5, . ; dec %g5
                0xc4d8c2a0, 0x86006018, 0xc8d8c2a0,                 # RESULT, PC
                0x89293004, 0x84108004,                             # PC << 4 | RESULT
                0x86006040, 0xc4f0c2a0, 0x10800000, 0x01000000)     # SHUTDOWN; ba . ; nop
        with tempfile.NamedTemporaryFile() as f:
            f.write(bytes(0x20) + b"".join(word.to_bytes(4, "big") for word in code))
            f.flush()
            with Guest("-M", "cmp,pcpus=2,vcpus=2", "-bios", f.name) as guest:
                self.assertEqual(guest.wait_exit(30), 7 * 16)


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
