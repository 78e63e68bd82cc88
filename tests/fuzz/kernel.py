"""Fuzzes the compiled kernel: nothing that is given to it may reach beyond its buffers, or differ from its twin.

The kernel is built for it with clang's sanitizers, and the interpreter runs with the runtime that atheris brings::

    pip install atheris numpy
    python tests/fuzz/kernel.py --build /tmp/fuzz   # the kernel and first inputs; prints what to run
    LD_PRELOAD=... python tests/fuzz/kernel.py /tmp/fuzz -max_total_time=600 /tmp/fuzz/corpus

What follows the folder are libFuzzer's own arguments. The first byte of an input chooses the function, the others are
its arguments; a difference from the twin is raised as an error, an access beyond a buffer ends the process. Without
atheris, `--replay` in place of libFuzzer's arguments runs over the files that follow it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dissectors.kernel import Kernel

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "dissectors" / "kernel"
NAME: Final = "_kernel.abi3.so"
RUNTIME: Final = "asan_with_fuzzer.so"
LOGS: Final = ROOT / "tests" / "data" / "qemu-oracle"
BUILD: Final = (
    "clang", "-std=c11", "-O1", "-g", "-shared", "-fPIC", "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined,fuzzer-no-link", "-fno-sanitize-recover=undefined", "-DPy_LIMITED_API=0x030B0000",
)

sys.path.insert(0, str(ROOT))


def build(folder: Path) -> None:
    """Compile the kernel, and say how to run what fuzzes it."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(map(str, SOURCES.glob("*.c")))
    include = sysconfig.get_paths()["include"]
    subprocess.run([*BUILD, f"-I{include}", *sources, "-o", folder / NAME], check=True)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    import atheris

    sys.stdout.write(
        f"LD_PRELOAD={Path(atheris.path()) / RUNTIME} PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 "
        f"{sys.executable} {__file__} {folder} -max_total_time=600 {corpus}\n"
    )


def seeds() -> Iterator[bytes]:
    """A line of every kind, alone and with the program that reads it; a call of each of the other functions."""
    from dissectors.qemu import catalogue
    from dissectors.qemu.programs import programs

    compiled, forms, at = programs(catalogue.load()), [], 0
    while at < len(compiled):
        length = compiled[at + 1]
        end = at + 4 + length + int.from_bytes(compiled[at + 2 + length : at + 4 + length], "little")
        forms.append(compiled[at:end])
        at = end
    kinds: dict[bytes, bytes] = {}
    for path in sorted(LOGS.glob("*/*/*.log")):
        for line in path.read_bytes().splitlines(keepends=True):
            kinds.setdefault(re.sub(rb"0x[0-9a-f]+|\d", b"0", line), line)
    for line in list(kinds.values())[:200]:
        yield b"\0\0\7" + line
        yield from (b"\1\3" + bytes((len(form),)) + form + line for form in forms
                    if len(form) < 256 and form[2 : 2 + form[1]] + b" " in line)
    yield b"\2\4\4" + b"\x08\1\0\0\0\0\0\0\0" + b"\x24" + b"\1" * 36 + b"\0\0" + bytes(
        (*bytes(8), *b"\xff" * 8, 16, *bytes(7), 5, *bytes(15), *bytes(8), *b"\xff" * 4, 7, 0, 0, 1, *bytes(8)))
    told = (0x3001F001, 4, 0x00010002, 0, 0xA0082016, 1, 0, 0x10, 0, 0x9002100F, 5, 0, 0x00030001, 0x10021002, 7)
    yield b"\6\3\0" + bytes(15) + b"\2\x10\x20" + b"\xff" * 8 + b"".join(word.to_bytes(4, "little") for word in told)
    yield b"\3\1" + b"\3<>." + b"\3\0\1\2" + b"\1\0" + b"\x10" * 8
    yield b"\4\3\0\1" + b"\3\1x\1e\1n" + b"\0\0\1" + b"\x20" + b"xen\nxen"


def load(path: Path) -> Kernel:
    """The compiled functions."""
    loader = ExtensionFileLoader("_kernel", str(path))
    spec = spec_from_loader("_kernel", loader)
    assert spec is not None
    module: Any = module_from_spec(spec)
    loader.exec_module(module)
    kernel: Kernel = module
    return kernel


Call = Callable[["Kernel"], object]


