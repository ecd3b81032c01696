"""One seed for every random draw, made of what the draw is for and of nothing that ran before it."""

from __future__ import annotations

import hashlib
import operator


def derive_seed(*parts: int | str) -> int:
    """Return the 63-bit seed of the draw that ``parts`` name, such as ``(seed, "augment", epoch, index)``.

    Equal parts give equal seeds on every machine; ``1`` and ``"1"``, or ``("ab", "c")`` and ``("a", "bc")``, differ.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = part.encode() if isinstance(part, str) else str(operator.index(part)).encode()
        kind = b"s" if isinstance(part, str) else b"i"
        digest.update(b"%s%d:%s" % (kind, len(text), text))
    return int.from_bytes(digest.digest(), "big") >> 1
