"""The cache plugin in whole machines: what it counts does not depend on its filter,
on who else looks at the run, or on how code is translated; it agrees with a cache
plugin of QEMU's own; what it cannot do, it refuses.

A run is what the console said, every counter of query-stats, and the plugin's
report, in which every counter of every PCPU, VCPU and VM is, user and privileged
apart, and which instructions and lines stalled.  The programs have no operating
system (guests/bare-metal); full/test_caches_linux.py does this with Linux.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import array
import json
import os
import re
import subprocess
import unittest

from support import BUILD, SLOWER, TOP, Guest, Refusals, x86_mov, x86_rom
from test_observer import qemu_plugin, without_sdb
from test_save import program

CACHES = os.path.join(BUILD, "plugins", "libcachetime.so")
MACHINE = "cmp,pcpus=2,vcpus=5,slice=20us,sched=sdb"

# All programs, with locks, cross-calls, interrupts, TLB misses, traps, user mode,
# code that is written and atomic operations between them; each takes a second or two.
PROGRAMS = (
    ("barrier", "rounds=5"), ("chase", "slots=512 stride=8192 steps=1000"),
    ("clock", "rounds=200 work=50"), ("code", "blocks=1000 rounds=2"),
    ("crosscall", "rounds=2"), ("driver", "rounds=20"),
    ("groups", "groups=1 first=4 time=100000 words=500"),
    ("idle", "rounds=3 work=2000"), ("mcs", "rounds=20"), ("parts", "rounds=3"),
    ("race1", ""), ("race2", ""), ("race3", ""), ("search", "limit=200"), ("selftest", ""),
    ("stream", "words=1000"), ("tas", "rounds=20 user=1"), ("tick", "turns=100"),
    ("ticket", "rounds=20 user=1"), ("traps", "sweep=0"),
    ("fuzz", "seed=3 batches=100 words=8"))
# What the tests that run each program several times run
FEW = (("crosscall", "rounds=2"), ("tas", "rounds=50 user=1"), ("idle", "rounds=3 work=2000"),
       ("chase", "slots=512 stride=8192 steps=1000"), ("selftest", ""), ("code", "blocks=1000"))


def config_file(directory, text):
    """A configuration of caches; what it does not say is the paper's."""
    path = os.path.join(directory, "caches.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def l1_file(directory, name, size, ways):
    """The same of this first-level cache, and what it misses is in larger ones."""
    return config_file(directory, f"""
[{name}]
size = {size}
ways = {ways}
[l2]
size = 16M
[l3]
size = 64M
""")


def caches(options=""):
    return ("-plugin", f"{CACHES},table=off,attribution=on{options}")


def report(guest):
    """All that the cache plugin of a guest has counted."""
    return guest.cmd("plugin-command", plugin="cachetime", command="report")


def misses_of_data(kinds):
    return sum(c[f"l1d-misses-{why}"] for c in kinds
               for why in ("compulsory", "capacity", "coherence"))


def run(name, parameters, *arguments, machine=MACHINE):
    """(console, counters of the engine, counters of the caches)"""
    with Guest(*program(name, machine, parameters, *arguments)) as guest:
        guest.event_wait("SHUTDOWN", timeout=100 * SLOWER)
        return guest.console, guest.stats(), report(guest)


class Same(unittest.TestCase):
    """What compares two runs; has no test of its own."""

    def assert_same(self, one, other):
        self.assertEqual(one[0], other[0], "console")
        self.assertEqual(one[1], other[1], "query-stats")
        for part in one[2]:
            self.assertEqual(one[2][part], other[2][part], part)


class Filter(Same):
    """Accesses that are recognised in generated code count, and change, what they would if each
    were given to the model."""
    timeout = 600

    def test_every_program(self):
        for name, parameters in PROGRAMS:
            with self.subTest(program=name):
                self.assert_same(run(name, parameters, *caches()),
                                 run(name, parameters, *caches(",filter=off")))

    def test_pcpus_that_go_off(self):
        """The VCPU that a PCPU held when it went off waits, while another one runs there again (for
        20 us), or goes on elsewhere (for 600 us), where it has none of its lines."""
        for begin, end in (6100, 6120), (6150, 6750):
            commands = [word for at, online in ((begin, "off"), (end, "on")) for word in (
                "-object", f"vsched-command,id=c{at},at={at}us,run=vsched-set-pcpu,"
                f"arguments=pcpu=0,,online={online}")]
            with self.subTest(begin=begin, end=end):
                self.assert_same(*(
                    run("tas", "rounds=100 user=1", *caches(how), *commands,
                        machine="cmp,pcpus=2,vcpus=8,slice=100us,sched=timeslice")
                    for how in ("", ",filter=off")))

    def test_small_caches_of_every_protocol(self):
        """4 sets, so that lines leave the filter all the time; the caches of three levels are as
        small as they can be."""
        with Guest("-M", "none") as scratch:
            for protocol in ("msi", "mesi", "mosi", "moesi"):
                for replacement in ("lru", "plru", "fifo", "random"):
                    with self.subTest(protocol=protocol, replacement=replacement):
                        path = config_file(scratch.dir, f"""
[l1i]
size = 512
replacement = {replacement}
[l1d]
size = 512
replacement = {replacement}
[l2]
size = 4K
replacement = {replacement}
[l3]
size = 64K
[directory]
protocol = {protocol}
""")
                        one, other = (run("crosscall", "rounds=1", *caches(f",config={path}{f}"))
                                      for f in ("", ",filter=off"))
                        self.assertGreater(one[2]["machine"]["privileged"]["l2-misses-capacity"],
                                           100)
                        self.assert_same(one, other)


class Observer(Same):
    """Who else looks at a run does not change what it counts."""
    timeout = 600

    @classmethod
    def setUpClass(cls):
        cls.alone = [run(*program_, *caches()) for program_ in FEW]

    def same(self, *arguments, prepare=lambda run_: run_):
        for program_, alone in zip(FEW, self.alone):
            with self.subTest(program=program_[0]):
                self.assert_same(prepare(alone), prepare(run(*program_, *arguments)))

    def test_repeats(self):
        self.same(*caches())

    def test_the_programs_are_worth_it(self):
        """They do what could be counted wrongly."""
        total = {}
        for _, _, caches_ in self.alone:
            for mode in ("user", "privileged"):
                for name, value in caches_["machine"][mode].items():
                    if not isinstance(value, dict):
                        total[mode, name] = total.get((mode, name), 0) + value
        for what in (("user", "loads"), ("user", "stores"), ("user", "fetches"),
                     ("privileged", "served-by-transfer"), ("privileged", "served-by-upgrade"),
                     ("privileged", "l1d-misses-coherence"), ("privileged", "l1i-misses-capacity"),
                     ("privileged", "model-loads"), ("privileged", "l2-misses-capacity")):
            self.assertGreater(total[what], 0, what)

    def test_other_plugins(self):
        """QEMU's insn and mem, with inline operations and with callbacks"""
        insn, mem = (qemu_plugin(f"tests/tcg/plugins/{name}.c") for name in ("insn", "mem"))
        self.same("-plugin", f"{insn},inline=true", *caches(), "-plugin", f"{mem},inline=true")
        self.same("-plugin", mem, *caches(), "-plugin", insn)

    def test_blocks_that_are_not_chained(self):
        self.same(*caches(), "-d", "nochain")

    def test_log(self):
        with Guest("-M", "none") as scratch:
            self.same(*caches(), "-d", "int,mmu,guest_errors", "-D",
                      os.path.join(scratch.dir, "log"))

    def test_few_translations_kept(self):
        """The code buffer holds 1 MiB, and is emptied whenever it is full."""
        few = ("-accel", "tcg,thread=vsched,tb-size=1")
        arguments = ("code", "blocks=40000 rounds=1")
        one, other = (run(*arguments, *more, *caches()) for more in ((), few))
        self.assert_same(one, other)
        with Guest(*program(arguments[0], MACHINE, arguments[1], *few, *caches())) as guest:
            guest.event_wait("SHUTDOWN", timeout=100 * SLOWER)
            jit = guest.cmd("x-query-jit")["human-readable-text"]
        self.assertGreater(int(re.search(r"TB flush count +(\d+)", jit).group(1)), 0)

    def test_sdb_that_nobody_listens_to(self):
        for name, parameters in FEW[:3]:
            with self.subTest(program=name):
                on, off = (run(name, parameters, *caches(),
                               machine=f"cmp,pcpus=2,vcpus=5,slice=20us,sched=timeslice,sdb={sdb}")
                           for sdb in ("on", "off"))
                self.assert_same((on[0], without_sdb(on[1]), on[2]),
                                 (off[0], without_sdb(off[1]), off[2]))


class CachePlugin(unittest.TestCase):
    """Misses of data are those of contrib/plugins/cache.c, which nobody here wrote: one core, L1
    only, LRU.

    Its known errors are outside what is compared: an access that crosses a line (no program makes
    one: SPARC's have to be aligned); a place in LRU order that is kept in an int (2^31 accesses to
    a set); an L2 that mixes host addresses of code with guest addresses of data (off).  It counts
    an atomic operation as two accesses, as ours does.  Ours gets larger L2 and L3 so that no line
    leaves the L1 by inclusion.

    Before the program begins, the PCPU takes in the VCPU's registers, 277 words of 8 bytes, in 35
    lines of the L1D that cache.c does not have.  They are the least recently used lines of their
    sets, so they leave first, and take no place from a line of the program.
    """
    timeout = 600
    # (bytes, ways)
    GEOMETRIES = ((4096, 1), (16384, 2), (32768, 8), (65536, 4))
    PROGRAMS = (("chase", "slots=2048 stride=64 steps=5000"), ("stream", "words=3000 rounds=2"),
                ("tas", "rounds=50 user=1"))
    MACHINE = "cmp,pcpus=1,vcpus=1"

    def both(self, name, parameters, size, ways):
        """(accesses, misses) of data that both plugins count in one run: ours, theirs"""
        with Guest("-M", "none") as scratch:
            log, out = (os.path.join(scratch.dir, name) for name in ("log", "caches.json"))
            path = l1_file(scratch.dir, "l1d", size, ways)
        plugin = qemu_plugin("contrib/plugins/cache.c")
        arguments = [a for a in program(name, self.MACHINE, parameters) if a != "-no-shutdown"]
        with Guest(*arguments, *caches(f",config={path},out={out}"), "-plugin",
                   f"{plugin},dblksize=64,dassoc={ways},dcachesize={size},evict=lru",
                   "-d", "plugin", "-D", log) as guest:
            guest.wait_exit()
        with open(log, encoding="utf-8") as f:
            theirs = re.search(r"^0 +(\d+) +(\d+) ", f.read(), re.MULTILINE)
        with open(out, encoding="utf-8") as f:
            counted = json.load(f)["machine"]
        kinds = [counted[mode] for mode in ("privileged", "user")]
        self.assertEqual([(c["model-loads"], c["model-stores"]) for c in kinds], [(277, 0), (0, 0)])
        return ((sum(c["loads"] + c["stores"] for c in kinds), misses_of_data(kinds) - 35),
                (int(theirs.group(1)), int(theirs.group(2))))

    def test_misses_of_data(self):
        for name, parameters in self.PROGRAMS:
            for size, ways in self.GEOMETRIES:
                with self.subTest(program=name, size=size, ways=ways):
                    ours, theirs = self.both(name, parameters, size, ways)
                    self.assertGreater(theirs[1], 100)
                    self.assertEqual(ours, theirs)


def misses(lines, size, ways):
    """Of a cache with lines of 64 bytes that replaces the least recently used one"""
    count = 0
    sets = [[] for _ in range(size // 64 // ways)]      # most recent last
    for line in lines:
        place = sets[line // 64 % len(sets)]
        if line in place:
            place.remove(line)
        else:
            count += 1
            if len(place) == ways:
                del place[0]
        place.append(line)
    return count


class Code(unittest.TestCase):
    """Misses of code are those that Python works out from the lines which a test plugin has seen
    executed (qtest/plugins/fetches.c), in the same run.  No program here writes code that is in
    the L1I: that would take it away."""
    timeout = 300
    PROGRAMS = (("selftest", ""), ("tas", "rounds=50 user=1"), ("chase", "slots=128 steps=500"))

    def check(self, name, parameters, size, ways):
        with Guest("-M", "none") as scratch:
            trace, out = (os.path.join(scratch.dir, name) for name in ("trace", "caches.json"))
            path = l1_file(scratch.dir, "l1i", size, ways)
        arguments = [a for a in program(name, "cmp,pcpus=1,vcpus=1", parameters)
                     if a != "-no-shutdown"]
        with Guest(*arguments, *caches(f",config={path},out={out}"), "-plugin",
                   os.path.join(BUILD, "plugins", f"libfetches.so,to={trace}")) as guest:
            guest.wait_exit()
        lines = array.array("Q")
        with open(trace, "rb") as f:
            lines.frombytes(f.read())
        with open(out, encoding="utf-8") as f:
            counted = json.load(f)["machine"]
        ours = sum(counted[mode][f"l1i-misses-{why}"] for mode in ("privileged", "user")
                   for why in ("compulsory", "capacity", "coherence"))
        self.assertGreater(len(lines), 1000)
        self.assertEqual(ours, misses(lines, size, ways))
        return ours

    def test_misses(self):
        counts = set()
        for name, parameters in self.PROGRAMS:
            for size, ways in ((256, 1), (512, 2), (1024, 4), (16384, 2)):
                with self.subTest(program=name, size=size, ways=ways):
                    counts.add(self.check(name, parameters, size, ways))
        self.assertGreater(len(counts), 6)


class Crossing(unittest.TestCase):
    """Accesses that lie in two lines, and in two pages, of x86: 16-bit code, no page tables."""
    timeout = 60
    ROUNDS = 1000

    def counted(self, how):
        def at(bx, *code):
            return b"\xbb" + bx.to_bytes(2, "little") + bytes(code)       # mov $bx, %bx

        loop = (at(0x103d, 0x66, 0x8b, 0x07) +                  # mov (%bx), %eax: lines 1000, 1040
                at(0x1ffe, 0x66, 0x8b, 0x07) +                  # 1fc0 and 2000 of the next page
                at(0x203e, 0x66, 0x89, 0x07) +                  # mov %eax, (%bx): 2000 and 2040
                at(0x30fe, 0xf0, 0x66, 0x0f, 0xc1, 0x07) +      # lock xadd: 30c0 and 3100
                b"\x66\x49")                                    # dec %ecx
        image = x86_rom([b"\xfa\xf4"], [], [
            b"\x31\xc0\x8e\xd8", x86_mov("ecx", self.ROUNDS),   # xor %ax, %ax; mov %ax, %ds
            loop, b"\x75", (-len(loop) - 2 & 0xff).to_bytes(1, "little"), b"\xe6\xf4\xf4"])
        with Guest("-M", "none") as scratch:
            rom = os.path.join(scratch.dir, "rom")
            with open(rom, "wb") as f:
                f.write(image)
            with Guest("-M", "q35", "-nodefaults", "-m", "64", "-bios", rom, "-no-shutdown",
                       "-cpu", "qemu64,+x2apic", "-accel", "tcg,thread=vsched,pcpus=1", "-device",
                       "isa-debug-exit,iobase=0xf4,iosize=4",
                       *caches(",state-words=1" + how),
                       arch="x86_64") as guest:
                guest.event_wait("SHUTDOWN", timeout=30 * SLOWER)
                return report(guest)["machine"]["privileged"]

    def test_both_lines(self):
        """An access for each line, and what both cost, with and without the filter."""
        n = self.counted("")
        self.assertEqual(n, self.counted(",filter=off"))
        self.assertEqual((n["loads"], n["stores"]), (6 * self.ROUNDS, 4 * self.ROUNDS))
        # 1000 1040 1fc0 2000 2040 30c0 3100; 2000 was loaded before it is stored to, and what the
        # atomic operation loads it may write; a line of the VCPU's state
        self.assertEqual((n["l1d-misses-compulsory"], n["l1d-upgrades"]), (7 + 1, 1))
        self.assertEqual(misses_of_data([n]), 7 + 1)


class Switches(unittest.TestCase):
    """What no instruction causes is in counters, and in no table."""
    timeout = 60

    def test_is_what_is_missing(self):
        """The only VCPU comes in once: 277 words of 8 bytes, 35 lines that nobody has."""
        *_, data = run("search", "limit=20", *caches(), machine="cmp,pcpus=1,vcpus=1")
        known, machine = data["attribution"], data["machine"]["privileged"]
        missing = {name: machine[f"served-by-{name}"] - n for name, n in known["served"].items()}
        self.assertEqual(missing, {"l2": 0, "upgrade": 0, "transfer": 0, "l3": 0, "memory": 35})
        # 364 cycles, 4 at random, 1 where a slot of memory is no whole cycle
        stall = machine["stall-memory"] - known["stall"]["memory"]
        self.assertTrue(35 * 364 <= stall <= 35 * (364 + 4 + 1), stall)


class Cachegrind(unittest.TestCase):
    """The same program (cachegrind.S) under valgrind's cachegrind and on bare metal.  What two
    more rounds of it add is compared: the way into 64-bit mode is not part of the program.

    The data begin at a page, and a way of the cache is not larger than one, so that a word is in
    the same set wherever the page is."""
    timeout = 300
    GEOMETRIES = ((4096, 1), (16384, 4), (32768, 8))

    def build(self, directory, rounds, hosted):
        source = os.path.join(TOP, "qtest", "cachegrind.S")
        out = os.path.join(directory, f"{'hosted' if hosted else 'rom'}{rounds}")
        options = [f"-DROUNDS={rounds}"]
        if hosted:
            subprocess.run(["gcc", "-DHOSTED", *options, "-nostdlib", "-static", "-no-pie", "-o",
                            out, source], check=True)
            return out
        for command in (["gcc", "-c", *options, "-o", f"{out}.o", source],
                        ["ld", "-m", "elf_x86_64", "-nostdlib", "-static", "-Ttext=0", "-e", "0",
                         "-o", f"{out}.elf", f"{out}.o"],
                        ["objcopy", "-O", "binary", "-j", ".text", f"{out}.elf", out]):
            subprocess.run(command, check=True)
        return out

    @staticmethod
    def theirs(program_, size, ways):
        """(loads and stores, misses of them)"""
        geometry = f"{size},{ways},64"
        done = subprocess.run(["valgrind", "--tool=cachegrind", "--cache-sim=yes",
                               "--cachegrind-out-file=/dev/null", f"--I1={geometry}",
                               f"--D1={geometry}", "--LL=16777216,16,64", program_],
                              stderr=subprocess.PIPE, text=True, check=True)
        return tuple(int(re.search(rf"{what}: +([\d,]+)", done.stderr).group(1).replace(",", ""))
                     for what in (r"D +refs", r"D1 +misses"))

    @staticmethod
    def ours(program_, config):
        with Guest("-M", "q35", "-nodefaults", "-m", "64", "-bios", program_, "-no-shutdown",
                   "-accel", "tcg,thread=vsched,pcpus=1", "-device",
                   "isa-debug-exit,iobase=0xf4,iosize=4",
                   *caches(f",config={config},walks=off"), arch="x86_64") as guest:
            guest.event_wait("SHUTDOWN", timeout=60 * SLOWER)
            counted = report(guest)["machine"]
        kinds = [counted[mode] for mode in ("privileged", "user")]
        return sum(c["loads"] + c["stores"] for c in kinds), misses_of_data(kinds)

    def test_misses_of_data(self):
        with Guest("-M", "none") as scratch:
            directory = scratch.dir
        for size, ways in self.GEOMETRIES:
            path = l1_file(directory, "l1d", size, ways)
            with self.subTest(size=size, ways=ways):
                theirs, ours = (
                    [many - few for few, many in zip(*(
                        count(self.build(directory, rounds, hosted)) for rounds in (1, 3)))]
                    for hosted, count in (
                        (True, lambda p: self.theirs(p, size, ways)),   # pylint: disable=W0640
                        (False, lambda p: self.ours(p, path))))         # pylint: disable=W0640
                # 20000 words loaded and stored, 20480 loaded
                self.assertEqual((theirs[0], ours[0]), 2 * (2 * (2 * 20000 + 20480),))
                self.assertGreater(theirs[1], 10000)
                self.assertLessEqual(abs(ours[1] - theirs[1]), theirs[1] / 1000, (ours, theirs))


class Refused(Refusals, unittest.TestCase):
    """Status 1 and no machine; the text names what was given, and what is allowed."""
    timeout = 120

    def refuse_argument(self, argument, says):
        with self.subTest(argument=argument):
            self.refuse(says, "-M", MACHINE, "-plugin", f"{CACHES},{argument}")

    def refuse_file(self, text, says):
        with self.subTest(file=text), Guest("-M", "none") as scratch:
            path = config_file(scratch.dir, text)
            self.refuse(re.escape(f"{path}: ") + says, "-M", MACHINE,
                        "-plugin", f"{CACHES},config={path}")

    def test_arguments(self):
        self.refuse_argument("sets=4", "no argument 'sets': there are attribution, config, filter")
        self.refuse_argument("filter=maybe", "filter=maybe: allowed are on and off")
        self.refuse_argument("seed=-1", "seed=-1: allowed are numbers from 0 to 1844674407370")
        self.refuse_argument("seed=1x", "seed=1x: allowed are numbers from 0 to 1844")
        self.refuse_argument("from-insns=9223372036854775808", "from 0 to 9223372036854775807")
        self.refuse_argument("state-words=0", "state-words=0: allowed are numbers from 1 to 4096")
        self.refuse_argument("state-words=4097", "allowed are numbers from 1 to 4096")
        self.refuse_argument("top=10001", "top=10001: allowed are numbers from 0 to 10000")
        self.refuse_argument("from=10",
                             "from=10: allowed are whole numbers with a unit, such as 10ms")
        self.refuse_argument("to=9223372037s", "9223372036s at most")
        self.refuse_argument("interval=1ms", "interval, .* and intervals, .* together")

    def test_files(self):
        self.refuse_argument("config=/nowhere/caches.conf",
                             r"/nowhere/caches.conf: there is no such file.*: graviton2 "
                             r"sapphire-rapids wells-2006 zen4-ccd\n")
        self.refuse_file("[l1d]\nsize = 5000\n",
                         r"\[l1d\] size=5000: allowed are multiples of 128 bytes, a set of 2 ways")
        self.refuse_file("[l1d]\nsize = 16384K\n",
                         r"\[l1d\] size=16384K: allowed is a whole number from 64 to 1M bytes")
        self.refuse_file("[l1d]\nways = 3\nsize = 12288\nreplacement = plru\n",
                         r"\[l1d\] replacement=plru: allowed only if ways is a power of two")
        self.refuse_file("[l1d]\nsize = many\n", r"\[l1d\] size=many: allowed is a whole number")
        self.refuse_file("[l1d]\nwayes = 2\n", r"\[l1d\] wayes.*size, ways, latency, replacement")
        self.refuse_file("[l1x]\nways = 2\n", r"\[l1x\].*machine, l1i, l1d, l2, l3")
        self.refuse_file("[directory]\nprotocol = firefly\n",
                         r"\[directory\] protocol=firefly: allowed is one of msi, mesi, mosi")
        self.refuse_file("[l2]\nbanks = 3\n", r"\[l2\] banks=3: allowed")
        self.refuse_file("[l2]\nlatency = 1\n", r"\[l2\] latency=1: allowed")
        self.refuse_file("ways = 2\n", "")


if __name__ == "__main__":
    unittest.main()
