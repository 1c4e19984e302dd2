"""Models: signed bundles, the check before they are loaded, gates, and who is champion."""

from assay.model.bundle import (
    LoadedModel,
    bundle_digest,
    check_bundle,
    load_bundle,
    model_id,
    seal_bundle,
)
from assay.model.card import make_card
from assay.model.errors import BundleRefused, NoModelKey, NoSuchModel, PromotionRefused
from assay.model.gates import Judgement, judge_model
from assay.model.registry import Change, find_model, promote, refuse, rollback, set_judged
from assay.model.signing import check_signature, model_public_key, sign_bundle

__all__ = [
    "BundleRefused",
    "Change",
    "Judgement",
    "LoadedModel",
    "NoModelKey",
    "NoSuchModel",
    "PromotionRefused",
    "bundle_digest",
    "check_bundle",
    "check_signature",
    "find_model",
    "judge_model",
    "load_bundle",
    "make_card",
    "model_id",
    "model_public_key",
    "promote",
    "refuse",
    "rollback",
    "seal_bundle",
    "set_judged",
    "sign_bundle",
]
