"""What QMP can be asked about any type and any object: an answer or an error, and QEMU goes on.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import unittest

from support import Guest


class Introspection(unittest.TestCase):
    timeout = 120

    def all_types(self, arch, machine):
        with Guest("-M", machine, "-S", "-display", "none", arch=arch) as guest:
            types = [entry["name"] for entry in guest.cmd("qom-list-types", abstract=True)]
            # The three that aborted: each creates an object to look at, and frees it.
            for name in ("memory-region-portio-list", "qio-net-listener", "qemu-fixed-text-console"):
                self.assertIn(name, types)
            answers = 0
            for command in ("qom-list-properties", "device-list-properties"):
                for name in types:
                    reply = guest.qmp(command, typename=name)
                    self.assertTrue("return" in reply or "error" in reply, f"{command} {name}")
                    answers += "return" in reply
            self.assertGreater(answers, len(types))

            paths = ["/"]
            while paths:
                path = paths.pop()
                for entry in guest.cmd("qom-list", path=path):
                    reply = guest.qmp("qom-get", path=path, property=entry["name"])
                    self.assertTrue("return" in reply or "error" in reply, f"{path} {entry}")
                    if entry["type"].startswith("child<"):
                        paths.append(path.rstrip("/") + "/" + entry["name"])
            self.assertEqual(guest.cmd("query-status")["running"], False)

    def test_sparc(self):
        self.all_types("sparc64", "cmp8")

    def test_x86(self):
        self.all_types("x86_64", "q35")
