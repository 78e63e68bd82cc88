"""The events that recordings beside QEMU's own trace tell, whatever the format, and the values of each.

Law: xen/include/public/hvm/ioreq.h for directions, xen/include/public/sched.h for the reasons of a shutdown. One kprobe
line, one xentrace record and one line of a qtest log that tell of a read of a port are one and the same event::

    Record(event=PORT_ACCESS, values={"dir": READ, "addr": 0x10, "size": 2, "val": 0x49d2, "count": 1}, ...)

A value that the format does not tell is None, or not there.
"""

from __future__ import annotations

from typing import Final

WRITE, READ = 0, 1
"""Values of `dir`."""

PORT_ACCESS: Final = "port_access"
"""One whole access of a guest to an I/O port: `dir`, `addr`, `size` of an element in bytes, `val`, `count` of elements.

Elements of a string access whose values are told are records of their own with count 1, in order; those whose values
are not told are one record without `val`. `cpu_index` is the vCPU."""
MEMORY_ACCESS: Final = "memory_access"
"""The same of guest-physical memory."""
GUEST_LINE: Final = "guest_line"
"""One line that a guest said, otherwise than in QEMU's `xen_platform_log`: `s`, and the way that it took, `via`."""
VIA_LOG, VIA_DEBUG, VIA_KERNEL = b"log", b"debug", b"kernel"
"""Ways: the log port as qemu-xen-traditional writes it; port 0xe9, the hypervisor's console; the guest's own kernel
messages (its console, its syslog)."""
GUEST_START: Final = "guest_start"
"""A guest's kernel begins to run, a new boot: `s`, the line that says so."""
DEVICE_LINE: Final = "device_line"
"""A line by which a device model of Xen's says what it is or does, or a guest that imitates it: `s`."""
DEVICE_START: Final = "device_start"
"""A device model of Xen's begins: qemu-xen-traditional's first line about its domain."""
STORE_WRITE: Final = "xenstored_write"
"""A node of xenstore was written: `path`, `value`, both as logged."""
STORE_REMOVE: Final = "xenstored_rm"
"""A node of xenstore was removed: `path`; `value` is empty."""
STORE_NODE: Final = "xenstore_node"
"""A node of xenstore as a listing shows it: `path`, `value`."""
DOMAIN: Final = "domain"
"""Who the domain is (`Record.domain`): `name` and `uuid`, as far as told."""
DOMAIN_LIFE: Final = "domain_life"
"""What the toolstack or the hypervisor says became of a domain: `what` in words, `reason` where told."""
QMP_EVENT: Final = "qmp_event"
"""An event of QMP: `name`, and `reason`, the word that the event gives for it, where it has one."""
DRIVER_INFO: Final = "driver_info"
"""XenServer's QEMU tells what the driver said of itself (XEN_PLATFORM_PV_DRIVER_INFO): `product`, `build`."""
GUEST_CRASH: Final = "guest_crash"
"""The hypervisor saw the guest report a crash: `code`, `p1` to `p4`."""
