"""The contract: what a driver declares of itself, and how its negotiation is written down.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc for what a driver should do; the driver's own source, named in each
declaration, for what it does. A negotiation is a generator: it yields each access, is sent the answer of a read (None
where nobody knows it, which is never what a driver waits for), and returns how it ended. FreeBSD's is this long::

    magic = yield read(0x10, 2)
    if magic != MAGIC:
        return not_there(magic, "it says nothing and leaves the emulated devices alone")
    yield write(0x10, 2, 3)
    return Outcome("accepted", f"it unplugs {in_words(3)}", mask=3)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Literal

from dissectors.platform.registers import MAGIC_BLACKLISTED, VENDOR
from xptrace.model.access import Access, read, write
from xptrace.model.drivers.options import Chosen, parse
from xptrace.model.drivers.steps import Seen

Verdict = Literal["accepted", "blacklisted", "refused", "unasked"]
"""What became of the handshake; `unasked`: the driver does not ask the device whether it may."""
When = Literal["boot", "resume"]
Certainty = Literal["observed", "documented", "inferred", "assumed"]
"""`observed` on a recording, `documented` by a source that was read, `inferred` from such, or merely `assumed`."""



@dataclass(frozen=True, slots=True)
class Outcome:
    """How a negotiation ended, and why.

    `mask` is the union of the mask bits that were asked for, the legacy registers' expressed in the same bits, and
    missing where none were; `devices` are the devices that protocol 2 unplugged, as (type, index). `pv` says whether
    PV drivers start afterwards, and is missing where no source tells.
    """

    verdict: Verdict
    sentence: str
    mask: int | None = None
    devices: tuple[tuple[int, int], ...] = ()
    pv: bool | None = None


Negotiation = Generator[Access, int | None, Outcome]
Part = Generator[Access, int | None, None]
"""A stretch of a negotiation that ends without a verdict."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence, and how well it is known."""

    sentence: str
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class Identity:
    """One PCI identity that a driver attaches to; a missing revision is any. `source` is where that stands."""

    device: int
    source: str
    revision: int | None = None
    vendor: int = VENDOR
    since: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a driver attaches to, and what depends on that.

    `identities` is missing where no source tells, and empty for what attaches to no PCI function. `needed` says
    whether it unplugs only when it is bound to one of them.
    """

    identities: tuple[Identity, ...] | None
    needed: bool | None
    claim: Claim


@dataclass(frozen=True, slots=True)
class NextBoot:
    """What the guest meets when it starts again, and something is not as its driver needs it."""

    identity_gone: Claim
    """The device that the driver is bound to has another identity, or is gone."""
    blacklisted: Claim
    """The host refuses the build."""
    without_frontends: Claim
    """The emulated devices are unplugged, but no PV frontend takes their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver(Generic[Chosen]):
    """One driver: who it is, what it does to the ports at boot and at resume, what it is bound to, what it loses."""

    name: str
    title: str
    product: int | None
    """The product number that it writes; missing for one that names none."""
    builds: str
    """What its build numbers are, in words."""
    options: type[Chosen]
    boot: Callable[[Chosen], Negotiation]
    resume: Callable[[Chosen], Negotiation] | None
    """What it does once it runs again; missing where it leaves the ports alone."""
    resumes: Claim
    infer: Callable[[Seen], Chosen]
    """The options with which it would come closest to recorded steps."""
    binding: Binding
    next_boot: NextBoot
    law: str
    certainty: Certainty
    """How well the sequence is known."""

    @property
    def binds(self) -> tuple[Identity, ...] | None:
        """The PCI identities that it attaches to, missing where no source tells."""
        return self.binding.identities

    def attaches_to(self, device: int, revision: int, vendor: int = VENDOR) -> bool | None:
        """Whether it attaches to a function of this identity, missing where no source tells."""
        if self.binds is None:
            return None
        return any(
            (known.vendor, known.device) == (vendor, device) and known.revision in (None, revision)
            for known in self.binds
        )


def parse_options(driver: Driver[Chosen], settings: Iterable[str]) -> Chosen:
    """The driver's options from `name=value` settings; raises ValueError, one line that says what there is."""
    return parse(driver.options, settings, driver.name)


def say(text: str) -> Part:
    """Write one line to the log port, byte by byte, as step 7 has it."""
    for byte in f"{text}\n".encode("ascii"):
        yield write(0x12, 1, byte)


def name_itself(product: int, build: int) -> Generator[Access, int | None, int | None]:
    """Steps 3 to 5: name product and build, and read the magic again; returns what was read."""
    yield write(0x12, 2, product)
    yield write(0x10, 4, build)
    return (yield read(0x10, 2))


def shown(answer: int | None) -> str:
    """An answer as sentences have it."""
    return "something that is not known" if answer is None else f"0x{answer:04x}"


def not_there(answer: int | None, so: str, pv: bool | None = None) -> Outcome:
    """The end of a driver that read something else where the magic should be (step 1), and so does what is said."""
    verdict: Verdict = "blacklisted" if answer == MAGIC_BLACKLISTED else "refused"
    return Outcome(verdict, f"the probe read {shown(answer)}, not the magic: {so}", pv=pv)


def unknown_version(answer: int | None, so: str, pv: bool | None = None) -> Outcome:
    """The end of a driver that does not know the protocol version that it read (step 2)."""
    said = "a protocol version that is not known" if answer is None else f"protocol version {answer}"
    return Outcome("refused", f"it read {said}, with which it does not work: {so}", pv=pv)


def blacklisted(answer: int | None, so: str, pv: bool | None = None) -> Outcome:
    """The end of a driver that named its build and then did not read the magic (step 5)."""
    return Outcome("blacklisted", f"having named its build it read {shown(answer)}, not the magic: {so}", pv=pv)
