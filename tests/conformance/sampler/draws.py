#!/usr/bin/env python3
"""The ids that tests/unit/test_sampler.c pins, from a second implementation (Python's integers and math.exp)."""
import math

M = (1 << 64) - 1


class Pcg32:
    def __init__(self, seed):
        self.state = 0
        self.next()
        self.state = (self.state + seed) & M
        self.next()

    def next(self):
        old = self.state
        self.state = (old * 6364136223846793005 + 1442695040888963407) & M
        x, rot = (((old >> 18) ^ old) >> 27) & 0xFFFFFFFF, old >> 59
        return (x >> rot | x << (-rot & 31)) & 0xFFFFFFFF

    def uniform(self):
        high = self.next() >> 5
        return (high << 26 | self.next() >> 6) / 2**53


logits = [((i * 37) % 64) * 0.1 for i in range(64)]
weights = [math.exp(v - max(logits)) for v in logits]
rng, ids = Pcg32(42), []
for _ in range(8):
    at = rng.uniform() * sum(weights)
    for i, w in enumerate(weights):
        at -= w
        if at < 0:
            break
    ids.append(i)
print(ids)
