"""Given a line of any QEMU since 1.0, the catalogue has the event in the form of that line's era."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dissectors.qemu
from dissectors.qemu.catalogue import Catalogue, load
from dissectors.qemu.declaration import DeclarationError, read_declarations
from dissectors.qemu.inverse import EventPattern, Value


def read(line: bytes) -> tuple[str, dict[str, Value]]:
    """The era of the first form that reads the line, and the values."""
    name, _, text = line.partition(b" ")
    for pattern in load().patterns(name):
        if (values := pattern.match(text)) is not None:
            return pattern.declaration.era, dict(values)
    raise AssertionError(line)


REQUEST = {"req": 0x7F70B0A82000, "df": 0, "data_is_ptr": 0, "addr": 0x10, "count": 1, "size": 2}

# Lines of QEMU 7.2 and 10.x as they were recorded, checked by hand.
RECORDED: list[tuple[bytes, dict[str, Value]]] = [
    (b"memory_region_ops_read cpu -1 mr 0x564a5d8637e0 addr 0x10 value 0x49d2 size 2 name 'xen-fixed'",
     {"cpu_index": -1, "mr": 0x564A5D8637E0, "addr": 16, "value": 0x49D2, "size": 2, "name": b"xen-fixed"}),
    (b"cpu_in addr 0x10(w) value 18898", {"addr": 16, "size": b"w", "val": 18898}),
    (b"cpu_out addr 0xcf8(l) value 2147485792", {"addr": 0xCF8, "size": b"l", "val": 0x80000860}),
    (b"xen_platform_log xen platform: AB", {"s": b"AB"}),
    (b"xen_pv_mmio_write WARNING: write to Xen PV Device MMIO space (address 0x2)", {"addr": 2}),
    (b"pci_cfg_write PIIX3-xen 00:01.0 @0x60 <- 0x5",
     {"dev": b"PIIX3-xen", "bus": 0, "slot": 1, "func": 0, "offs": 0x60, "val": 5}),
    (b"pci_update_mappings_add xen-platform 00:02.0 0,0xc000+0x100",
     {"dev": b"xen-platform", "bus": 0, "slot": 2, "func": 0, "bar": 0, "addr": 0xC000, "size": 0x100}),
    (b"xen_ioreq_server_state id: 0: enable: 1", {"id": 0, "enable": 1}),
    (b"xen_map_resource_ioreq id: 0 addr: 0x7f70b0a82000", {"id": 0, "addr": 0x7F70B0A82000}),
    (b"xen_map_portio_range id: 0 start: 0xcf8 end: 0xcfb", {"id": 0, "start_addr": 0xCF8, "end_addr": 0xCFB}),
    (b"xen_unmap_pcidev id: 0 bdf: 00.07.00", {"id": 0, "bus": 0, "dev": 7, "func": 0}),
    (b"runstate_set current_run_state 6 (prelaunch) new_state 9 (running)",
     {"current_state": 6, "current_state_str": b"prelaunch", "new_state": 9, "new_state_str": b"running"}),
    (b"vm_state_notify running 1 reason 9 (running)", {"running": 1, "reason": 9, "reason_str": b"running"}),
    (b"xs_node_vscanf backend/qdisk/1/768/state 1", {"path": b"backend/qdisk/1/768/state", "value": b"1"}),
    (b"xen_bus_realize ", {}),
    (b"xen_bus_add_watch node: backend/qdisk key: 1", {"node": b"backend/qdisk", "key": b"1"}),
    (b"xen_device_add_watch type: xen-disk name: 768 node: /local/domain/0/backend/qdisk/1/768 key: state",
     {"type": b"xen-disk", "name": b"768", "node": b"/local/domain/0/backend/qdisk/1/768", "key": b"state"}),
    (b"xen_device_frontend_state type: xen-disk name: 768 -> XenbusStateInitialising",
     {"type": b"xen-disk", "name": b"768", "state": b"XenbusStateInitialising"}),
    (b"xen_block_size xen-disk d0p0 16384", {"type": b"xen-disk", "disk": 0, "partition": 0, "sectors": 16384}),
    (b"xen_client_set_memory 0xf1000000 size 0x40000, log_dirty 0",
     {"start_addr": 0xF1000000, "size": 0x40000, "log_dirty": 0}),
    (b"cpu_reset 0", {"cpu_index": 0}),
]


@pytest.mark.parametrize(("line", "values"), RECORDED)
def test_a_recorded_line_is_read(line: bytes, values: dict[str, Value]) -> None:
    era, found = read(line)
    assert found == values
    assert era.endswith("-") or line.startswith(b"xs_node_vscanf")


# One line for each older form, composed from its declaration.
ERAS: list[tuple[bytes, str, dict[str, Value]]] = [
    (b"cpu_out addr 0x12 value 3", "1.0-2.4", {"addr": 0x12, "val": 3}),
    (b"cpu_out addr 0(b) value 3", "2.5-2.9", {"addr": 0, "size": b"b", "val": 3}),
    (b"memory_region_ops_read mr 0x55 addr 0 value 0x49d2 size 2", "1.6-2.5",
     {"mr": 0x55, "addr": 0, "value": 0x49D2, "size": 2}),
    (b"memory_region_ops_read cpu 0 mr 0x55 addr 0x10 value 0 size 2", "2.6-2.9",
     {"cpu_index": 0, "mr": 0x55, "addr": 0x10, "value": 0, "size": 2}),
    (b"memory_region_ops_read cpu 0 mr 0x55 addr 0x10 value 0x0 size 2", "2.10-6.0",
     {"cpu_index": 0, "mr": 0x55, "addr": 0x10, "value": 0, "size": 2}),
    (b"handle_ioreq_read I/O=0x7f70b0a82000 read type=0 df=0 ptr=0 port=0x10 data=0 count=1 size=2", "2.5-2.9",
     {**REQUEST, "type": 0, "data": 0}),
    (b"handle_ioreq I/O=0x7f70b0a82000 type=0 dir=1 df=0 ptr=0 port=0x10 data=0x0 count=1 size=2", "2.10-",
     {**REQUEST, "type": 0, "dir": 1, "data": 0}),
    (b"cpu_ioreq_pio_read_reg I/O=0x55 pio read reg data=0x49d2 port=0x10 size=2", "2.10-",
     {"req": 0x55, "data": 0x49D2, "addr": 0x10, "size": 2}),
    (b"pci_cfg_read xen-platform 02:0 @0x10 -> 0xc001", "1.7-6.2",
     {"dev": b"xen-platform", "devid": 2, "fnid": 0, "offs": 0x10, "val": 0xC001}),
    (b"pci_update_mappings_add d=0x55 00:02.0 0,0xc000+0x100", "2.10-6.2",
     {"d": 0x55, "bus": 0, "slot": 2, "func": 0, "bar": 0, "addr": 0xC000, "size": 0x100}),
    (b"pci_update_mappings_del d=0x55 00:02.0 0,0+0x100", "2.5-2.9",
     {"d": 0x55, "bus": 0, "slot": 2, "func": 0, "bar": 0, "addr": 0, "size": 0x100}),
    (b"xen_pv_mmio_read WARNING: read from Xen PV Device MMIO space (address ff)", "1.6-2.9", {"addr": 255}),
    (b"xen_map_mmio_range id: 1 start: 0 end: 0xfff", "2.3-2.9", {"id": 1, "start_addr": 0, "end_addr": 0xFFF}),
    (b"runstate_set new state 9", "1.5-3.1", {"new_state": 9}),
    (b"vm_state_notify running 1 reason 9", "1.0-3.1", {"running": 1, "reason": 9}),
    (b"xen_bus_add_watch node: backend/qdisk key: 1 token: 0x55aa", "4.0-4.1",
     {"node": b"backend/qdisk", "key": b"1", "token": b"0x55aa"}),
    (b"xen_disk_connect xen-768", "2.12-3.1", {"name": b"xen-768"}),
    (b"xen_device_backend_state type: xen-disk name: 768 -> Connected", "4.0-",
     {"type": b"xen-disk", "name": b"768", "state": b"Connected"}),
    (b"xs_node_read /local/domain/0/backend/qdisk/7/768/state 4", "10.0-",
     {"path": b"/local/domain/0/backend/qdisk/7/768/state", "value": b"4"}),
    (b"guest_cpu_reset cpu=0x55", "2.6-7.2", {"__cpu": 0x55}),
    (b"kvm_xen_soft_reset ", "8.0-", {}),
    (b"destroy_hvm_domain_action Issued domain 7 poweroff", "9.0-", {"xen_domid": 7, "action": b"poweroff"}),
]


@pytest.mark.parametrize(("line", "era", "values"), ERAS)
def test_a_line_of_each_era_is_read(line: bytes, era: str, values: dict[str, Value]) -> None:
    assert read(line) == (era, values)


def test_every_form_of_ours_has_an_era_and_compiles() -> None:
    catalogue = load()
    for name in catalogue.names:
        patterns = catalogue.patterns(name)
        assert patterns
        assert [pattern.declaration for pattern in patterns] == list(catalogue.declarations(name))
        for pattern in patterns:
            assert pattern.declaration.name.encode() == name
            assert pattern.declaration.era
            assert isinstance(pattern, EventPattern)


def test_the_newest_era_is_first() -> None:
    assert [one.era for one in load().declarations(b"memory_region_ops_write")] == [
        "6.1-", "2.10-6.0", "2.6-2.9", "1.6-2.5"
    ]


def test_a_form_that_a_newer_one_would_swallow_is_before_it() -> None:
    watch = [one.era for one in load().declarations(b"xen_bus_add_watch")]
    assert watch == ["4.0-4.1", "4.2-"]
    mappings = [one.era for one in load().declarations(b"pci_update_mappings_add")]
    assert mappings == ["2.10-6.2", "2.5-2.9", "2.3-2.4", "7.0-"]


def test_ours_are_what_their_files_declare() -> None:
    folder = Path(dissectors.qemu.__file__).with_name("events")
    declared = [
        one for path in sorted(folder.glob("*.trace-events"))
        for one in read_declarations(path.read_text(), f"events/{path.name}")
    ]  # fmt: skip
    catalogue = load()
    whole = Catalogue(declared)
    assert catalogue.names == whole.names == {one.name.encode() for one in declared}
    for name in whole.names:
        assert catalogue.declarations(name) == whole.declarations(name)


def test_an_unknown_event_has_no_patterns() -> None:
    assert load().patterns(b"no_such_event") == ()
    assert load().declarations(b"no_such_event") == ()


def test_a_users_form_is_tried_first_and_ours_is_kept(tmp_path: Path) -> None:
    private = tmp_path / "trace-events-all"
    private.write_text('cpu_in(unsigned int port, unsigned int data) "port %u data %u"\nmine(int a) "a=%d"\n')
    catalogue = load([private])
    first, *others = catalogue.patterns(b"cpu_in")
    assert first.declaration.origin == f"{private}:1"
    assert first.match(b"port 16 data 3") == {"port": 16, "data": 3}
    assert [one.declaration.era for one in others] == ["2.10-", "2.5-2.9", "1.0-2.4"]
    assert catalogue.patterns(b"mine")[0].match(b"a=-1") == {"a": -1}
    assert b"mine" not in load().names


def test_a_users_bad_line_is_named(tmp_path: Path) -> None:
    private = tmp_path / "trace-events-all"
    private.write_text("# mine\nnot a declaration\n")
    with pytest.raises(DeclarationError, match=r"trace-events-all:2: expected"):
        load([private])


def test_loading_imports_nothing_heavy() -> None:
    script = "import sys, json; import dissectors.qemu.catalogue as c; c.load(); print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.check_output([sys.executable, "-c", script], text=True))
    assert not {"numpy", "pandas", "scapy", "importlib.resources"} & set(modules)
