r"""Decompression by magic, as a flow: concatenated members read on, and what is cut or corrupt yields what it holds.

Law: RFC 1952 (gzip ``1f 8b``), the bzip2 file format (``BZh``), the .xz file format (``fd 37 7a 58 5a 00``), RFC 8878
(zstd ``28 b5 2f fd``, skippable frames ``5? 2a 4d 18``). The magic decides, never the name::

    1f 8b 08 00 00 00 00 00 00 03 ...   a gzip member without a name
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from xptrace.intake.flow import BrokenOff, Chunks, Flow
from xptrace.intake.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

PART: Final = 1 << 20
"""Bytes that come out at a time."""
SLICE: Final = 1 << 16
"""Bytes that go in at a time."""
_QUICK_PART: Final = 1 << 22
_QUICK_SLICE: Final = 1 << 19
"""The same where it must be quick: the more, the less often the interpreter's lock is needed, and fresh memory."""
LAYERS: Final = 3
"""Compressions of a compression that are undone: some keep `.gz` files in a compressed archive's compressed member."""

_MOST_MEMORY: Final = 512 << 20
"""For an xz dictionary; `xz -9` needs 65 MiB."""
_ZSTD_SLICE: Final = 1 << 10
"""A block of 128 KiB can be stored in four bytes, and zstandard does not bound what comes out."""


class _CorruptError(Exception):
    def __init__(self, rescued: bytes, why: str) -> None:
        super().__init__(why)
        self.rescued = rescued


class _Engine(Protocol):
    """Undoes one member of a compression."""

    @property
    def hungry(self) -> bool:
        """Whether it can give nothing more without more input."""

    @property
    def waiting(self) -> int:
        """Bytes that it was fed and has not used, as far as it tells."""

    @property
    def rest(self) -> bytes | None:
        """What was fed and lies behind the member's end, once that has been met."""

    def step(self, data: bytes) -> bytes:
        """What comes out, which may be nothing; raises _CorruptError."""


class _Fed:
    """What is fed by hand: it keeps what its decompressor has not used."""

    _engine: Any  # neither zlib nor zstandard names its type
    _waiting = b""

    @property
    def hungry(self) -> bool:
        return not self._waiting

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def rest(self) -> bytes | None:
        return self._engine.unused_data if self._engine.eof else None


class _Deflate(_Fed):
    def __init__(self, bits: int) -> None:
        self._engine = zlib.decompressobj(bits)

    def step(self, data: bytes) -> bytes:
        data = self._waiting + data
        before = self._engine.copy()
        try:
            out: bytes = self._engine.decompress(data, PART)
        except zlib.error as error:
            raise _CorruptError(self._rescue(before, data), _plain(error)) from None
        self._waiting = self._engine.unconsumed_tail
        return out

    @staticmethod
    def _rescue(engine: Any, data: bytes) -> bytes:  # noqa: ANN401 - zlib does not name its type
        """What comes out before the corrupt byte."""
        out = bytearray()
        try:
            for at in range(len(data)):
                out += engine.decompress(data[at : at + 1])
        except zlib.error:
            pass
        return bytes(out)


class _Igzip(_Fed):
    """The same by ISA-L, which takes half of the time, and loses what it had when it meets something corrupt."""

    def __init__(self) -> None:
        from isal import isal_zlib

        self._error = cast("type[Exception]", isal_zlib.error)
        self._engine = isal_zlib.decompressobj(31)

    def step(self, data: bytes) -> bytes:
        try:
            out: bytes = self._engine.decompress(self._waiting + data, _QUICK_PART)
        except self._error as error:
            raise _CorruptError(b"", _plain(error)) from None
        self._waiting = self._engine.unconsumed_tail
        return out


def _quickest() -> _Engine:
    """ISA-L, unless it is there and cannot be loaded; `xptrace doctor` says why."""
    try:
        return _Igzip()
    except ImportError:
        return _Deflate(31)


