"""Models: signed bundles, the check before they are loaded, gates, and who is champion."""

from assay.model.bundle import LoadedModel, check_bundle, load_bundle, seal_bundle
from assay.model.card import make_card
from assay.model.carding import describe_learning, describe_network, describe_privacy
from assay.model.digest import bundle_digest, model_id
from assay.model.errors import (
    AnswerNotFinite,
    BundleRefused,
    ModelKeyError,
    NoModelKey,
    NoSuchModel,
    PromotionRefused,
)
from assay.model.gates import Judgement, judge_model
from assay.model.registry import Change, find_model, promote, refuse, rollback, set_judged
from assay.model.signing import check_signature, model_public_key, sign_bundle
from assay.model.structure import read_spec

__all__ = [
    "AnswerNotFinite",
    "BundleRefused",
    "Change",
    "Judgement",
    "LoadedModel",
    "ModelKeyError",
    "NoModelKey",
    "NoSuchModel",
    "PromotionRefused",
    "bundle_digest",
    "check_bundle",
    "check_signature",
    "describe_learning",
    "describe_network",
    "describe_privacy",
    "find_model",
    "judge_model",
    "load_bundle",
    "make_card",
    "model_id",
    "model_public_key",
    "promote",
    "read_spec",
    "refuse",
    "rollback",
    "seal_bundle",
    "set_judged",
    "sign_bundle",
]
