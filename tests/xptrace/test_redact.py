"""What may leave the house: no name, address or text of it is in any output, and every finding still is."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from itertools import product as every
from pathlib import Path
from string import ascii_letters, ascii_lowercase

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.xptrace.findings.making import examined, mask, preamble, recording, said, timed
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access, Entry, Event, Message
from xptrace.cli import main
from xptrace.errors import XptraceError
from xptrace.share.pseudonyms import Pseudonyms
from xptrace.share.redact import Redacted, Secrecy, redact
from xptrace.share.texts import GuestTexts
from xptrace.share.words import WORDS

KEY = b"the same key for every test here"


def redacted(path: Path, out: Path, **secrecy: object) -> Redacted:
    return redact([str(path)], str(out), secrecy=Secrecy(key=KEY, **secrecy))  # type: ignore[arg-type]


def entries(*paths: Path) -> list[Entry]:
    return list(Decoder([str(path) for path in paths]).entries())


# -- secrets: planted everywhere, found nowhere

_LETTERS = "bcdfghjklmnpqrstvwxz"
"""Without vowels: a word that the formats have too is nobody's secret."""
_WORD = st.text(_LETTERS, min_size=7, max_size=12)
_NAMES = st.one_of(
    _WORD, _WORD.map(str.upper), _WORD.map(str.title),
    st.builds("{}{}".format, _WORD, st.integers(10, 99)),
    st.builds("{}-{}".format, _WORD, _WORD), st.builds("{}.{}_{}".format, _WORD, _WORD, _WORD),
)
_HEX = st.text("0123456789abcdef", min_size=12, max_size=12).filter(lambda text: len(set(text)) > 4)
_TEXTS = st.one_of(
    _NAMES, st.text("абвгдежзийклмн", min_size=5, max_size=9), st.text("日本語東京都市名前", min_size=4, max_size=8)
)


def _uuid(digits: str) -> str:
    whole = (digits * 3)[:32]
    return "-".join((whole[:8], whole[8:12], whole[12:16], whole[16:20], whole[20:]))


