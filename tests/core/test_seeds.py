import hashlib

import numpy as np

from ontogeny.core.seeds import derive_seed


def test_seed_is_sha256_of_seed_and_purpose() -> None:
    # By hand: the first 8 bytes of the digest, little-endian, without the lowest bit.
    digest = hashlib.sha256(b"7\x1fdropout\x1f12").digest()
    assert derive_seed(7, "dropout", 12) == sum(byte << (8 * i) for i, byte in enumerate(digest[:8])) // 2


def test_every_part_of_the_purpose_matters() -> None:
    seeds = {
        derive_seed(0, "dropout", 12),
        derive_seed(1, "dropout", 12),
        derive_seed(0, "order", 12),
        derive_seed(0, "dropout", 1, 2),
        derive_seed(0, "dropout1", 2),
    }
    assert len(seeds) == 5


def test_seeds_of_neighbours_are_unrelated() -> None:
    # 2000 seeds of 63 bits: the share of set bits at each place is 0.5 with sd 0.011; five sd leave 1e-6 per place.
    seeds = np.array([derive_seed(0, "order", i) for i in range(2000)], dtype=np.int64)
    assert seeds.min() >= 0
    shares = [((seeds >> bit) & 1).mean() for bit in range(63)]
    assert max(abs(share - 0.5) for share in shares) < 0.06
