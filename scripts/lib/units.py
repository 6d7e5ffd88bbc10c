"""Times with a unit, as users write them.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import re

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


def nanoseconds(text):
    """Of "10ms" or "1.5us"; None if it is no such time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s)", text)
    return round(float(found.group(1)) * UNITS[found.group(2)]) if found else None
