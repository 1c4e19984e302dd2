"""Is everything there that the manifest lists, everything listed that is there, and all of it what was meant?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from assay.findings import Finding, Outcome, Severity
from assay.intake.claims import NOTE
from assay.intake.freshness import SUPPLY_CHAIN
from assay.intake.landing import Landed, LandedFile
from assay.intake.manifests import Entry, Manifest
from assay.intake.sources import Listing

EXAMPLES = 20
"""How many files a finding names at most."""

_BESIDE = (".minisig", ".sig", ".asc", ".gpg", ".sign", ".ed25519", ".p7s", ".sigstore", ".sigstore.json")


@dataclass(frozen=True)
class Wanted:
    """What of a manifest makes up the delivery.

    Attributes:
        entries: The files to fetch, in the manifest's order.
        listed: Every path that the manifest lists, wanted or not.
        own: Files that no manifest lists: itself, its signature, and others of its format.
        open: Why nobody can say whether these are all that was meant; None where they are.
        absent: Patterns of the source that no listed file matches.
        total: Bytes and number of the files below `counted` together, where the manifest says that.
        counted: Prefix of the paths that `total` is about.
    """

    entries: dict[str, Entry]
    listed: frozenset[str]
    own: frozenset[str]
    open: str | None = None
    absent: tuple[str, ...] = ()
    total: tuple[int, int] | None = None
    counted: str = ""


def choose(
    manifest: Manifest, patterns: Sequence[str], listing: Listing | None, own: frozenset[str]
) -> Wanted:
    """Find the files that a delivery consists of.

    Args:
        manifest: What is listed.
        patterns: The source's `files`: shell patterns of those that are wanted; none: all.
        listing: What lies in a local delivery; None for a server.
        own: Names of the manifest and its signatures.
    """
    entries = dict(manifest.entries)
    reason: str | None = None
    absent: tuple[str, ...] = ()
    if listing is None and manifest.patterns:
        reason = (
            f"{manifest.patterns[0].name!r} names files by pattern, and a server cannot be asked what it has"
        )
    elif listing is not None:
        for path in sorted(listing.files):
            by = next((each for each in manifest.patterns if path in each), None)
            if by is not None and path not in entries and path not in own:
                entries[path] = Entry(unchecked=f"{by.name!r} names it by pattern, without a digest")
    listed = frozenset(entries)
    if patterns:
        entries = {
            path: entry
            for path, entry in entries.items()
            if path == NOTE or any(fnmatchcase(path, each) for each in patterns)
        }
        absent = tuple(each for each in patterns if not any(fnmatchcase(path, each) for path in entries))
    elif manifest.archive:
        there = {path: entry for path, entry in entries.items() if listing is None or path in listing.files}
        reason = (
            f"the manifest lists the {len(entries)} files of an archive, and the contract's source does not say in "
            "`files` which of them make up a delivery"
        )
        entries = there if listing is not None else {}
    return Wanted(
        entries,
        listed,
        own | manifest.own,
        reason,
        absent,
        None if patterns else manifest.total,
        manifest.counted,
    )


def judge_completeness(landed: Landed, wanted: Wanted, listing: Listing | None) -> Finding:
    """Is everything there that is listed, and everything listed that is there?

    Args:
        landed: What came.
        wanted: What the manifest lists.
        listing: What lies in a local delivery; None for a server, of which only listed files are ever asked.
    """
    extra, beside = _unlisted(wanted, listing)
    refused = dict(landed.refused)
    if listing is not None:
        refused |= {path: f"it is {what}" for path, what in listing.refused.items()}
    evidence: dict[str, Any] = {"listed": len(wanted.entries), "there": len(landed.files)}
    problems = []
    for name, paths, text in (
        ("missing", landed.missing, "listed but not there"),
        ("absent", list(wanted.absent), "in the contract's `files` and not listed"),
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
    if wanted.total is not None and not problems:
        files = [file.size for file in landed.files if file.path.startswith(wanted.counted)]
        if (sum(files), len(files)) != wanted.total:
            evidence["total"] = {"expected": list(wanted.total), "found": [sum(files), len(files)]}
            problems.append(
                f"{len(files)} files with {sum(files)} bytes, where the manifest says {wanted.total[1]} files with "
                f"{wanted.total[0]} bytes"
            )
    if problems:
        return Finding(
            check="intake.completeness",
            outcome=Outcome.FAILED,
            severity=Severity.CRITICAL,
            message="; ".join(problems) + "; have the publisher deliver again",
            evidence=evidence,
            technique=SUPPLY_CHAIN,
        )
    if wanted.open is not None:
        return Finding(
            check="intake.completeness",
            outcome=Outcome.NOT_CHECKED,
            severity=Severity.HIGH,
            message=f"{len(landed.files)} listed files came; whether these are all is open: {wanted.open}",
            evidence=evidence,
        )
    how = "nothing else lies there" if listing is not None else "only listed files were asked for"
    return Finding(
        check="intake.completeness",
        outcome=Outcome.PASSED,
        message=f"all {len(wanted.entries)} listed files are there; {how}",
        evidence=evidence,
    )


def judge_checksums(landed: Landed) -> Finding:
    """Are the files that came what the manifest says, and is its word good?"""
    evidence: dict[str, Any] = {"files": len(landed.files), "bytes": sum(file.size for file in landed.files)}
    if wrong := landed.wrong:
        evidence["wrong"] = len(wrong)
        evidence["wrong_files"] = [_difference(file) for file in wrong[:EXAMPLES]]
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
    if unproved := [file for file in landed.files if not file.expected.proved]:
        return _unproved(unproved, len(landed.files), evidence)
    return Finding(
        check="intake.checksums",
        outcome=Outcome.PASSED,
        message=f"{len(landed.files)} files, {evidence['bytes']:,} bytes, are what the manifest says",
        evidence=evidence,
    )


def _difference(file: LandedFile) -> dict[str, Any]:
    """What is wrong with a file, for evidence."""
    facts: dict[str, Any] = {"path": file.path, "sha256": file.sha256}
    for digest in file.differs[:1]:
        facts |= {"algorithm": digest.algorithm, "expected": digest.hex}
    if file.expected.size not in {None, file.size}:
        facts |= {"size": file.size, "expected_size": file.expected.size}
    return facts


def _unproved(files: Sequence[LandedFile], of: int, evidence: dict[str, Any]) -> Finding:
    """Files that came and of which the manifest says nothing that proves them."""
    weak = [file for file in files if file.expected.digests]
    names = sorted({digest.algorithm for file in weak for digest in file.expected.digests})
    reasons = sorted({file.expected.unchecked for file in files if file.expected.unchecked})
    parts = []
    if weak:
        evidence["weak"] = len(weak)
        parts.append(
            f"weak: {len(weak)} of {of} files have only {' and '.join(names)} digests, which other data can be made "
            "to share"
        )
    if rest := len(files) - len(weak):
        evidence["without_digest"] = rest
        evidence["without_digest_files"] = [f.path for f in files if not f.expected.digests][:EXAMPLES]
        said = "; ".join(reasons[:3]) or "the manifest gives none"
        parts.append(
            said if said.startswith("weak: ") else f"{rest} of {of} files have no digest to compare: {said}"
        )
    return Finding(
        check="intake.checksums",
        outcome=Outcome.NOT_CHECKED,
        severity=Severity.HIGH,
        message=f"{'; '.join(parts)}; have the publisher use SHA-256",
        evidence=evidence,
    )


def _unlisted(wanted: Wanted, listing: Listing | None) -> tuple[list[str], list[str]]:
    """Files that the manifest does not list: those that it should, and other signatures over it."""
    if listing is None:
        return [], []
    own = wanted.own
    unlisted = sorted(path for path in listing.files if path not in wanted.listed and path not in own)
    beside = [p for p in unlisted if any(p == name + end for name in own for end in _BESIDE)]
    return [path for path in unlisted if path not in beside], beside


def _few(paths: list[str], why: Mapping[str, str] | None = None) -> str:
    shown = [f"{path}: {why[path]}" if why and path in why else path for path in paths[:3]]
    return ", ".join(shown) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