def _mac(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


@st.composite
def plants(draw: st.DrawFn) -> dict[str, str]:
    """Everything that is nobody's business, each once."""
    names = draw(st.lists(_NAMES, min_size=8, max_size=8, unique_by=str.lower))
    texts = draw(st.lists(_TEXTS, min_size=4, max_size=4, unique=True))
    numbers = draw(st.lists(_HEX, min_size=4, max_size=4, unique=True))
    assume(not any(word.lower() in WORDS for name in names for word in re.split(r"[-._]", name)))
    return {
        **dict(zip(("vm", "host", "user", "image", "bridge", "function", "node", "device"), names, strict=True)),
        **{f"text{at}": text for at, text in enumerate(texts)},
        "uuid": _uuid(numbers[0]), "mac": _mac(numbers[1]), "pointer": f"0x7{numbers[2][1:]}",
        "crash": f"F{numbers[3][1:].upper()}FFF", "ip": draw(st.sampled_from(("203.0.113.77", "198.51.100.238"))),
        "stale": draw(st.text(_LETTERS, min_size=7, max_size=7)), "pid": str(draw(st.integers(4_200_000, 4_299_999))),
    }


def by_bytes(text: str) -> Iterator[str]:
    for byte in text.encode():
        yield f"cpu_out addr 0x12(b) value {byte}"
        yield f"memory_region_ops_write cpu -1 mr 0x55ab652d8a50 addr 0x12 value 0x{byte:x} size 1 name 'xen-fixed'"
    yield "cpu_out addr 0x12(b) value 10"


def octal(text: str) -> str:
    return "".join(f"#{byte:03o}" for byte in text.encode())


def device_model(one: dict[str, str]) -> list[str]:
    """A log of a device model: every place where a secret may stand, in every form of prefix, and lines of others."""
    return [
        f"qemu-system-i386: -name {one['vm']}: {one['user']} {one['ip']}",
        "xen_ioreq_server_create id: 0", *preamble(4369), mask(3),
        f"memory_region_ops_read cpu 0 mr {one['pointer']} addr 0x10 value 0x49d2 size 2 name 'xen-fixed'",
        f"memory_region_ops_read cpu 0 mr {one['pointer']} addr 0x11 value 0x49d2 size 1 name '{one['device']}'",
        (f"handle_ioreq I/O={one['pointer']} type=0 dir=1 df=0 ptr=0 port=0x10 data=0x{one['stale'].encode().hex()} "
         "count=1 size=2"),
        f"cpu_ioreq_pio_read_reg I/O={one['pointer']} pio read reg data=0x49d2 port=0x10 size=2",
        f"xs_node_vscanf /local/domain/7/name {one['vm']}",
        f"xs_node_vscanf /local/domain/0/backend/qdisk/7/768/params aio:/home/{one['user']}/{one['image']}.qcow2",
        f"xs_node_vprintf /local/domain/7/data/{one['node']} {one['text0']}",
        f"xs_node_read backend/vif/7/0/mac {one['mac']}",
        f"xs_node_read backend/vif/7/0/bridge {one['bridge']}",
        f"xen_bus_add_watch node: /local/domain/7/{one['node']} key: {one['node']} token: {one['device']}",
        f"xen_device_frontend_state type: xen-disk name: {one['device']} -> XenbusState{one['node']}",
        "xen_device_frontend_state type: xen-disk name: 768 -> XenbusStateConnected",
        f"xen_netdev_realize vif0 info 'nic={one['mac']}' peer '{one['bridge']}'",
        f"xen_block_blockdev_add {{\"filename\": \"/home/{one['user']}/{one['image']}\"}}",
        f"pci_cfg_read {one['device']} 00:02.0 @0x0 -> 0x15853",
        f"destroy_hvm_domain_action Issued domain 7 {one['text0']}",
        f"xen_ram_alloc requested: 0x{one['pointer'][3:10]}, size 0x{one['pointer'][4:11]}",
        said(f"Booting {one['text0']} as {one['user']}@{one['host']} {one['ip']} {one['uuid']}"),
        said(f"XEN|{one['function']}: {one['text1']}"), said(f"xen{one['function'].lower()}|{one['text2']}"),
        said("XEN|BUGCHECK: ====>"),
        said(f"XEN|BUGCHECK: 000000D1: {one['crash']} 0000000000000002 {one['crash']} 00000000"),
        said(f"XEN|BUGCHECK: EXCEPTION ({one['crash']}):"),
        said(f"XEN|BUGCHECK: - RIP = {one['crash']}"),
        said(f"XEN|BUGCHECK: {one['crash']}: ({one['crash']} {one['crash']} {one['crash']} {one['crash']}) "
             f"{one['text3']}.sys + {one['crash']}"),
        said(f"XEN|BUGCHECK: {one['text0']}"), said("XEN|BUGCHECK: <===="),
        said("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)"), said(f"UNPLUG: {one['text1']}"), said("UNPLUG: DISKS"),
        said(f"13{'0' * 11}: {one['text2']}"), said(f"SUSPEND: EARLY (0) {one['text3']}"),
        said(octal(one["text0"])), said(f"\x1b]0;{one['text1']}\x07=cmd|'{one['text2']}'!A0</script>\u202e"),
        said(f"XENFILT|DriverUpdateActive: PCI\\VEN_5853&DEV_0001&REV_02\\{one['text3']}"),
        f"{one['text0']}cpu_in addr 0x10(w) value 18898 {one['text1']}",
        f"{one['user']} cpu_out addr 0x10(w) value 3",
        f"{one['text2']} {said(one['text3'])}", f"[{one['vm']}] cpu_in addr 0x10(w) value 18898",
        f"[{one['vm']}] qemu-system-i386: ({one['pid']}:{one['user']}): cpu_in addr 0x10(w) value 18898",
        f"{one['pid']}@1795401500.773285:cpu_in addr 0x10(w) value 18898",
        f"{one['pid']}@1795401500773285000 cpu_in addr 0x10(w) value 18898",
        f"Nov 23 03:12:23 {one['host']} qemu-system-i386[{one['pid']}]: cpu_in addr 0x10(w) value 18898",
        f"Nov 23 03:12:23 {one['host']} {one['device']}[{one['pid']}]: cpu_in addr 0x10(w) value 18898",
        (f"<30>1 2026-11-23T03:12:23.985651+00:00 {one['host']} qemu {one['pid']} - "
         f"[x@1 {one['node']}=\"{one['text0']}\"]  cpu_in addr 0x10(w) value 18898"),
        (f"2026-11-23T03:12:23.985651+00:00 {one['host']} qemu-dm-7[{one['pid']}]: message repeated 3 times: "
         f"[ {said(one['text2'])}]"),
        (f"  {one['user'][:15]}-{one['pid']} [000] .... 12773.927666: tracing_mark_write: "
         "cpu_in addr 0x10(w) value 18898"),
        "Unknown PV product 2 loaded in guest", f"Guest uuid = {one['uuid']}", "domid: 7",
        f"Watching /local/domain/7/{one['node']}", f"pci_dev_unplug: {one['device']} {one['text1']}",
        f"throttling guest access to syslog{one['text1']}",
        f"throttling guest access to syslogXEN|{one['function']}: x",
        ('{"timestamp": {"seconds": 1795404302, "microseconds": 62187}, "event": "DEVICE_DELETED", "data": '
         f'{{"device": "{one["device"]}", "path": "/machine/{one["node"]}"}}}}'),
        ('{"timestamp": {"seconds": 1795404302, "microseconds": 62187}, "event": "SHUTDOWN", "data": '
         f'{{"guest": false, "reason": "{one["text0"]}", "{one["node"]}": "{one["text1"]}"}}}}'),
        f"xen_platform_{one['node']} {one['text0']}",
        *by_bytes(f"{one['text1']} {one['user']}"), *by_bytes("UNPLUG: NICS"), *by_bytes(one["text3"]),
    ]


def around(one: dict[str, str]) -> dict[str, list[str]]:
    """What stands around a device model: xenstore's logs and listings, the toolstack, the hypervisor, the kernel."""
    vm, pid, ours = one["vm"], one["pid"], one["function"].replace(".", "_").replace("-", "_")
    return {
        "xenstored-access.log": [
            f"[20261123T03:11:07.385Z]  A8.2         write     /local/domain/7/name {vm}",
            f"[20261123T03:11:07.385Z]  A8.2         write     /local/domain/7/vm /vm/{one['uuid']}",
            f"[20261123T03:17:30.038Z]  D7           write     data/{one['node']} {one['text0']}",
            f"[20261123T03:17:30.038Z]  D7           write     attr/vif/0/ipv4/0 {one['ip']}",
            "[20261123T03:17:30.038Z]  D7           write     device/vbd/768/state 4",
        ],
        "xenstored-trace.log": [
            f"CREATE connection {one['pointer']}", "Checking store ...",
            f"IN {one['pointer']} 20261123 02:37:17 INTRODUCE (7 1044476 1 )", f"CREATE connection {one['pointer']}",
            f"IN {one['pointer']} 20261123 02:37:18 WRITE (data/{one['node']} {one['text1']})",
            f"io: IN {one['pointer']} (d7) 20261123 03:43:50 WRITE (device/vbd/768/state 3)",
            f"io: IN {one['pointer']} (d0) 20261123 03:43:50 WRITE (/local/domain/7/name {vm})",
        ],
        "xenstore-ls.txt": [
            f'/local/domain/7/name = "{vm}"   (n0,r7)', f'/local/domain/7/vm = "/vm/{one["uuid"]}"   (n0,r7)',
            f'/local/domain/7/data/{one["node"]} = "{one["text2"]}"   (n7)',
            f'/local/domain/0/backend/vif/7/0/mac = "{one["mac"]}"   (n0,r7)',
            '/local/domain/7/device/vbd/768/state = "4"   (n7)',
        ],
        f"xl-{vm}.log": [
            f"Waiting for domain {vm} (domid 7) to die [pid {pid}]",
            f"libxl: debug: libxl_dm.c:1:{ours}: Domain 7:  -name",
            f"libxl: debug: libxl_dm.c:1:libxl__spawn_local_dm: Domain 7:  {vm}",
            (f"libxl: debug: libxl_domain.c:1:libxl_domain_destroy: Domain 7:ao {one['pointer']}: create: "
             f"how={one['text0']}"),
            "Domain 7 has shut down, reason code 1 0x1", "Action for shutdown reason code 1 is restart",
            f"xc: info: Saving domain 7, type {one['user']}", f"libxl: error: {one['text1']}",
        ],
        "xensource.log": [
            (f"Dec  5 13:17:39 {one['host']} xenopsd-xc: [debug||8 |{one['user']}|xenops] EPOLL error on domain-7, "
             "close QMP socket"),
            (f"Dec  5 13:17:40 {one['host']} xenopsd-xc: [ info||31 |VM.start R:{one['function']}|xenops] "
             f"VM = {one['uuid']}; domid = 7"),
            (f"Dec  5 13:17:41 {one['host']} xapi: [ info||31 ||{one['node']}] VM = {one['uuid']}; "
             f"domid = 7; {one['text0']}"),
        ],
        "hypervisor.log": [
            f"[2026-11-23 03:39:50] (XEN) Command line: {one['text0']}",
            f"(d7) [  132.028963] XEN|{one['function']}: {one['text1']}", f"(d7) [  132.028963] {one['text2']}",
            f"(XEN) {one['node']}:12:d7v0 VIRIDIAN CRASH: d1 {one['crash'].lower()} 2 0 {one['crash'].lower()}",
            "(XEN) Domain 7 (vcpu#0) crashed on cpu#3:", f"(XEN) HVM7: XEN|BUGCHECK: {one['text3']}",
        ],
        f"guest-{vm}.log": [
            f"[2026-11-23 03:16:37] [    0.000000] Linux version 6.1-{one['node']} ({one['user']}@{one['host']}) (x)",
            f"[2026-11-23 03:16:37] [    0.000000] Command line: root={one['text0']} xen_emul_unplug={one['text1']}",
            "[2026-11-23 03:16:37] [    0.000000] Hypervisor detected: Xen HVM",
            f"[2026-11-23 03:16:38] [    1.000000] {one['text2']}",
            ("[2026-11-23 03:16:38] [    1.100000] platform_pci_unplug: unrecognised option "
             f"'{one['text3']}' in parameter 'xen_emul_unplug'"),
            (f"Dec 11 09:44:20 {one['host']} kernel: [    2.000000] xenbus_probe_frontend: Device with no driver: "
             f"device/{one['node'].replace('.', '')}/0"),
        ],
        "trace_pipe.txt": [
            "       CPU 0/KVM-1680    [001] ..... 12773.927666: kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2 ",
            *(f"  {one['user'][:12]}/KVM-{pid} [001] ..... 12773.9277{at:02}: kvm_pio: pio_write at 0x12 size 1 count"
              f" 1 val 0x{byte:x} " for at, byte in enumerate(one["text0"].encode())),
        ],
    }


def secrets_in(one: dict[str, str]) -> set[str]:
    """What must not be there: each secret, and each of its words."""
    found = set(one.values()) - {one["pid"]} | {one["pointer"][2:]}
    for name in ("vm", "host", "user", "image", "bridge", "function", "node", "device", "text0", "text1", "text2",
                 "text3"):
        found |= {word for word in re.split(r"[-._]", one[name]) if len(word) >= 4 and not word.isdigit()}
    return found


def encodings(secret: str) -> Iterator[bytes]:
    """A secret in every way in which it may be written."""
    raw = secret.encode()
    yield from (raw, raw.hex().encode(), raw.hex().upper().encode(), json.dumps(secret)[1:-1].encode(),
                octal(secret).encode(), octal(secret).replace("#", "\\").encode(),
                "".join(f"\\x{byte:02x}" for byte in raw).encode(), "".join(f"\\{byte:03}" for byte in raw).encode(),
                secret.encode("utf-16-le"))


def leaks(folder: Path, one: dict[str, str]) -> list[tuple[str, str]]:
    """Every output, by its contents or name, in which a secret is, and the secret."""
    found = []
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder)).encode()
        contents = path.read_bytes() if path.is_file() else b""
        messages = [entry.text for entry in entries(path) if isinstance(entry, Message)] if path.is_file() else []
        whole = b"\n".join((name, contents, "\n".join(messages).encode("utf-8", "replace"))).lower()
        found += [(path.name, secret) for secret in secrets_in(one)
                  if any(way.lower() in whole for way in encodings(secret))]
        if re.search(rb"(?<!\d)" + one["pid"].encode() + rb"(?!\d)", whole):
            found.append((path.name, one["pid"]))
    return found


