"""Values of Python and of numpy as arrays of Arrow, put together from their buffers.

Law: Apache Arrow's columnar format, "Physical memory layout". `pyarrow.array` makes the same arrays, and loads pandas
to do so, which takes longer than to decode many a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from dissectors.kernel import chosen_kernel

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


_MOST_TEXT: Final = (1 << 31) - 1


def array(values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    """The values as an array of a type, None as missing.

    Raises OverflowError where a number does not fit, and UnicodeEncodeError where a text has no UTF-8.
    """
    import numpy as np
    import pyarrow as pa

    missing = values.count(None)
    if missing == len(values):
        return pa.nulls(len(values), wanted)
    told = np.array([value is not None for value in values]) if missing else None
    if pa.types.is_boolean(wanted):
        held = np.array([bool(value) for value in values])
        return pa.Array.from_buffers(wanted, len(values), [_bits(told), pa.py_buffer(_packed(held))])
    if pa.types.is_integer(wanted):
        kept = [0 if value is None else value for value in values] if missing else values
        return numbers(np.array(kept, dtype="<u8" if pa.types.is_uint64(wanted) else "<i8"), wanted, told)
    if pa.types.is_string(wanted):
        encoded = [b"" if value is None else value.encode() for value in values]
        ends = np.zeros(len(encoded) + 1, dtype="<i4")
        np.cumsum(list(map(len, encoded)), out=ends[1:])
        return pa.Array.from_buffers(
            wanted, len(values), [_bits(told), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
        )
    return pa.array(values, wanted)


def dictionary(values: Sequence[str | None]) -> pa.Array:
    """Texts that repeat, None as missing. Raises UnicodeEncodeError where one has no UTF-8."""
    import numpy as np
    import pyarrow as pa

    known: dict[str, int] = {}
    codes = np.array([-1 if one is None else known.setdefault(one, len(known)) for one in values], dtype="<i4")
    told = codes >= 0
    indices = pa.Array.from_buffers(pa.int32(), len(codes), [_bits(told), pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(indices, array(list(known), pa.string()))


def numbers(values: NDArray[Any], wanted: pa.DataType, told: NDArray[Any] | None = None) -> pa.Array:
    """Numbers of 64 bits as an array of a type that has as many; those that are not told are missing."""
    import numpy as np
    import pyarrow as pa

    return pa.Array.from_buffers(wanted, len(values), [_bits(told), pa.py_buffer(np.ascontiguousarray(values))])


def taken(column: pa.Array, places: NDArray[np.intp], which: NDArray[np.intp]) -> pa.Array:
    """The values at `places[which]` of an array of a type that is made here; of a dictionary, no text that none has.

    Each place is one of `which`, and there are few. `pyarrow.compute.take` takes from arrays of every type: to load it
    takes as long as to take from many.
    """
    import numpy as np
    import pyarrow as pa

    there = told(column)[places]
    if not there.any():
        return pa.nulls(len(which), column.type)
    bits = None if there.all() else _bits(there[which])
    if pa.types.is_dictionary(column.type):
        come, codes = np.unique(_values(column.indices, "<i4")[places[there]], return_inverse=True)
        renumbered = np.zeros(len(places), dtype="<i4")
        renumbered[there] = codes
        indices = pa.Array.from_buffers(pa.int32(), len(which), [bits, pa.py_buffer(_spread(renumbered, which))])
        texts = taken(column.dictionary, come.astype(np.intp), np.arange(len(come)))
        return pa.DictionaryArray.from_arrays(indices, texts, safe=False)
    if pa.types.is_string(column.type):
        return pa.Array.from_buffers(column.type, len(which), [bits, *map(pa.py_buffer, _texts(column, places, which))])
    if pa.types.is_boolean(column.type):
        values = _packed(_spread(_flags(column.buffers()[1], column)[places], which))
    else:
        values = _spread(_values(column, "<i8")[places], which)
    return pa.Array.from_buffers(column.type, len(which), [bits, pa.py_buffer(values)])


def _spread(values: NDArray[Any], which: NDArray[np.intp]) -> NDArray[Any]:
    """`values[which]`; often they are all the same."""
    import numpy as np

    return np.full(len(which), values[0]) if (values == values[0]).all() else values.take(which)


def _texts(column: pa.Array, places: NDArray[np.intp], which: NDArray[np.intp]) -> tuple[NDArray[Any], bytes]:
    """Where the texts at `places[which]` end, as an array of texts has it, and the texts."""
    import numpy as np

    _, offsets, held = column.buffers()
    begins = np.frombuffer(offsets, dtype="<i4")[column.offset : column.offset + len(column) + 1].astype("<u8")
    pieces = np.stack((begins[:-1][places], begins[1:][places]), axis=1)
    ends = np.zeros(len(which) + 1, dtype="<i8")
    np.cumsum((pieces[:, 1] - pieces[:, 0]).astype("<i8").take(which), out=ends[1:])
    if ends[-1] > _MOST_TEXT:
        raise OverflowError("an array of texts has 2 GiB at most")
    text = b"" if held is None else held.to_pybytes()
    kernel = chosen_kernel()
    if kernel is not None:
        return ends.astype("<i4"), kernel.fill(text, pieces, which.astype("<u4"), b"", 0)
    parts = [text[begin:end] for begin, end in pieces.tolist()]
    return ends.astype("<i4"), b"".join(map(parts.__getitem__, which.tolist()))


def _values(column: pa.Array, dtype: str) -> NDArray[Any]:
    """The numbers of an array, whatever stands where none is told."""
    import numpy as np

    return np.frombuffer(column.buffers()[1], dtype)[column.offset : column.offset + len(column)]


def told(column: pa.Array) -> NDArray[np.bool_]:
    """Which values of an array are there."""
    import numpy as np

    bits = column.buffers()[0]
    return np.full(len(column), column.null_count == 0) if bits is None else _flags(bits, column)


def _flags(bits: pa.Buffer, column: pa.Array) -> NDArray[np.bool_]:
    import numpy as np

    flags = np.unpackbits(np.frombuffer(bits, dtype="u1"), bitorder="little")
    return flags[column.offset : column.offset + len(column)].astype(bool)


def _bits(told: NDArray[Any] | None) -> pa.Buffer | None:
    """Which values are there, a bit each; None where all are."""
    import pyarrow as pa

    return None if told is None or told.all() else pa.py_buffer(_packed(told))


def _packed(flags: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.packbits(flags, bitorder="little")
