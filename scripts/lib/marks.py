"""The mark register of bare-metal programs on a cmp machine: the machine stops where the work
begins, and where it is done.

SPDX-License-Identifier: GPL-2.0-or-later
"""

MARK = 0x1fe0f100000            # an address where nothing else is
PARAMETER = f"mark={MARK:#x}"   # of the program
DEVICE = ["-device", f"vsched-mark,addr={MARK:#x},stop=on"]
