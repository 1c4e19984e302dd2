"""The contract of a data set: its models, the file it is read from, its JSON Schema, and the keys it trusts."""

from assay.contract.advice import advice
from assay.contract.base import Complaint, Identifier, Model
from assay.contract.durations import Duration, format_duration, parse_duration
from assay.contract.importers import Imported, ImportRefused, import_contract
from assay.contract.keys import Key, Publisher, decode_key, key_id
from assay.contract.loader import dump_contract, find_contracts, load_contract, parse_contract
from assay.contract.models import (
    RESERVED_COLUMNS,
    Bounds,
    Column,
    Contract,
    Expectation,
    Freshness,
    Label,
    Review,
    Schema,
    Screen,
    Source,
    Trusted,
)
from assay.contract.network import Activation, DenseLayer, Layer
from assay.contract.optimization import EarlyStopping, Optimizer, Privacy, Schedule
from assay.contract.problems import ContractError, Problem
from assay.contract.schema import contract_schema, schema_text
from assay.contract.training import CurveLimits, Gates, Training
from assay.contract.trust import KeyRefused, add_key, list_keys, read_key, revoke_key

__all__ = [
    "RESERVED_COLUMNS",
    "Activation",
    "Bounds",
    "Column",
    "Complaint",
    "Contract",
    "ContractError",
    "CurveLimits",
    "DenseLayer",
    "Duration",
    "EarlyStopping",
    "Expectation",
    "Freshness",
    "Gates",
    "Identifier",
    "ImportRefused",
    "Imported",
    "Key",
    "KeyRefused",
    "Label",
    "Layer",
    "Model",
    "Optimizer",
    "Privacy",
    "Problem",
    "Publisher",
    "Review",
    "Schedule",
    "Schema",
    "Screen",
    "Source",
    "Training",
    "Trusted",
    "add_key",
    "advice",
    "contract_schema",
    "decode_key",
    "dump_contract",
    "find_contracts",
    "format_duration",
    "import_contract",
    "key_id",
    "list_keys",
    "load_contract",
    "parse_contract",
    "parse_duration",
    "read_key",
    "revoke_key",
    "schema_text",
]