class _Bounded:
    """The decompressors of bz2 and lzma, which keep what they were fed and have not used."""

    def __init__(self, engine: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._engine = engine

    @property
    def hungry(self) -> bool:
        return self._engine.needs_input

    @property
    def waiting(self) -> int:
        return 0

    @property
    def rest(self) -> bytes | None:
        return self._engine.unused_data if self._engine.eof else None

    def step(self, data: bytes) -> bytes:
        try:
            return self._engine.decompress(data, PART)
        except (OSError, lzma.LZMAError, MemoryError, ValueError) as error:
            raise _CorruptError(b"", _plain(error)) from None


class _Zstd(_Fed):
    def __init__(self) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._engine = zstandard.ZstdDecompressor().decompressobj()

    @property
    def rest(self) -> bytes | None:
        return self._engine.unused_data + self._waiting if self._engine.eof else None

    def step(self, data: bytes) -> bytes:
        data = self._waiting + data
        self._waiting = data[_ZSTD_SLICE:]
        try:
            out: bytes = self._engine.decompress(data[:_ZSTD_SLICE])
        except (self._error, MemoryError) as error:
            raise _CorruptError(b"", _plain(error).removeprefix("zstd decompressor error: ")) from None
        return out


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Codec(NamedTuple):
    """A compression: how its members begin, and what undoes one."""

    name: str
    magic: re.Pattern[bytes]
    begin: Callable[[], _Engine]
    single: bool = False
    """Whether one member is all there is, and what follows it is not ours to judge."""
    quick: Callable[[], _Engine] | None = None
    """What undoes a member that is whole in less time; of one that is not it gives less."""


GZIP: Final = Codec("gzip", re.compile(rb"\x1f\x8b\x08"), lambda: _Deflate(31),
                    quick=_quickest if find_spec("isal") else None)
BZIP2: Final = Codec("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), lambda: _Bounded(bz2.BZ2Decompressor()))
XZ: Final = Codec("xz", re.compile(rb"\xfd7zXZ\x00"), lambda: _Bounded(
    lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
))
ZSTD: Final = Codec("zstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _Zstd)
DEFLATE: Final = Codec("deflate", re.compile(b""), lambda: _Deflate(-15), single=True)
"""Without a header, as zip has it."""

CODECS: Final = (GZIP, BZIP2, XZ, ZSTD)
MAGIC_BYTES: Final = 10
"""As many as the longest magic has."""


def codec_of(head: bytes) -> Codec | None:
    """The compression that a flow begins with."""
    return next((codec for codec in CODECS if codec.magic.match(head)), None)


def unfold(chunks: Chunks, limits: Limits, *, quick: bool = False) -> tuple[Flow, Sequence[Codec]]:
    """The flow with its compressions undone, and which they were.

    `quick` says that it will be read once more, without that, should it break off and one of them have been quick.
    """
    flow = Flow(chunks)
    layers: list[Codec] = []
    while len(layers) < LAYERS and (codec := codec_of(flow.peek(MAGIC_BYTES))) is not None:
        flow = Flow(unpack(flow, codec, limits, quick=quick and codec.quick is not None))
        layers.append(codec)
    return flow, layers


def unpack(flow: Flow, codec: Codec, limits: Limits, *, quick: bool = False) -> Chunks:
    """What a flow of one compression holds, member after member; `quick` if it has such an engine, and may use it.

    Ends in BrokenOff where it is cut, corrupt, followed by something else, or beyond the limits.
    """
    stored = unfolded = 0
    try:
        while True:
            engine, size, most = codec.begin(), SLICE, PART
            if quick and codec.quick is not None:
                engine, size, most = codec.quick(), _QUICK_SLICE, _QUICK_PART
            rest = None
            while rest is None:
                data = flow.read(size) if engine.hungry else b""
                stored += len(data)
                over = engine.hungry and not data
                out, corrupt = _step(engine, data)
                unfolded += len(out)
                why = limits.exceeded(stored - engine.waiting, unfolded)
                if why is None or not quick:  # else as much of it as may be comes out when it is read once more
                    yield from _parts(out, most)
                if corrupt is not None:
                    raise BrokenOff(f"the {codec.name} data are corrupt: {corrupt}")
                if why is not None:
                    raise BrokenOff(why)
                rest = engine.rest
                if over and not out and rest is None:
                    raise BrokenOff(flow.broken or f"the {codec.name} data end before their end")
            stored -= len(rest)
            flow.give_back(rest)
            if codec.single or _ended(flow, codec):
                return
    finally:
        flow.close()


def _step(engine: _Engine, data: bytes) -> tuple[bytes, str | None]:
    try:
        return engine.step(data), None
    except _CorruptError as error:
        return error.rescued, str(error)


def _parts(out: bytes, most: int) -> Iterator[bytes]:
    for at in range(0, len(out), most):
        yield out[at : at + most]


def _ended(flow: Flow, codec: Codec) -> bool:
    """Whether a member was the last. Zeros behind it are padding: of tapes, and of .xz, which allows them."""
    while (ahead := flow.peek(MAGIC_BYTES)) and not ahead[0]:
        block = flow.read(SLICE)
        flow.give_back(block.lstrip(b"\0"))
    if not ahead:
        if flow.broken is not None:
            raise BrokenOff(flow.broken)
        return True
    if codec.magic.match(ahead):
        return False
    raise BrokenOff(f"the {codec.name} data have ended, and what follows them is no {codec.name}")