def write_all(folder: Path, files: dict[str, Iterable[str]]) -> None:
    folder.mkdir()
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")


class TestSecrets:
    @settings(max_examples=12, deadline=None, derandomize=True,
              suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(plants())
    def test_no_secret_is_in_any_output_in_any_encoding(
        self, tmp_path_factory: pytest.TempPathFactory, one: dict[str, str]
    ) -> None:
        tmp_path = tmp_path_factory.mktemp("secrets")
        write_all(tmp_path / "in", {f"qemu-dm-{one['vm']}.log": device_model(one), **around(one)})
        done = redacted(tmp_path / "in", tmp_path / "out")
        assert leaks(tmp_path / "out", one) == []
        assert done.same, (done.lost, done.new)
        assert done.findings > 2

    @settings(max_examples=6, deadline=None, derandomize=True,
              suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(plants())
    def test_nor_where_lines_of_others_are_kept(
        self, tmp_path_factory: pytest.TempPathFactory, one: dict[str, str]
    ) -> None:
        tmp_path = tmp_path_factory.mktemp("others")
        write_all(tmp_path / "in", {f"qemu-dm-{one['vm']}.log": device_model(one), **around(one)})
        redacted(tmp_path / "in", tmp_path / "out", keep_other=True)
        assert leaks(tmp_path / "out", one) == []

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.binary(max_size=80), st.sampled_from((b"", b"XEN|", b"BUGCHECK: ", b"XENBUS|Foo: ", b"13000000000000: ")))
    def test_a_text_stays_as_long_as_it_is_whatever_it_holds(self, raw: bytes, head: bytes) -> None:
        """The device's buffer holds 4095 characters, and lines as long as that are a finding."""
        guest = GuestTexts(Pseudonyms(KEY))
        assert len(guest.log(head + raw)) == len(head + raw)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.binary(min_size=1, max_size=60).filter(lambda raw: b"\n" not in raw and not raw.isascii()))
    def test_what_is_no_text_stays_no_text(self, raw: bytes) -> None:
        shown = GuestTexts(Pseudonyms(KEY)).log(raw)
        was, now = (one.decode("utf-8", "replace") for one in (raw, shown))
        assert ("\ufffd" in was) == ("\ufffd" in now)
        assert [one for one in was if ord(one) < 0x20] == [one for one in now if ord(one) < 0x20]
        assert not (set(re.findall(r"[a-z]{5,}", was.lower())) & set(re.findall(r"[a-z]{5,}", now.lower())))


