"""Ctrl-C and SIGTERM as a wish that what is being done comes to a good end.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import signal
import time

AGAIN = 1.0     # s; what comes sooner is the same wish: timeout(1) sends each signal twice


def asked_to_end():
    """A function that says whether somebody has asked since now.  Who asks again later does not
    want to wait."""
    asked = []

    def ask(number, _):
        asked.append(time.monotonic())
        if asked[-1] - asked[0] > AGAIN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return lambda: bool(asked)
