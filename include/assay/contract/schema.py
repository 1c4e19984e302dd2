"""The contract's JSON Schema, from which editors complete and check."""

from __future__ import annotations

import json
from typing import Any

from assay.contract.models import Contract


def contract_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a contract, generated from the models.

    It says which keys may stand where and of which type; what relates several fields (a column that is named but not
    described, say) only `assay contract check` finds.
    """
    schema = Contract.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://assay.dev/contract.schema.json",
        **schema,
        "title": "Assay contract",
    }


def schema_text() -> str:
    """The schema as the committed file holds it."""
    return json.dumps(contract_schema(), indent=2, ensure_ascii=False) + "\n"
