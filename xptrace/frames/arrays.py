"""Values of Python and of numpy as arrays of Arrow, put together from their buffers.

Law: Apache Arrow's columnar format, "Physical memory layout". `pyarrow.array` makes the same arrays, and loads pandas
to do so, which takes longer than to decode many a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


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


def told(column: pa.Array) -> NDArray[np.bool_]:
    """Which values of an array are there."""
    import numpy as np

    bits = column.buffers()[0]
    if bits is None:
        return np.full(len(column), column.null_count == 0)
    flags = np.unpackbits(np.frombuffer(bits, dtype="u1"), bitorder="little")
    return flags[column.offset : column.offset + len(column)].astype(bool)


def _bits(told: NDArray[Any] | None) -> pa.Buffer | None:
    """Which values are there, a bit each; None where all are."""
    import pyarrow as pa

    return None if told is None or told.all() else pa.py_buffer(_packed(told))


def _packed(flags: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.packbits(flags, bitorder="little")
