"""Whether the training section fits the schema: asked once both are known."""

from __future__ import annotations

from assay.contract.base import Complaint
from assay.contract.columns import Schema
from assay.contract.network import EmbeddingLayer
from assay.contract.training import Training


def check_training(training: Training, schema: Schema) -> None:
    """Hold embeddings, loss and class weights against columns and label.

    Raises:
        Complaint: One of them does not fit.
    """
    _embedding(training, schema)
    label = schema.label
    if label is None:
        return
    classes = [str(each) for each in label.classes or ()]
    of_classes = training.loss in {"logit_cross_entropy", "binary_logit_cross_entropy"}
    if training.loss != "auto" and of_classes != bool(classes):
        raise Complaint(
            f"the loss {training.loss} does not belong to a label {'with' if classes else 'without'} classes",
            fix="use auto",
            at=("training", "loss"),
        )
    if training.loss == "binary_logit_cross_entropy" and len(classes) != 2:
        raise Complaint(
            f"binary_logit_cross_entropy is for two classes, and the label has {len(classes)}",
            fix="use logit_cross_entropy",
            at=("training", "loss"),
        )
    if isinstance(training.class_weights, dict) and set(training.class_weights) != set(classes):
        odd = sorted(set(training.class_weights) ^ set(classes))
        raise Complaint(
            f"class_weights and the label's classes differ in {', '.join(odd[:4])}",
            fix=f"give one weight for each of {', '.join(classes) or 'no class: the label is a number'}",
            at=("training", "class_weights"),
        )


def _embedding(training: Training, schema: Schema) -> None:
    first = training.layers[0] if training.layers else None
    if not isinstance(first, EmbeddingLayer):
        return
    texts = [name for name in schema.features if schema.columns[name].type == "string"]
    strange = [name for name in first.columns or () if name not in texts]
    if strange or not texts:
        raise Complaint(
            f"{strange[0]!r} is no text column to learn from"
            if strange
            else "there is no text column to embed",
            fix=f"name some of {', '.join(texts)}" if texts else "take the embedding out",
            at=("training", "layers", 0),
        )
