"""CycloneDX's strict validator, with what its schema says of references looked at, too."""

from __future__ import annotations

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation import ValidationError
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft7Validator
from rfc3986_validator import validate_rfc3986


def fault_of(bill: str) -> ValidationError | None:
    """What is wrong with a bill of materials in JSON, by CycloneDX 1.6; None where nothing is.

    The schema asks for IRI references. The library for these costs seconds in every process that imports jsonschema, so
    they must be URI references here (RFC 3986), which is stricter: all that we write is ASCII.
    """
    Draft7Validator.FORMAT_CHECKER.checks("iri-reference")(_is_uri_reference)
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill)


def _is_uri_reference(value: object) -> bool:
    return not isinstance(value, str) or bool(validate_rfc3986(value, rule="URI_reference"))
