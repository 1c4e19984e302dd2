"""What differential privacy a training has spent, and the noise that it spends it on.

The guarantee is for data sets that differ in one row, added or removed, and rests on Poisson sampling: each row is in a
batch with the same probability, independently of all else. The numbers are those of Google's dp-accounting.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Method = Literal["rdp", "pld"]
KEY_BYTES = 32
HOW_TO_GET_ACCOUNTING = "pip install --no-deps --require-hashes -r requirements-privacy.txt"


def accounting_installed() -> bool:
    """Whether dp-accounting is there; it is locked apart from the rest."""
    return find_spec("dp_accounting") is not None


class Spent(NamedTuple):
    """Epsilon after some updates, by both accountants; `None` where nothing bounds it, as without noise.

    Attributes:
        rdp: By Rényi differential privacy (Mironov, Talwar and Zhang 2019).
        pld: By privacy loss distributions (Koskela and others 2020; Doroshenko and others 2022), the tighter bound.
    """

    rdp: float | None
    pld: float | None


class Accountant:
    """Epsilon of DP-SGD with Poisson sampling, as a function of the updates made and of nothing else.

    It follows from the number of updates alone, so that a resumed run reads the same numbers as one that was never
    killed; what was worked out is kept, so that asking in every epoch is cheap.
    """

    def __init__(self, sampling_rate: float, noise_multiplier: float, delta: float) -> None:
        """Fix what every update does.

        Args:
            sampling_rate: Probability of a row to be in a batch, over 0 and up to 1.
            noise_multiplier: Noise deviation over the norm that rows are clipped to; 0 is no privacy.
            delta: Probability that the guarantee may fail, between 0 and 1.

        Raises:
            ValueError: A number is out of its range.
        """
        if not (0 < sampling_rate <= 1 and 0 < delta < 1 and 0 <= noise_multiplier < math.inf):
            raise ValueError(
                f"no account of rate {sampling_rate}, noise multiplier {noise_multiplier} and delta {delta}"
            )
        self.sampling_rate, self.noise_multiplier, self.delta = sampling_rate, noise_multiplier, delta
        self._epsilon = lru_cache(maxsize=None)(self._epsilon_of)
        self._one_pld: Any = None

    def spent(self, steps: int) -> Spent:
        """Epsilon after `steps` updates; an update that was prepared but skipped counts, as it looked at the data."""
        return Spent(self.epsilon(steps, "rdp"), self.epsilon(steps, "pld"))

    def epsilon(self, steps: int, method: Method) -> float | None:
        """Epsilon after `steps` updates by one accountant: 0 after none, `None` where nothing bounds it."""
        if steps <= 0:
            return 0.0
        epsilon = self._epsilon(steps, method) if self.noise_multiplier else math.inf
        return epsilon if math.isfinite(epsilon) else None

    def _epsilon_of(self, steps: int, method: Method) -> float:
        with _quiet():
            return self._rdp(steps) if method == "rdp" else self._pld(steps)

    def _rdp(self, steps: int) -> float:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.rdp import RdpAccountant

        accountant = RdpAccountant()
        accountant.compose(
            PoissonSampledDpEvent(self.sampling_rate, GaussianDpEvent(self.noise_multiplier)), steps
        )
        return float(accountant.get_epsilon(self.delta))

    def _pld(self, steps: int) -> float:
        from dp_accounting.pld import privacy_loss_distribution

        if self._one_pld is None:
            self._one_pld = privacy_loss_distribution.from_gaussian_mechanism(
                self.noise_multiplier, sampling_prob=self.sampling_rate
            )
        return float(self._one_pld.self_compose(steps).get_epsilon_for_delta(self.delta))

    def steps_within(self, budget: float, method: Method, at_most: int) -> int:
        """How many updates, up to `at_most`, spend no more than `budget`."""
        if self._fits(at_most, budget, method):
            return at_most
        good, bad = 0, at_most
        step = 1
        # Doubling first: small compositions cost much less than large ones.
        while step < bad and self._fits(step, budget, method):
            good, step = step, step * 2
        bad = min(step, bad)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._fits(middle, budget, method):
                good = middle
            else:
                bad = middle
        return good

    def _fits(self, steps: int, budget: float, method: Method) -> bool:
        epsilon = self.epsilon(steps, method)
        return epsilon is not None and epsilon <= budget


@contextmanager
def _quiet() -> Iterator[None]:
    """Without dp-accounting's warnings that it leaves out a Rényi order, which only makes the bound less tight."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class NoiseSource:
    """Standard normal numbers for each update that follow from a key, so that a resumed run adds the same noise.

    The key of an update is a keyed BLAKE2b of its number, from which Philox draws. This makes the noise repeatable and,
    to those without the key, unforeseeable for practical purposes; it is not a proof: Philox is no cryptographic
    generator, and doubles have gaps that a continuous normal distribution has not (Mironov 2012). Whoever has the key
    can take the noise off again, so it is as secret as the data.
    """

    def __init__(self, key: bytes, size: int) -> None:
        """Take a key of 32 bytes, and how many numbers an update needs.

        Raises:
            ValueError: The key has another length.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a noise key has {KEY_BYTES} bytes, not {len(key)}")
        self._key, self._size = key, size

    def __call__(self, step: int) -> npt.NDArray[np.float64]:
        """The numbers of one update, float64 (size,)."""
        digest = hashlib.blake2b(step.to_bytes(8, "little"), key=self._key, digest_size=16).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
        return generator.standard_normal(self._size)