# -- pseudonyms


class TestPseudonyms:
    def test_no_two_names_become_one_and_none_stays(self) -> None:
        """All names of two letters, and all numbers of three digits."""
        names = Pseudonyms(KEY)
        for alphabet, length in ((ascii_lowercase, 2), ("0123456789", 3)):
            whole = ["".join(one) for one in every(alphabet, repeat=length)]
            shown = [names.run(one, "word") for one in whole]
            free = [one for one, other in zip(shown, whole, strict=True) if other not in WORDS]
            assert len(set(free)) == len(free)
            assert all(one != other for one, other in zip(shown, whole, strict=True) if other.strip("0"))
            assert all(re.fullmatch(rf"[{alphabet}]{{{length}}}", one) for one in shown)

    @given(st.text(ascii_letters + "0123456789-._", max_size=70))
    def test_a_name_keeps_its_form(self, name: str) -> None:
        shown = Pseudonyms(KEY).name(name)
        assert len(shown) == len(name)
        for one, other in zip(name, shown, strict=True):
            assert (one.isdigit(), one.isupper(), one.islower()) == (other.isdigit(), other.isupper(), other.islower())

    def test_domains_keep_their_order_and_dom0_its_number(self) -> None:
        names = Pseudonyms(os.urandom(32))
        names.domains_up_to(900)
        shown = [names.domain(number) for number in range(901)]
        assert shown == sorted(set(shown))
        assert (shown[0], shown[-1] <= 0x7FEF, shown[1] > 1) == (0, True, True)

    @given(_HEX)
    def test_addresses_stay_addresses(self, digits: str) -> None:
        names = Pseudonyms(KEY)
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", names.uuid(_uuid(digits)))
        assert names.mac(_mac(digits)).startswith("02:")
        assert re.fullmatch(r"0x[0-9a-f]{12}", names.pointer(f"0x{digits}"))
        assert names.ip("203.0.113.7").startswith("10.")


