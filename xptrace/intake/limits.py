"""How much a container may unfold to, so that a hostile one ends in a sentence and not in a full disk.

Logs compress a hundred to one, the most repetitive ones three hundred to one; deflate cannot do better than 1032 to
one (RFC 1951: a match of 258 bytes takes two bits at least), and a bomb comes close to that or goes far beyond it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Limits(NamedTuple):
    """What a container may ask of this machine."""

    depth: int = 3
    """Archives inside one another."""
    members: int = 100_000
    """Files of all directories and archives together."""
    free: int = 1 << 30
    """Bytes that may come out of a stream, whatever its ratio."""
    ratio: int = 500
    """Beyond those, bytes that may come out for each that goes in."""
    unfolded: int = 1 << 40
    """Bytes that may come out of one stream at all."""
    spooled: int = 64 << 30
    """Bytes of compressed archives that may be unpacked to the temporary directory, all together."""
    reserve: int = 1 << 30
    """Bytes that stay free there."""

    def inside(self) -> Limits:
        """Those of a member of an archive: there may be many of them, so each has less for nothing."""
        return self._replace(free=min(self.free, 64 << 20))

    def allowed(self, stored: int) -> int:
        """Bytes that so many stored ones may unfold to."""
        return min(self.unfolded, max(self.free, self.ratio * stored))

    def exceeded(self, stored: int, unfolded: int) -> str | None:
        """Why no more of a stream is unfolded, once that is so."""
        if unfolded <= self.allowed(stored):
            return None
        if unfolded > self.unfolded:
            return f"unfolds to more than {self.unfolded} bytes, the most that is read of one stream"
        return (
            f"{stored} bytes unfold to more than {unfolded}: beyond {self.free} bytes, "
            f"no more than {self.ratio} for each stored one are read"
        )


LIMITS: Final = Limits()
"""The limits where nobody asks for others."""
