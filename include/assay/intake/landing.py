"""Files on their way into the store: read once, hashed while they are copied, compared with the signed manifest.

A process that is killed here leaves whole objects or none; running it again stores the same ones. Bytes that are not
what the manifest says are kept, sealed, as evidence, and stand in no list of a delivery's data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.contract import Bounds
from assay.findings import Finding, Outcome, Severity
from assay.intake.errors import NotThere, SourceRefused, TooLarge
from assay.intake.freshness import SUPPLY_CHAIN
from assay.intake.manifest import Digest
from assay.intake.sources import Listing, Place, too_large
from assay.store import ObjectStore

Progress = Callable[[str, int], None]
"""Called with a file's path and the bytes of it that came so far."""

EXAMPLES = 20
"""How many files a finding names at most."""

_BESIDE = (".minisig", ".sig", ".asc", ".gpg", ".sign", ".ed25519", ".p7s", ".sigstore", ".sigstore.json")


@dataclass(frozen=True)
class LandedFile:
    """One file as it came: its path in the manifest, what it should have been, and the object that holds its bytes."""

    path: str
    sha256: str
    size: int
    expected: Digest
    right: bool


@dataclass
class Landed:
    """What came of a delivery's files.

    Attributes:
        files: Those that could be read, in the manifest's order.
        missing: Paths that the manifest lists and the source does not have.
        refused: Why not, by path: no regular file, not given by the server, too large.
    """

    files: list[LandedFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> list[LandedFile]:
        """Files whose digest is not the manifest's."""
        return [file for file in self.files if not file.right]


def land(
    place: Place,
    expected: Mapping[str, Digest],
    store: ObjectStore,
    bounds: Bounds,
    *,
    sealed: bool,
    prefetched: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
) -> Landed:
    """Copy all files that a manifest lists into the store.

    Args:
        place: Where they lie.
        expected: The manifest.
        store: Where they go.
        bounds: `max_bytes` limits them together.
        sealed: Keep all of them encrypted, because the delivery is not accepted anyway. Otherwise only those whose
            digest is wrong are.
        prefetched: Bytes of files that were read before.
        progress: Told about each chunk.

    Raises:
        SourceUnreachable: The source broke off; what came whole is in the store, under no delivery's name.
        LandingFailed: A local file could not be read to its end.
        StoreFull, StoreReadOnly, StoreUnavailable: The store took no more.
    """
    landed = Landed()
    left = bounds.max_bytes
    for path, digest in expected.items():
        try:
            if prefetched is not None and path in prefetched:
                if len(prefetched[path]) > left:
                    raise too_large(path, left)
                file = _store(iter((prefetched[path],)), path, digest, store, sealed, progress)
            else:
                file = place.fetch(
                    path,
                    left,
                    lambda chunks, path=path, digest=digest: _store(  # type: ignore[misc]
                        chunks, path, digest, store, sealed, progress
                    ),
                )
        except NotThere:
            landed.missing.append(path)
        except TooLarge as error:
            landed.refused[path] = f"{error.message} ({error.expected})"
            return landed  # whoever sends too much does not get to send more
        except SourceRefused as error:
            landed.refused[path] = f"{error.message}: {error.found}" if error.found else error.message
        else:
            landed.files.append(file)
            left -= file.size
            if not file.right and not sealed:
                store.seal(file.sha256)
    return landed


def _store(
    chunks: Iterator[bytes],
    path: str,
    digest: Digest,
    store: ObjectStore,
    sealed: bool,
    progress: Progress | None,
) -> LandedFile:
    # The store computes SHA-256 itself; another algorithm runs along over the same chunks.
    also = (
        None
        if digest.algorithm == "sha256"
        else hashlib.new(digest.algorithm, usedforsecurity=not digest.weak)
    )

    def passing() -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            if also is not None:
                also.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(path, done)
            yield chunk

    stored = store.put_stream(passing(), sealed=sealed)
    found = stored.sha256 if also is None else also.hexdigest()
    return LandedFile(path, stored.sha256, stored.size, digest, found == digest.hex)


def judge_completeness(
    landed: Landed, expected: Mapping[str, Digest], listing: Listing | None, own: frozenset[str]
) -> Finding:
    """Is everything there that is listed, and everything listed that is there?

    Args:
        landed: What came.
        expected: The manifest.
        listing: What lies in a local delivery; None for a server, of which only listed files are ever asked.
        own: Names of the manifest and its signature.
    """
    extra, beside = _unlisted(expected, listing, own)
    refused = dict(landed.refused)
    if listing is not None:
        refused |= {path: f"it is {what}" for path, what in listing.refused.items()}
    evidence: dict[str, Any] = {"listed": len(expected), "there": len(landed.files)}
    problems = []
    for name, paths, text in (
        ("missing", landed.missing, "listed but not there"),
        ("unlisted", extra, "there but not listed"),
        ("refused", sorted(refused), "not acceptable"),
    ):
        if paths:
            evidence[name] = len(paths)
            evidence[f"{name}_files"] = [
                f"{p}: {refused[p]}"[:300] if name == "refused" else p for p in paths[:EXAMPLES]
            ]
            problems.append(f"{len(paths)} {text} ({_few(paths, refused if name == 'refused' else {})})")
    if beside:
        evidence["not_read"] = beside[:EXAMPLES]  # other signatures over the manifest, which it cannot list
    if problems:
        return Finding(
            check="intake.completeness",
            outcome=Outcome.FAILED,
            severity=Severity.CRITICAL,
            message="; ".join(problems) + "; have the publisher deliver again",
            evidence=evidence,
            technique=SUPPLY_CHAIN,
        )
    how = "nothing else lies there" if listing is not None else "only listed files were asked for"
    return Finding(
        check="intake.completeness",
        outcome=Outcome.PASSED,
        message=f"all {len(expected)} listed files are there; {how}",
        evidence=evidence,
    )


def judge_checksums(landed: Landed) -> Finding:
    """Are the files that came what the manifest says, and is its word good?"""
    evidence: dict[str, Any] = {"files": len(landed.files), "bytes": sum(file.size for file in landed.files)}
    if wrong := landed.wrong:
        evidence["wrong"] = len(wrong)
        evidence["wrong_files"] = [
            {
                "path": f.path,
                "algorithm": f.expected.algorithm,
                "expected": f.expected.hex,
                "sha256": f.sha256,
            }
            for f in wrong[:EXAMPLES]
        ]
        return Finding(
            check="intake.checksums",
            outcome=Outcome.FAILED,
            severity=Severity.CRITICAL,
            message=f"{len(wrong)} of {len(landed.files)} files are not what the manifest says "
            f"({_few([f.path for f in wrong])}): they were changed after it was made; the bytes are kept sealed",
            evidence=evidence,
            technique=SUPPLY_CHAIN,
        )
    if not landed.files:
        return Finding(
            check="intake.checksums",
            outcome=Outcome.NOT_CHECKED,
            message="no file came that could be checked",
        )
    weak = [file for file in landed.files if file.expected.weak]
    if weak:
        evidence["weak"] = len(weak)
        names = sorted({file.expected.algorithm for file in weak})
        return Finding(
            check="intake.checksums",
            outcome=Outcome.NOT_CHECKED,
            severity=Severity.HIGH,
            message=f"weak: {len(weak)} of {len(landed.files)} files have only {' and '.join(names)} digests, which "
            "other data can be made to share; have the publisher use SHA-256",
            evidence=evidence,
        )
    return Finding(
        check="intake.checksums",
        outcome=Outcome.PASSED,
        message=f"{len(landed.files)} files, {evidence['bytes']:,} bytes, are what the manifest says",
        evidence=evidence,
    )


def _unlisted(
    expected: Mapping[str, Digest], listing: Listing | None, own: frozenset[str]
) -> tuple[list[str], list[str]]:
    """Files that the manifest does not list: those that it should, and other signatures over it."""
    if listing is None:
        return [], []
    unlisted = sorted(path for path in listing.files if path not in expected and path not in own)
    beside = [p for p in unlisted if any(p == name + end for name in own for end in _BESIDE)]
    return [path for path in unlisted if path not in beside], beside


def _few(paths: list[str], why: Mapping[str, str] | None = None) -> str:
    shown = [f"{path}: {why[path]}" if why and path in why else path for path in paths[:3]]
    return ", ".join(shown) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