# -- structure and findings


def shape(entry: Entry, first: dict[str, int]) -> tuple[object, ...]:
    """What must stay of an entry: everything but names, texts and what is written to the log."""
    vm = first.setdefault(entry.vm, len(first))
    when = entry.time_ns, entry.clock, vm, entry.boot, len(entry.records)
    if isinstance(entry, Access):
        reached = range(entry.offset or 0, (entry.offset or 0) + (entry.size or 1))
        value = None if "log" in entry.register or 0x12 in reached or 8 in reached else entry.value
        return (*when, entry.space, entry.address, entry.size, entry.direction, value, entry.register, entry.certainty,
                entry.vcpu)
    if isinstance(entry, Message):
        return (*when, len(entry.text), entry.complete, entry.via)
    return (*when, entry.topic, None if entry.topic in ("identity", "store") else entry.value)


REAL = ("real-xen/windows-like-excerpt.log.gz", "real-xen/all-events-handshake.txt", "xenstore/two-guests.trace",
        "xenstore/linux-default.ls-fp", "xl/reboot-twice.log", "guest-kernel/migrate-local.log", "kvm/tracefs.txt",
        "kvm/perf-script-pid-ns.txt", "journal/short.txt", "qemu-oracle/10.0.13/37-log-injection/trace.log",
        "qemu-oracle/10.0.13/60-reset-mid/trace.log", "qemu-oracle/10.0.13/40-misaligned-straddle/trace.log")
