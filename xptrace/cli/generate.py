"""``xptrace generate``: a recording that nobody made: a driver's model against a device's, in a form that QEMU writes.

A recording is the same every time, byte for byte. It decodes to the accesses that were made, and replays on its own
device without a divergence.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from dissectors.qemu.writing import FORMS
from xptrace.cli import common, device
from xptrace.errors import XptraceError
from xptrace.exports.history import EPOCHS, History, history, parse_epochs
from xptrace.exports.recording import DEFAULT_EVENTS, EVENTS, GAP_NS, Recorder, form_for, release, releases_of, spelt
from xptrace.model.drivers import DRIVERS, declared, find_driver, parse_options
from xptrace.replay.device import named
from xptrace.views.escape import printable
from xptrace.views.moment import Limit
