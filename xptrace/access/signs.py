"""Signs of life: what a device model's other events say of its VM, beside the accesses of the guest.

Law: hw/xen/xen-bus.c and xen_devconfig.c of QEMU (PV back ends and their states), xen/include/public/io/xenbus.h (the
states' numbers), hw/xen/xen-hvm-common.c (functions that the hypervisor hands to the device model), system/runstate.c::

    xen_device_frontend_state type: xen-disk name: 768 -> XenbusStateConnected
    xen_unmap_pcidev id: 0 bdf: 00.07.00
    runstate_set current_run_state 6 (prelaunch) new_state 9 (running)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dissectors.record import Record
from dissectors.vocabulary import (
    DEVICE_LINE,
    DEVICE_START,
    DOMAIN,
    DOMAIN_LIFE,
    DRIVER_INFO,
    GUEST_CRASH,
    GUEST_START,
    QMP_EVENT,
    STORE_NODE,
    STORE_REMOVE,
    STORE_WRITE,
)
from xptrace.access.rows import Topic
from xptrace.access.spaces import place

XENBUS_STATES: Final = (
    "Unknown", "Initialising", "InitWait", "Initialised", "Connected", "Closing", "Closed", "Reconfiguring",
    "Reconfigured",
)
"""The word of each state by its number: xen/include/public/io/xenbus.h."""
CONNECTED: Final = XENBUS_STATES.index("Connected")
_KINDS: Final = {
    "xen-disk": "vbd", "xen-cdrom": "vbd", "xen-block": "vbd", "xen-net-device": "vif", "xen-console": "console",
}
_STATE_NODE: Final = re.compile(
    r"(?:/local/domain/\d+/)?(?P<end>device|backend)/(?P<kind>\w+)/(?:(?P<domain>\d+)/)?(?P<id>\d+)/state$"
)
_BACKEND_KINDS: Final = {"qdisk": "vbd", "vbd3": "vbd", "qnic": "vif"}

_REQUEST: Final = "control/shutdown"
"""The node by which the toolstack asks a guest to shut down, reboot or suspend; the guest empties it as it begins."""

Sign = tuple[Topic, str, str, int | None]
"""(topic, subject, what is said, a number where there is one)."""


def state_of(word: str) -> int | None:
    """The number of a state from its word, with or without the enumeration's prefix, or from its digit."""
    word = word.removeprefix("XenbusState")
    if word.isdigit():
        return int(word) if int(word) < len(XENBUS_STATES) else None
    return XENBUS_STATES.index(word) if word in XENBUS_STATES else None


def _text(record: Record, name: str) -> str:
    return record.text(name).decode("utf-8", "replace")


def _device_state(topic: Topic) -> Callable[[Record], Sign | None]:
    def read(record: Record) -> Sign | None:
        kind, word = _text(record, "type"), _text(record, "state")
        state = state_of(word)
        subject = f"{_KINDS.get(kind, kind)}/{_text(record, 'name')}"
        return topic, subject, word.removeprefix("XenbusState"), state

    return read


def _net_state(record: Record) -> Sign | None:
    state = record.integer("state")
    if state is None or not 0 <= state < len(XENBUS_STATES):
        return None
    return "frontend", f"vif/{_text(record, 'dev')}", XENBUS_STATES[state], state


def _node(record: Record) -> Sign | None:
    """A node of xenstore; a state of a PV device is told as such."""
    path, value = _text(record, "path"), _text(record, "value")
    if path.endswith(_REQUEST):
        said = f"asks for {value}" if value else "asks for nothing (more)"
        return "life", "toolstack", said, None
    found = _STATE_NODE.search(path)
    state = state_of(value.strip()) if found else None
    if found is None or state is None:
        return "store", path, value, None
    kind = _BACKEND_KINDS.get(found["kind"], found["kind"])
    topic: Topic = "frontend" if found["end"] == "device" else "backend"
    return topic, f"{kind}/{found['id']}", XENBUS_STATES[state], state


def _image(said: str) -> Callable[[Record], Sign | None]:
    """A back end of a disk opens or leaves its image: named by kind and number, which are no node of xenstore."""
    return lambda record: (
        "backend", f"{_text(record, 'type')} d{record.integer('disk')}p{record.integer('partition')}", said, None
    )


def _disk(said: str) -> Callable[[Record], Sign | None]:
    """The same before QEMU 4.0, by the name of the image."""
    return lambda record: ("backend", f"disk {_text(record, 'name')}", said, None)


def _ring(said: str) -> Callable[[Record], Sign | None]:
    """A back end of a NIC takes or leaves the guest's rings."""
    return lambda record: ("backend", f"vif/{record.integer('dev')}", said, None)


