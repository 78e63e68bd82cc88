"""Where two negotiations part: their steps aligned by what they mean, never by when they were made.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc; what a step means is `dissectors.platform.registers`. A step is an access
to the fixed ports or to BAR0, or a line of the guest's log; reads that repeat one another are one step. One access of
two Linux guests, recorded by QEMU once in six records and once in four, is the same step::

    213@1795406729.216450:memory_region_ops_read cpu -1 mr 0x564a5d8637e0 addr 0x12 value 0x1 size 1 name 'xen-fixed'
    212@1795401698.310236:cpu_ioreq_pio_read_reg I/O=0x7ffc1396f870 pio read reg data=0x1 port=0x12 size=1
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any, Final, Literal

from dissectors.platform import registers
from dissectors.platform.registers import Direction, Register, Space
from xptrace.access.rows import Access, Certainty, Message, Row
from xptrace.negotiation.story import Story, tell
from xptrace.negotiation.verdict import verdict

Status = Literal["same", "changed", "only-a", "only-b"]

MOST_COMPARED: Final = 4_000_000
"""Pairs of steps that are compared one with another; beyond, steps that occur very often no longer anchor a match."""

_LEFT_OUT: Final = ("bar1", "pci-config")
_QUOTED: Final = 60
"""Characters of a message that a sentence quotes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a negotiation, and where its first record is.

    `value` is missing where the recording does not hold it; of a message it is the text, which is the guest's and must
    be escaped wherever it goes, as must `meaning`. A message has no `space`, `address` or `size`, and its register is
    `log`. `place` is the offset in the space: the port itself for the fixed ports. `device` is the type of the PCI
    device, where the space is its own. `count` is how many accesses the step stands for.
    """

    register: str
    direction: Direction
    value: int | str | None
    meaning: str
    source: str
    offset: int
    line: int
    count: int = 1
    space: Space | None = None
    address: int | None = None
    place: int | None = None
    size: int | None = None
    device: str | None = None
    complete: bool = True
    time_ns: int | None = None
    clock: str | None = None
    certainty: Certainty = "observed"

    @property
    def subject(self) -> tuple[Hashable, ...]:
        """What is asked or told, whatever the answer: register and direction, the place where no register has one."""
        if self.register == registers.UNDEFINED or self.space in _LEFT_OUT:
            return self.register, self.direction, self.space, self.place
        return self.register, self.direction

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What makes two steps the same. How often a read was repeated does not; how often a write was, does."""
        size = self.size
        if size is None and self.space is not None and self.place is not None:
            only = registers.find(self.space, self.place, None, self.direction)
            size = only.size if only else None
        count = self.count if self.direction == "write" else None
        return *self.subject, self.space, self.place, size, self.device, self.value, self.complete, count

    def row(self) -> dict[str, Any]:
        """The step for machines; the keys mean what they mean in the row of an access."""
        return {
            "value": self.value, "meaning": self.meaning, "count": self.count, "space": self.space,
            "address": self.address, "size": self.size, "time_ns": self.time_ns, "certainty": self.certainty,
            "source": self.source, "offset": self.offset, "line": self.line,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Two steps that answer to each other, or one that nothing on the other side answers to."""

    a: Step | None
    b: Step | None

    @property
    def status(self) -> Status:
        """How the two sides compare here."""
        if self.b is None:
            return "only-a"
        if self.a is None:
            return "only-b"
        return "same" if self.a.key == self.b.key else "changed"

    def row(self, number: int) -> dict[str, Any]:
        """The pair for machines, as the step of this number."""
        known = self.a or self.b
        return {
            "status": self.status, "step": number, "register": known and known.register,
            "direction": known and known.direction, "a": self.a and self.a.row(), "b": self.b and self.b.row(),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """Every step of A and of B, each once and in its order, aligned."""

    pairs: tuple[Pair, ...]

    @property
    def same(self) -> bool:
        """Whether the two negotiations are the same, whatever their timing."""
        return self.agreed == len(self.pairs)

    @property
    def agreed(self) -> int:
        """How many steps both agree for, from the first on."""
        return sum(1 for _ in takewhile(lambda pair: pair.status == "same", self.pairs))

    @property
    def sentence(self) -> str:
        """Where they first part and what that means, in words; it may quote the guest, and must be escaped then."""
        agreed = self.agreed
        if self.same:
            return f"both do the same: {_steps(agreed)}"
        apart = sum(pair.status != "same" for pair in self.pairs) - 1
        more = f"; after that, {_steps(apart, 'more ')} differ{'s' * (apart == 1)}" if apart else ""
        both = f"both agree for {_steps(agreed)}; then" if agreed else "they part at the first step:"
        return f"{both} {self._parting(agreed)}{more}"

    def _parting(self, index: int) -> str:
        """What the pair of this index, the first that differs, says of either side."""
        here = self.pairs[index]
        if here.a is not None and here.b is not None:
            return f"A {_phrase(here.a)}, and B {_phrase(here.b)}"
        gap = list(takewhile(lambda pair: pair.status in ("only-a", "only-b"), self.pairs[index:]))
        ones = [pair.a for pair in gap if pair.a is not None]
        others = [pair.b for pair in gap if pair.b is not None]
        if ones and others:
            return f"A {_phrase(ones[0])}, and B {_phrase(others[0])} instead"
        name, lacking, step = ("A", "B", ones[0]) if ones else ("B", "A", others[0])
        mine = [pair.a if ones else pair.b for pair in self.pairs]
        theirs = [pair.b if ones else pair.a for pair in self.pairs]
        again = " again" * any(step.key == s.key for s in mine[:index] if s)
        return f"{name} {_phrase(step)}{again}, and {lacking} {_lack(step, theirs, index)}"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two negotiations: whose it is, its steps, when its first probe was, and how it ended."""

    vm: str
    boot: int
    source: str
    steps: tuple[Step, ...]
    started_ns: int | None
    clock: str | None
    verdict: str

    def since(self, step: Step) -> int | None:
        """Nanoseconds from the first probe to the step; missing where one of them has no time on that clock."""
        if self.started_ns is None or step.time_ns is None or step.clock != self.clock:
            return None
        return step.time_ns - self.started_ns


def steps(rows: Iterable[Row], *, every: bool = False) -> list[Step]:
    """The steps that rows of one VM and boot tell of; with `every`, accesses to config space and BAR1 too.

    Bytes of the log port are left to the messages that they make.
    """
    found: list[Step] = []
    for row in rows:
        _take(found, row, every)
    return found


def compare(a: Sequence[Step], b: Sequence[Step]) -> Difference:
    """Align two negotiations: equal steps first, then, between those, steps of the same register and direction."""
    pairs: list[Pair] = []
    for apart_a, apart_b, same in _meetings(a, b, lambda step: step.key):
        for only_a, only_b, changed in _meetings(apart_a, apart_b, lambda step: step.subject):
            pairs += [Pair(step, None) for step in only_a]
            pairs += [Pair(None, step) for step in only_b]
            if changed is not None:
                pairs.append(changed)
        if same is not None:
            pairs.append(same)
    return Difference(tuple(pairs))


def choose(
    rows: Iterable[Row], *, vm: str | None = None, boot: int | None = None, every: bool = False
) -> Side | None:
    """The first VM and boot with a negotiation, of those asked for; None where there is none.

    All of the boot is taken, also what came before the first probe. Nothing is kept of the rows but the steps of that
    boot and, until it has shown itself, what each VM's current boot has done so far.
    """
    undecided: dict[str, _Boot] = {}
    chosen: _Boot | None = None
    for row in rows:
        if chosen is not None:
            if (row.vm, row.boot) == (chosen.settled.vm, chosen.settled.boot):
                chosen.take(row)
            continue
        if vm not in (None, row.vm) or boot not in (None, row.boot):
            continue
        current = undecided.get(row.vm)
        if current is None or current.settled.boot < row.boot:
            current = undecided[row.vm] = _Boot(row, every=every)
        elif current.settled.boot > row.boot:  # of a boot that ended without a probe
            continue
        current.take(row)
        if current.begun:
            chosen = current
            undecided.clear()
    return chosen.side() if chosen is not None else None


class _Boot:
    """One boot of one VM while its rows pass by."""

    def __init__(self, row: Row, *, every: bool) -> None:
        self.settled = Story(row.vm, row.boot)
        self._began = False
        self._every = every
        self._source = row.records[0].source
        self._clock: str | None = None
        self._steps: list[Step] = []

    @property
    def begun(self) -> bool:
        """Whether anybody has probed the device by now."""
        return self._began

    def take(self, row: Row) -> None:
        tell(self.settled, row)
        if not self._began and isinstance(row, Access) and row.space in ("pio", "bar0") and self.settled.begun:
            self._began, self._clock = True, row.clock
        _take(self._steps, row, self._every)

    def side(self) -> Side:
        told = self.settled
        started = told.handshake[0].at.time_ns if told.begun else None
        return Side(
            told.vm, told.boot, self._source, tuple(self._steps), started, self._clock, verdict(told).sentence
        )


# -- from rows to steps


def _take(found: list[Step], row: Row, every: bool) -> None:
    step = _said(row) if isinstance(row, Message) else _done(row, every)
    if step is None:
        return
    if found and step.direction == "read" and step.key == found[-1].key:
        found[-1] = replace(found[-1], count=found[-1].count + step.count)
    else:
        found.append(step)


def _said(message: Message) -> Step:
    at = message.cited
    meaning = f"says {message.text}" + ("" if message.complete else " (not finished)")
    return Step(
        "log", "write", message.text, meaning, at.source, at.offset, at.line, complete=message.complete,
        time_ns=message.time_ns, clock=message.clock, certainty=message.certainty,
    )


def _done(access: Access, every: bool) -> Step | None:
    apart = access.space in _LEFT_OUT
    if (apart and not every) or _of_message(access):
        return None
    at = access.cited
    return Step(
        access.register, access.direction, access.value, access.meaning, at.source, at.offset, at.line,
        access.count, access.space, access.address, access.offset, access.size,
        access.function.device if apart and access.function else None,
        time_ns=access.time_ns, clock=access.clock, certainty=access.certainty,
    )


def _of_message(access: Access) -> bool:
    """Whether the access is a byte, or a string of bytes, of the log: its line is a message, as far as it is known."""
    if access.size != 1 or access.direction != "write":
        return False
    return access.register == "log" or (access.register == "bar0_log" and access.value not in (None, 1, 2))


# -- alignment


def _meetings(
    a: Sequence[Step], b: Sequence[Step], name: Callable[[Step], Hashable]
) -> Iterator[tuple[Sequence[Step], Sequence[Step], Pair | None]]:
    """(steps of A apart, steps of B apart, the pair of one name that follows them), None at the end."""
    past_a = past_b = 0
    for at_a, at_b in _matches([name(step) for step in a], [name(step) for step in b]):
        yield a[past_a:at_a], b[past_b:at_b], Pair(a[at_a], b[at_b])
        past_a, past_b = at_a + 1, at_b + 1
    yield a[past_a:], b[past_b:], None


def _matches(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Indices of equal elements in both, ascending.

    What both begin and end with is matched first: it says where they part. What SequenceMatcher finds of the rest
    depends on which comes first, so their order is settled here, and (a, b) and (b, a) give one alignment.
    """
    head = _common(one, other)
    tail = _common(one[head:][::-1], other[head:][::-1])
    rest, others = one[head : len(one) - tail], other[head : len(other) - tail]
    turned = repr(others) < repr(rest)
    if turned:
        rest, others = others, rest
    often = len(rest) * len(others) > MOST_COMPARED
    blocks = SequenceMatcher(None, rest, others, autojunk=often).get_matching_blocks() if rest and others else ()
    inner = [(block.a + n, block.b + n) for block in blocks for n in range(block.size)]
    return [
        *((n, n) for n in range(head)),
        *((head + second, head + first) if turned else (head + first, head + second) for first, second in inner),
        *((len(one) - n, len(other) - n) for n in range(tail, 0, -1)),
    ]


def _common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """How many elements both begin with."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one, other, strict=False)))


# -- in words

_SENTENCES: Final[Mapping[tuple[str, Direction], str]] = {
    ("flags", "write"): "sets flags {hex} ({said})",
    ("magic", "read"): "reads magic {hex} ({said})",
    ("unplug_mask", "write"): "unplugs {said}",
    ("build_number", "write"): "names build {value}",
    ("product_number", "write"): "names product {value} ({said})",
    ("bar0_flags", "write"): "sets flags {hex} ({said})",
    ("bar0_unplug_all", "write"): "asks to {said}",
    ("bar0_log", "write"): "asks to {said}",
}
"""What the guest does when it accesses a register, where that is more than to read or to write what it means."""
_UNPLUGS: Final = ("unplug_mask", "bar0_unplug_all")
_SPACES: Final[Mapping[Space, str]] = {"pio": "port ", "bar0": "BAR0+", "bar1": "BAR1+", "pci-config": "config "}


def _steps(count: int, more: str = "") -> str:
    return f"{count} {more}step{'s' * (count != 1)}"


def _phrase(step: Step) -> str:
    """What the guest does in this step: a verb and what follows it."""
    if isinstance(step.value, str):
        text = step.value if len(step.value) <= _QUOTED else f"{step.value[:_QUOTED]}…"
        return f'says "{text}"'
    verb = "reads" if step.direction == "read" else "writes"
    register = _exact(step)
    if register is None:
        place = "a place not recorded" if step.place is None else f"0x{step.place:x}"
        return f"{verb} {_SPACES[step.space] if step.space else ''}{place}: {step.meaning}"
    sentence = _SENTENCES.get((register.name, register.direction))
    if sentence is None or step.value is None or (register.name in _UNPLUGS and not _tells(register, step.value)):
        return f"{verb} {step.meaning}"
    return register._replace(sentence=sentence).say(step.value)


def _exact(step: Step) -> Register | None:
    """The register that is accessed, where it is accessed as a whole and by itself."""
    if step.space is None or step.place is None or step.size is None:
        return None
    return registers.find(step.space, step.place, step.size, step.direction)


def _tells(register: Register, value: int) -> bool:
    """Whether the register has words for this very value."""
    return value in register.values or any(value & bit.value for bit in register.bits)


def _lack(step: Step, others: Sequence[Step | None], index: int) -> str:
    """How the other side does without a step: its steps are `others`, in the order of the pairs."""
    if any(step.key == other.key for other in others[index:] if other):
        return "does so only later"
    if any(step.subject == other.subject for other in others if other):
        return "does not"
    return "never does"