"""Recordings of every format that can be redacted."""


class TestStructure:
    @pytest.mark.parametrize("name", REAL)
    def test_what_happened_stays(self, tmp_path: Path, data: Path, name: str) -> None:
        (tmp_path / "out").mkdir()
        done = redacted(data / name, tmp_path / "out")
        (out,) = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
        was, now = {}, {}
        before = [shape(entry, was) for entry in entries(data / name)]
        assert before == [shape(entry, now) for entry in entries(out)]
        assert before
        assert (done.same, done.unshown, done.kept) == (True, {}, done.entries)

    @pytest.mark.parametrize("folder", ["two-guests", "reboot-twice", "unplug-steps"])
    def test_the_findings_of_real_hosts_stay(self, tmp_path: Path, corpus: Path, folder: str) -> None:
        files = [str(path) for path in sorted((corpus / "recorded/real-xen" / folder).iterdir())
                 if re.search(r"\.(?:log|log\.gz|log\.1)$|ls", path.name) and "proto" not in path.name]
        done = redact(files, str(tmp_path / "out"), secrecy=Secrecy(key=KEY))
        assert done.same, (done.lost, done.new)
        names = " ".join(str(path) for path in (tmp_path / "out").rglob("*"))
        assert not re.search("two[AB]|twice|steps", names)

    def test_a_vm_is_one_vm_in_every_file(self, tmp_path: Path) -> None:
        write_all(tmp_path / "in", {
            "qemu-dm-payroll-7.log": ["xen_ioreq_server_create id: 0", *preamble(), mask(3)],
            "xl-payroll-7.log": ["Waiting for domain payroll-7 (domid 31) to die [pid 4411]",
                                 "Domain 31 has shut down, reason code 1 0x1"],
            "xenstored-access.log": [
                "[20261123T03:11:07.385Z]  A8.2         write     /local/domain/31/name payroll-7",
                "[20261123T03:11:08.385Z]  D31          write     device/vbd/768/state 4"],
        })
        redacted(tmp_path / "in", tmp_path / "out")
        was, now = entries(tmp_path / "in"), entries(tmp_path / "out")
        assert {one.vm for one in was} == {"payroll-7"}
        assert len({one.vm for one in now}) == 1
        assert len(was) == len(now)
        (vm,) = {one.vm for one in now}
        assert re.fullmatch(r"[a-z]{7}-[1-9]", vm)
        assert vm != "payroll-7"
        assert any(isinstance(one, Event) and one.said == f"name {vm}" for one in now)

    @pytest.mark.parametrize("name", ["0123456789abcdef", "2026", "kernel", "main", "1", "a b", "log"])
    def test_a_guest_and_a_host_are_never_called_as_they_are(self, tmp_path: Path, name: str) -> None:
        """Whatever they are called: like a word of a format, a stamp, a number."""
        path = recording(tmp_path, [f"[{name}] {line}" for line in preamble(4369)] + [
            f"2026-11-23T03:12:23.985651+00:00 {name.replace(' ', '')} qemu-system-i386[8003]: {mask(3)}"])
        assert redacted(path, tmp_path / "out.log").same
        was, now = entries(path), entries(tmp_path / "out.log")
        assert [one.time_ns for one in was] == [one.time_ns for one in now]
        lines = (tmp_path / "out.log").read_text().splitlines()
        assert not any(f"[{name}]" in line or f" {name} " in line for line in lines)

    def test_names_that_are_no_ascii_stay_apart(self, tmp_path: Path) -> None:
        write_all(tmp_path / "in", {
            f"qemu-dm-{name}.log": ["xen_ioreq_server_create id: 0", *preamble(4369), mask(3)]
            for name in ("日本", "東京")
        })
        assert redacted(tmp_path / "in", tmp_path / "out").same
        assert len({one.vm for one in entries(tmp_path / "out")}) == 2

    def test_bytes_of_the_log_make_the_line_that_stands_beside_them(self, tmp_path: Path) -> None:
        text = "my payroll on host 12"
        path = recording(tmp_path, [*by_bytes(text), said(text)])
        redacted(path, tmp_path / "out.log")
        was, now = ([one for one in entries(one) if isinstance(one, Message)] for one in (path, tmp_path / "out.log"))
        assert [(one.text, len(one.records)) for one in was] == [(text, len(was[0].records))]
        assert len(now) == 1
        assert len(now[0].records) == len(was[0].records)
        assert re.fullmatch(r"[a-z]{2} [a-z]{7} [a-z]{2} [a-z]{4} \d{2}", now[0].text)

    def test_what_is_not_decoded_is_not_there(self, tmp_path: Path) -> None:
        path = recording(tmp_path, [*preamble(), "hello payroll", mask(3), "cpu_in addr 0x10(w) val"])
        done = redacted(path, tmp_path / "out.log")
        assert (done.read, done.written) == (8, 6)
        assert (tmp_path / "out.log").read_text() == "".join(f"{line}\n" for line in [*preamble(), mask(3)])
        kept = redacted(path, tmp_path / "kept.log", keep_other=True)
        assert kept.written == 8
        assert re.search(r"(?m)^[a-z]{5} [a-z]{7}$", (tmp_path / "kept.log").read_text())
        assert "payroll" not in (tmp_path / "kept.log").read_text()


