"""The reference backend: Flux's semantics in NumPy, written to be read, and the witness that Flux is held against.

It follows the definitions of Flux, NNlib and Optimisers to the letter, epsilons and order of operations included, so
that from the same weights and batches both backends take the same steps up to rounding.
"""

from assay.train.backends.reference.activations import ACTIVATIONS
from assay.train.backends.reference.inference import forward, predict
from assay.train.backends.reference.losses import log_softmax
from assay.train.backends.reference.trainer import ReferenceTrainer

__all__ = ["ACTIVATIONS", "ReferenceTrainer", "forward", "log_softmax", "predict"]