def _function(said: str) -> Callable[[Record], Sign | None]:
    def read(record: Record) -> Sign | None:
        bus, slot, function = (record.integer(name) for name in ("bus", "dev", "func"))
        if bus is None or slot is None or function is None:
            return None
        number = bus << 8 | slot << 3 | function
        return "function", place(number), said, number

    return read


def _mapping(said: str) -> Callable[[Record], Sign | None]:
    def read(record: Record) -> Sign | None:
        bus, slot, function = (record.integer(name) or 0 for name in ("bus", "slot", "func"))
        bar, base, size = (record.integer(name) for name in ("bar", "addr", "size"))
        if bar is None or base is None or size is None:
            return None
        number = bus << 8 | slot << 3 | function
        return "mapping", f"{place(number)} BAR{bar}", f"{said} 0x{base:x}+0x{size:x}", base

    return read


def _life(said: str) -> Callable[[Record], Sign | None]:
    return lambda _record: ("life", "device model", said, None)


def _runstate(record: Record) -> Sign | None:
    said = _text(record, "new_state_str") or str(record.integer("new_state"))
    return "life", "runstate", said, record.integer("new_state")


def _gone(record: Record) -> Sign | None:
    return "life", "domain", _text(record, "action"), record.integer("xen_domid")


SHUTDOWN_REASONS: Final = ("poweroff", "reboot", "suspend", "crash", "watchdog", "soft reset")
"""The word of each reason by its number: xen/include/public/sched.h."""


def _domain_life(record: Record) -> Sign | None:
    said, reason = _text(record, "what"), record.integer("reason")
    if reason is not None:
        said += f": {SHUTDOWN_REASONS[reason] if 0 <= reason < len(SHUTDOWN_REASONS) else reason}"
    return "life", "domain", said, reason


def _identity(record: Record) -> Sign | None:
    told = [f"{key} {_text(record, key)}" for key in ("name", "uuid") if record.text(key)]
    return ("identity", f"domain {record.domain}", ", ".join(told), record.domain) if told else None


def _qmp(record: Record) -> Sign | None:
    reason = _text(record, "reason")
    return "life", "device model", _text(record, "name") + (f": {reason}" if reason else ""), None


def _driver(record: Record) -> Sign | None:
    product, build = record.integer("product"), record.integer("build")
    told = [f"{name} {value}" for name, value in (("product", product), ("build", build)) if value is not None]
    return "driver", "device model's word", ", ".join(told) or "told, without numbers", product


def _crash(record: Record) -> Sign | None:
    numbers = [record.integer(name) for name in ("code", "p1", "p2", "p3", "p4")]
    said = " ".join("?" if number is None else f"{number:x}" for number in numbers)
    return "life", "guest", f"reports a crash: {said}", numbers[0]


def _says(subject: str, value: str) -> Callable[[Record], Sign | None]:
    return lambda record: ("life", subject, _text(record, value), None)


SIGNS: Final[dict[str, Callable[[Record], Sign | None]]] = {
    "xen_device_frontend_state": _device_state("frontend"),
    "xen_device_backend_state": _device_state("backend"),
    "xen_netdev_frontend_changed": _net_state,
    "xs_node_vprintf": _node, "xs_node_vscanf": _node, "xs_node_read": _node,
    STORE_WRITE: _node, STORE_REMOVE: _node, STORE_NODE: _node,
    DOMAIN: _identity, DOMAIN_LIFE: _domain_life, QMP_EVENT: _qmp, DRIVER_INFO: _driver, GUEST_CRASH: _crash,
    DEVICE_START: _life("created"), DEVICE_LINE: _says("device model", "s"), GUEST_START: _says("guest's kernel", "s"),
    "xen_block_realize": _image("begun"), "xen_block_connect": _image("holds its image"),
    "xen_block_disconnect": _image("leaves its image"), "xen_block_unrealize": _image("gone"),
    "xen_disk_connect": _disk("holds its image"), "xen_disk_disconnect": _disk("leaves its image"),
    "xen_netdev_connect": _ring("takes the rings"),
    "xen_netdev_disconnect": _ring("leaves the rings"),
    "xen_map_pcidev": _function("mapped"), "xen_unmap_pcidev": _function("unmapped"),
    "pci_update_mappings_add": _mapping("mapped"), "pci_update_mappings_del": _mapping("unmapped"),
    "xen_ioreq_server_create": _life("created"), "xen_ioreq_server_destroy": _life("destroyed"),
    "kvm_xen_soft_reset": _life("soft reset"), "qemu_system_reset_request": _life("reset requested"),
    "system_reset": _life("reset"), "qemu_system_shutdown_request": _life("shutdown requested"),
    "qemu_system_powerdown_request": _life("powerdown requested"), "runstate_set": _runstate,
    "destroy_hvm_domain_action": _gone,
}
"""An event to what it says; None where a record of it says nothing that is understood."""
