"""A limit on unknown links: whoever tries many is refused for a while."""

from __future__ import annotations

from notifier.clock import elapsed
from notifier.web.peers import peer_of

_MINUTE = 60.0
MAX_UNKNOWN = 30
"""How many unknown links one peer may try in a minute."""
_MAX_PEERS = 1000


class UnknownLinks:
    """Counts the unknown links that each peer tries.

    A link that is known is never refused: behind a proxy all callers are one peer, and somebody who tries links must
    not keep the others out. No limit is needed against guesses: a token has 83 random bits.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._of_peers: dict[str, tuple[float, int]] = {}
        """Since when the minute of a peer is, and how many unknown links it tried in that."""

    def count(self, address: str) -> int:
        """Count an unknown link from *address*; return how many came from its peer within a minute."""
        peer, now = peer_of(address), elapsed()
        since, count = self._of_peers.pop(peer, (now, 0))
        if now - since >= _MINUTE:
            since, count = now, 0
        self._of_peers[peer] = since, count + 1
        if len(self._of_peers) > _MAX_PEERS:
            del self._of_peers[next(iter(self._of_peers))]
        return count + 1
