"""A snapshot as Croissant metadata (mlcommons.org/croissant/1.0): its Parquet objects, its columns, our digests."""

from __future__ import annotations

from typing import Any

from assay.ledger.errors import NotInLedger
from assay.ledger.exports.history import History

_TYPES = {
    "string": "sc:Text",
    "large_string": "sc:Text",
    "bool": "sc:Boolean",
    "date32[day]": "sc:Date",
    "float": "cr:Float32",
    "double": "cr:Float64",
    **{
        f"{sign}int{bits}": f"cr:{'U' if sign else ''}Int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(history: History, snapshot_id: str) -> dict[str, Any]:
    """Croissant 1.0 metadata of a snapshot.

    Each part is a file with its SHA-256, named by where the store keeps it; each column of the contract is a field of
    one record set per part. Rows that a part carries and the snapshot leaves out are counted in the description, for
    Croissant has no word for them: `assay ledger trace` and the manifest name them.

    Args:
        history: The snapshot's history.
        snapshot_id: The snapshot.

    Raises:
        NotInLedger: No statement admits that snapshot.
    """
    admitted = history.newest("snapshot-admitted", snapshot_id)
    if admitted is None:
        raise NotInLedger(
            f"no statement in the ledger admits {snapshot_id!r}",
            next_step="give a snapshot's id; `assay ledger trace DATASET:KEY` names those that hold a row",
        )
    manifest = history.manifest(snapshot_id)
    columns = history.columns(manifest)
    left_out = sum(part.rows - part.kept for part in manifest.parts)
    publishers = sorted({str(told.facts.get("publisher")) for told in history.of("delivery-verified")})
    parts = list(enumerate(manifest.parts, start=1))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": f"{manifest.dataset}-{manifest.version}",
        "description": (
            f"Snapshot {snapshot_id} of the data set {manifest.dataset}: {manifest.rows} rows with the Merkle root "
            f"{manifest.merkle_root}, admitted under the contract {manifest.contract_sha256} (entry "
            f"{admitted.position} of {history.origin}). {left_out} rows of its files do not belong to it."
        ),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "url": f"https://assay.dev/snapshots/{snapshot_id}",
        "version": f"{manifest.version}.0.0",
        "datePublished": admitted.at,
        "creator": [{"@type": "sc:Organization", "name": name} for name in publishers],
        "citeAs": f"{manifest.dataset}, version {manifest.version}, sha256:{admitted.statement.subjects[0].sha256}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": f"part-{number}",
                "name": f"part-{number}",
                "description": f"{part.kept} of {part.rows} rows, from {part.delivery_id}",
                "contentUrl": history.store.uri_of(part.sha256),
                "encodingFormat": "application/x-parquet",
                "sha256": part.sha256,
            }
            for number, part in parts
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": f"rows-{number}",
                "name": f"rows-{number}",
                **(
                    {"key": [{"@id": f"rows-{number}/{name}"} for name in manifest.key]}
                    if manifest.key
                    else {}
                ),
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"rows-{number}/{name}",
                        "name": name,
                        "description": f"column {name}, {kind}",
                        "dataType": _type(kind),
                        "source": {
                            "fileObject": {"@id": f"part-{number}"},
                            "extract": {"column": name},
                        },
                    }
                    for name, kind in columns
                ],
            }
            for number, _ in parts
        ],
    }


def _type(kind: str) -> str:
    """Croissant's name of an Arrow type; a timestamp is a DateTime whatever its unit."""
    if kind.startswith("timestamp"):
        return "sc:DateTime"
    return _TYPES.get(kind, "sc:Text")