class Input:
    """The bytes of one input, taken from its beginning; copies, so that each ends where its buffer ends."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        """The next byte, or 0."""
        return self.take(1)[0] if self._at < len(self._data) else 0

    def choice(self, count: int) -> int:
        """A number below that."""
        return self.byte() % count

    def take(self, count: int) -> bytes:
        """So many bytes, or as many as there are."""
        self._at += count
        return self._data[self._at - count : self._at]

    def part(self) -> bytes:
        """A part whose length stands in front of it."""
        return self.take(self.byte())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))


class Target:
    """Calls one function of the kernel with what an input says, and its twin with the same."""

    def __init__(self, compiled: Kernel) -> None:
        import numpy as np

        from dissectors.kernel import ACCESS, RECORD, SHAPE, dtype, twin
        from dissectors.qemu import catalogue
        from dissectors.qemu.programs import programs

        self._np, self._kernels = np, (compiled, twin)
        self._record, self._shape, self._access = dtype(RECORD), dtype(SHAPE), dtype(ACCESS)
        self._programs = programs(catalogue.load())
        self._functions: tuple[Callable[[Input], Call], ...] = (
            self._lines, self._own_lines, self._gather, self._fill, self._search, self._walk, self._span,
            self._pass_over,
        )

    def __call__(self, data: bytes) -> None:
        """Try one input."""
        given = Input(data)
        call = self._functions[given.choice(len(self._functions))](given)
        outcomes = []
        for kernel in self._kernels:
            try:
                outcomes.append(call(kernel))
            except ValueError:
                outcomes.append(None)
        if outcomes[0] != outcomes[1]:
            raise AssertionError(f"{call.__qualname__}: {outcomes[0]!r} differs from {outcomes[1]!r}")

    def _lines(self, given: Input) -> Call:
        """Text by the programs of our own declarations."""
        start, room, text = given.choice(4), given.choice(8), given.rest()
        return lambda kernel: self._read(kernel.read_lines, text, start, self._programs, room)

    def _own_lines(self, given: Input) -> Call:
        """Text by programs of the input."""
        room, programs, text = given.choice(4), given.part(), given.rest()
        return lambda kernel: self._read(kernel.read_lines, text, 0, programs, room)

    def _walk(self, given: Input) -> Call:
        room, table, data = given.choice(4), given.part(), given.rest()
        return lambda kernel: self._read(kernel.walk, data, 0, table, room)

    def _pass_over(self, given: Input) -> Call:
        """Records by a table of the input; of the ranges and the numbers that are ignored there are few."""
        start, process, kinds, ignored = given.choice(4), given.choice(4), given.take(8), given.take(8)
        near, table, data = given.take(32).ljust(32, b"\0"), given.part(), given.rest()
        start = min(start, len(data))
        return lambda kernel: kernel.pass_over(data, start, len(data), table, kinds, ignored, near, process)

    def _span(self, given: Input) -> Call:
        """Any words, of classes that are a few bytes repeated, of ports that the input names."""
        room, start, processor = given.choice(4), given.choice(4), given.take(15).ljust(16, b"\0")
        ports = b"".join(port.to_bytes(4, "little") for port in given.part())
        classes, data = given.take(8).ljust(8, b"\xff") * 1024, given.rest()

        def call(kernel: Kernel) -> object:
            known, out = bytearray(processor), bytearray(room * 24)
            told, *counts = kernel.span(data, min(start, len(data)), len(data), classes, ports, known, out)
            return told, counts, known, out[: told * 24]

        return call

    def _read(self, function: Callable[..., int], data: bytes, start: int, programs: bytes, room: int) -> object:
        out = self._np.zeros(room, self._record)
        count = function(data, start, len(data), programs, 0, (1 << 64) - 1, b"xen-fixed", out)
        return out[:count].tolist()

    def _gather(self, given: Input) -> Call:
        most, room = given.choice(5), given.choice(5)
        kinds, allowed = given.part(), given.part()
        raw = bytearray(given.rest())
        del raw[len(raw) // 64 * 64 :]

        def call(kernel: Kernel) -> object:
            records = self._np.frombuffer(raw, self._record) if raw else self._np.zeros(0, self._record)
            shapes, out = self._np.zeros(most, self._shape), self._np.zeros(room, self._access)
            table = self._np.zeros(1 << most.bit_length(), "<u4")
            done, taken, known = kernel.gather(records, kinds, allowed, 16, shapes, 0, table, out)
            return out[:done].tolist(), taken, shapes[:known].tolist()

        return call

    def _fill(self, given: Input) -> Call:
        np, columns = self._np, given.choice(4)
        text, places, which, raw = given.part(), given.part(), given.part(), given.rest()
        pieces = np.array([place if place < 255 else (1 << 64) - 1 for place in places], "<u8")
        numbers = np.frombuffer(raw[: len(raw) // 8 * 8], "<i8") if len(raw) >= 8 else np.zeros(0, "<i8")
        rows = np.array(list(which), "<u4")
        return lambda kernel: kernel.fill(text, pieces, rows, numbers.copy(), columns)

    def _search(self, given: Input) -> Call:
        """Patterns whose sets are made of the bytes that the input names, and those bytes repeated."""
        room, at, count = given.choice(4), given.choice(4), given.choice(6)
        patterns = b""
        for _ in range(count):
            sets = [given.part()[:4] for _ in range(given.choice(6))]
            bits = [sum(1 << byte for byte in set(members)) for members in sets]
            patterns += bytes((len(sets), given.choice(4), given.choice(9)))
            patterns += b"".join(one.to_bytes(32, "little") for one in bits)
        patterns += given.part() if given.choice(4) == 0 else b""
        before, data = b"." * given.byte(), given.rest()

        def call(kernel: Kernel) -> object:
            out = self._np.zeros((room, 3), "<u8")
            return kernel.search(before + data, at, patterns, out, 0), out.tolist()

        return call


def main(words: list[str]) -> None:
    """Build, or fuzz."""
    if words[:1] == ["--build"]:
        build(Path(words[1]))
        return
    target = Target(load(Path(words[0]) / NAME))
    if words[1:2] == ["--replay"]:
        for name in words[2:]:
            target(Path(name).read_bytes())
        return
    import atheris

    atheris.Setup([sys.argv[0], *words[1:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
