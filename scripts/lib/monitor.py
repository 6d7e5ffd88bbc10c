"""A QEMU that runs, as scripts and tests see it over QMP: connect to it, read its
statistics.  QEMU's own library speaks the protocol.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import asyncio
import contextlib
import importlib
import logging
import os
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
LIBRARY = os.path.join(BUILD, "src/qemu/python")

PROVIDER = "vsched"
ATTEMPTS = 50           # to connect, 0.1 s apart: QEMU may just be starting
GREETING = 10           # s that a QEMU which is free may take to greet (choice)


class Gone(Exception):
    """QEMU has ended."""


class NoAnswer(Exception):
    """QEMU has not answered in the time that answer_within() allows."""


class Busy(OSError):
    """A socket of QEMU's speaks with one client at a time.  Others are not refused, they wait."""


def library():
    """QEMU's QMP library, which is part of the source tree that QEMU is built from."""
    if LIBRARY not in sys.path:
        sys.path.append(LIBRARY)
    try:
        importlib.import_module("qemu.qmp.legacy")
    except ModuleNotFoundError:
        sys.exit(f"error: {LIBRARY}/qemu/qmp is missing: scripts/setup run")
    # What goes wrong is raised; it need not be logged on standard error as well.
    logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
    return sys.modules["qemu.qmp"]


class Monitor:
    """Connected to the socket at @path.  OSError: nobody listens there; ValueError: somebody
    does who does not speak QMP."""

    def __init__(self, path):
        self.library = library()
        self.qmp = self.library.legacy.QEMUMonitorProtocol(path)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self.connect()
                break
            except asyncio.TimeoutError as fault:
                raise Busy("another program is connected to this socket, which takes one at a "
                           "time: end it, or give QEMU another -qmp unix:...") from fault
            except AssertionError as fault:     # QEMU has ended right after its first answer
                self.close()
                raise Gone from fault
            except self.library.ConnectError as fault:
                cause = fault.exc
                if isinstance(cause, self.library.qmp_client.GreetingError):
                    raise ValueError(str(cause)) from fault
                # Nobody listens yet.  Or an event has come before the answer to
                # qmp_capabilities, which the library does not expect.
                if attempt == ATTEMPTS:
                    raise (cause if isinstance(cause, OSError) else Gone) from fault
                time.sleep(0.1)

    def connect(self):
        """As QEMUMonitorProtocol.connect(), which would wait for ever."""
        # pylint: disable=protected-access
        self.qmp._qmp.await_greeting = self.qmp._qmp.negotiate = True
        self.qmp._sync(self.qmp._qmp.connect(self.qmp._address), GREETING)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def cmd(self, name, /, **arguments):
        try:
            return self.qmp.cmd(name, **arguments)
        except (self.library.ExecInterruptedError, self.library.StateError) as fault:
            raise Gone from fault
        except asyncio.TimeoutError as fault:
            raise NoAnswer(f"QEMU does not answer to {name}") from fault

    def answer_within(self, seconds):
        """cmd() raises NoAnswer after so long.  The command may still be carried out."""
        self.qmp.settimeout(seconds)

    def forget_events(self):
        """The library keeps all events until somebody asks for them, and a history for ever."""
        self.qmp.clear_events()
        self.qmp._qmp.events._history.clear()       # pylint: disable=protected-access

    def wait_shutdown(self):
        """Until the guest is powered off and the machine is paused (-action shutdown=pause)."""
        while self.cmd("query-status")["status"] != "shutdown":
            # Waiting for an event does not end when QEMU does; cmd() does.
            with contextlib.suppress(asyncio.TimeoutError):
                self.qmp.pull_event(wait=1.0)

    def close(self):
        with contextlib.suppress(EOFError, OSError):    # QEMU has closed it before
            self.qmp.close()


def statistics(monitor, provider=PROVIDER):
    """{target: {object: {name: value}}}, as the machine offers them: of the machine ("vm"), of
    VMs where there are several, of PCPUs and of VCPUs, these by their paths.  'monitor' is a
    Monitor, or a QEMUMachine."""
    out = {}
    for target in ("vm", "pcpu", "vcpu"):
        entries = monitor.cmd("query-stats", target=target, providers=[{"provider": provider}])
        for n, entry in enumerate(entries):
            name = entry.get("qom-path") or (target if target == "vm" else f"{target}[{n}]")
            where = out.setdefault(target, {}).setdefault(name, {})
            where.update((s["name"], s["value"]) for s in entry["stats"])
    return out
