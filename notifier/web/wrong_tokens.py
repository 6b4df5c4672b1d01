"""A limit on wrong tokens in links: whoever tries many is refused for a while."""

from __future__ import annotations

from typing import Any

from notifier.clock import elapsed
from notifier.web.peers import peer_of

_MINUTE = 60.0
MOST_WRONG = 30
"""How many wrong tokens may come from one peer in a minute."""
_MOST_PEERS = 1000
_MOST_RIGHT = 1000


class WrongTokens:
    """Counts the wrong tokens of each peer.

    A token that was right before is always admitted: behind a proxy all callers are one peer, and somebody who tries
    tokens must not keep the others out.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._wrong: dict[str, tuple[float, int]] = {}
        """Since when the minute of a peer is, and how many wrong tokens came from it in that."""
        self._right: dict[str, None] = {}
        """The hashes of right tokens, the last one at the end."""

    def admits(self, address: str, hash_: str) -> bool:
        """Return whether the token with the hash *hash_* from *address* is looked up."""
        since, count = self._wrong.get(peer_of(address), (elapsed(), 0))
        return hash_ in self._right or count < MOST_WRONG or elapsed() - since >= _MINUTE

    def note(self, address: str, hash_: str, *, is_right: bool) -> None:
        """Note the outcome of a lookup."""
        if is_right:
            self._right.pop(hash_, None)
            self._right[hash_] = None
            _limit(self._right, _MOST_RIGHT)
            return
        peer, now = peer_of(address), elapsed()
        since, count = self._wrong.get(peer, (now, 0))
        if now - since >= _MINUTE:
            since, count = now, 0
        self._wrong[peer] = since, count + 1
        _limit(self._wrong, _MOST_PEERS)


def _limit(known: dict[str, Any], most: int) -> None:
    while len(known) > most:
        del known[next(iter(known))]