SHIFT = 90 * 86_400 + 7


class TestTimes:
    LINES = (
        "4411@1795401500.773285:cpu_in addr 0x10(w) value 18898",
        "4411@1795401500773285000 cpu_in addr 0x10(w) value 18898",
        "2026-11-23T03:25:00.040406Z cpu_in addr 0x10(w) value 18898",
        "Nov 23 03:12:23 vm qemu-system-i386[8003]: cpu_in addr 0x10(w) value 18898",
        "<30>1 2026-11-23T03:12:23.985651+01:00 vm qemu-system-i386 8003 - -  cpu_in addr 0x10(w) value 18898",
        "[2024-02-04 17:50:25] cpu_in addr 0x10(w) value 18898",
    )

    @pytest.mark.parametrize("line", LINES)
    @pytest.mark.parametrize("shift", [SHIFT, -SHIFT])
    def test_all_dates_are_moved_by_as_much(self, tmp_path: Path, line: str, shift: int) -> None:
        path = recording(tmp_path, [line])
        os.utime(path, (1_795_500_000, 1_795_500_000))
        redacted(path, tmp_path / "out.log", shift_s=shift)
        (was,), (now,) = entries(path), entries(tmp_path / "out.log")
        assert was.time_ns is not None
        assert now.time_ns is not None
        assert (now.time_ns - was.time_ns, now.clock) == (shift * 10**9, was.clock)

    @pytest.mark.parametrize(("name", "line"), [
        ("xenstored-access.log", "[20261123T03:17:30.038Z]  D1           write     device/vbd/768/state 4"),
        ("xenstored-trace.log", "IN 0x55eaef441fe0 20261123 03:39:58 WRITE (/local/domain/1/device/vbd/768/state 4)"),
        ("hypervisor.log", "(d1) [2026-11-23 03:17:30] xen|BUGCHECK: ====>"),
        ("qmp.log", '{"timestamp": {"seconds": 1795404302, "microseconds": 62187}, "event": "RESET", "data": {}}'),
        ("qemu-dm-1.log", "13437000000000: XenPCI <-- text"),
    ])
    def test_in_every_format(self, tmp_path: Path, name: str, line: str) -> None:
        write_all(tmp_path / "in", {name: [line]})
        redacted(tmp_path / "in" / name, tmp_path / name, shift_s=SHIFT)
        (was,), (now,) = entries(tmp_path / "in" / name), entries(tmp_path / name)
        assert was.time_ns is not None
        assert now.time_ns == was.time_ns + SHIFT * 10**9

    def test_a_clock_without_a_date_stays(self, tmp_path: Path) -> None:
        write_all(tmp_path / "in", {"hypervisor.log": ["(d1) [  132.028963] xen|BUGCHECK: ====>"]})
        redacted(tmp_path / "in", tmp_path / "out", shift_s=SHIFT)
        assert [one.time_ns for one in entries(tmp_path / "out")] == [132_028_963_000]


# -- what the user is told, and what stays in the house

LOG = [*timed([*preamble(4369), said("hello payroll"), mask(3)])]


class TestCommand:
    def run(self, *arguments: object) -> int:
        return main(["redact", *map(str, arguments)])

    def test_the_proof_is_told_and_the_counts(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = recording(tmp_path, LOG, "payroll")
        assert self.run(path, "-o", tmp_path / "out.log") == 0
        out = capsys.readouterr().out
        assert out.splitlines()[0] == f"{len(LOG)} lines became {len(LOG)}"
        assert "redacted: text: 2, in " in out
        assert out.splitlines()[-1] == "proof: 1 findings, the same"
        assert "payroll" not in out

    def test_a_lost_finding_is_told_and_the_exit_code_says_so(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A rule of the user's own looks for a word that nobody else knows."""
        rules = tmp_path / "own.toml"
        rules.write_text('[[rule]]\nid = "U01"\nseverity = "low"\ntitle = "our word"\ntext = "payroll"\n')
        path = recording(tmp_path, LOG)
        assert self.run(path, "-o", tmp_path / "out.log", "--rules", rules) == 1
        err = capsys.readouterr().err
        assert "proof: 1 of 2 findings are lost, 0 are new" in err
        assert f"lost: U01 (low) in win10#1: {path}:6" in err
        assert self.run(path, "-o", tmp_path / "out.log", "--rules", rules, "--keep", "payroll") == 0
        assert "hello" not in (tmp_path / "out.log").read_text()

    def test_by_a_key_everything_is_called_alike_and_without_one_never(self, tmp_path: Path) -> None:
        path = recording(tmp_path, LOG)
        key = tmp_path / "key"
        for name in ("a", "b"):
            assert self.run(path, "-o", tmp_path / f"{name}.log", "--key-file", key) == 0
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert len(key.read_bytes()) == 32
        a, b = ((tmp_path / f"{name}.log").read_bytes() for name in "ab")
        assert a == b
        assert self.run(path, "-o", tmp_path / "c.log") == 0
        assert (tmp_path / "c.log").read_bytes() != a
        assert key.read_bytes() not in a

    def test_a_key_that_is_too_short_is_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "key").write_bytes(b"short")
        path = recording(tmp_path, LOG)
        assert self.run(path, "-o", tmp_path / "out.log", "--key-file", tmp_path / "key") == 2
        assert "a key has at least 16 bytes, this has 5" in capsys.readouterr().err

    def test_the_map_is_for_nobody_else_and_leads_back(self, tmp_path: Path) -> None:
        path = recording(tmp_path, LOG)
        assert self.run(path, "-o", tmp_path / "out.log", "--map", tmp_path / "map") == 0
        assert stat.S_IMODE((tmp_path / "map").stat().st_mode) == 0o600
        rows = [json.loads(line) for line in (tmp_path / "map").read_text().splitlines()]
        told = {row["was"]: row["is"] for row in rows if row["kind"] == "text"}
        assert f"xen platform: {told['hello']} {told['payroll']}" in (tmp_path / "out.log").read_text()

    def test_a_format_that_cannot_be_redacted_is_refused_in_one_line(
        self, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(data / "xentrace/two-guests.bin", "-o", tmp_path / "out.bin") == 2
        err = capsys.readouterr().err
        assert "a recording of the format xentrace cannot be redacted" in err
        assert err.count("\n") == 1
        assert not (tmp_path / "out.bin").exists()

    def test_and_left_out_where_there_are_others(
        self, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = recording(tmp_path, LOG, "payroll")
        assert self.run(data / "xentrace/two-guests.bin", path, "-o", tmp_path / "out") == 0
        assert "two-guests.bin: a recording of the format xentrace cannot be redacted" in capsys.readouterr().out
        (out,) = (tmp_path / "out").iterdir()
        assert re.fullmatch(r"qemu-dm-[a-z]{7}\.log", out.name)
        assert out.name != path.name

    def test_nothing_is_left_behind_where_it_fails(self, tmp_path: Path) -> None:
        path = recording(tmp_path, LOG)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "x").touch()
        with pytest.raises(XptraceError, match="is there already"):
            redacted(path, tmp_path / "full")
        with pytest.raises(XptraceError, match="standard input can be read only once"):
            redact(["-"], str(tmp_path / "out"))
        assert sorted(one.name for one in tmp_path.iterdir()) == ["full", path.name]


def test_the_findings_of_a_hostile_guest_stay(tmp_path: Path) -> None:
    """Control characters, bytes that are no UTF-8 and marks of direction are a finding (A33), and stay one."""
    hostile = ("\x1b[2J\x07", "=cmd|'/C calc'!A0", "</script>", '"', "\u202eevil", "\ufeffx", "a\x00b", "\udcff\udcfe")
    path = tmp_path / "qemu-dm-win10.log"
    text = "".join(f"{line}\n" for line in (*preamble(), *map(said, hostile)))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = redacted(path, tmp_path / "out.log")
    assert done.same, (done.lost, done.new)
    assert {one.rule.id for one in examined(tmp_path / "out.log").findings} >= {"A33"}
    out = (tmp_path / "out.log").read_bytes()
    assert not any(word in out for word in (b"calc", b"script", b"evil"))

