"""One delivery, verified: who sent it, is it whole, is it fresh.

The order is part of the promise. Manifest and signature are fetched first; the signature is checked over their exact
bytes; only then is the manifest parsed; only what it lists is fetched; and nothing of that is parsed here but
`delivery.json`, after its digest has passed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from assay.contract import Contract, Key, Source
from assay.db import Database, open_database
from assay.errors import AssayError
from assay.findings import Finding, Outcome, Severity, worst
from assay.intake._collector import seldom_collecting
from assay.intake.claims import MAX_NOTE, NOTE, read_claims
from assay.intake.completeness import choose, judge_checksums, judge_completeness
from assay.intake.delivery import VerifiedDelivery, load_delivery
from assay.intake.errors import (
    ClaimsError,
    IntakeError,
    KeysMissing,
    ManifestError,
    NotThere,
    SignatureRefused,
    SourceRefused,
    ToolMissing,
)
from assay.intake.freshness import SUPPLY_CHAIN, admitted_before, judge_freshness, judge_identity
from assay.intake.landing import Progress, land
from assay.intake.manifests import Entry, Manifest, read_manifest, visible
from assay.intake.registration import Seen, result_of, seal, write
from assay.intake.resolve import fits, likely_source, manifest_limit, resolve_source
from assay.intake.signing import fetch_signatures, judge_signatures
from assay.intake.sources import Deadline, Place, Transfer, open_place, read_small
from assay.settings import Settings
from assay.store import ObjectStore, open_store


def verify_delivery(
    location: str,
    contract: Contract,
    source_id: str | None = None,
    *,
    database: Database | None = None,
    store: ObjectStore | None = None,
    on: dt.date | None = None,
    transfer: Transfer | None = None,
    progress: Progress | None = None,
) -> VerifiedDelivery:
    """Fetch a delivery, check signature, manifest, identity, freshness, checksums and completeness, and register it.

    What was found is an answer, not an exception: a tampered delivery comes back with outcome `failed` and verdict
    `reject`. Running it again changes nothing, and neither does being killed at any point and run again.

    Args:
        location: The delivery's folder: a path, or a `file://`, `http(s)://`, `s3://`, `sftp://` or `sql://` URI.
        contract: Whose sources, keys, freshness and bounds count.
        source_id: Which source it came from; found out where that is possible.
        database: The registry; that of the environment if not given.
        store: Where the bytes go; that of the environment if not given.
        on: The day to judge keys and dates on; today if not given.
        transfer: How patient to be with a network.
        progress: Told about each chunk that arrives.

    Raises:
        LocationError: Nothing is at `location`, or it could come from several sources.
        NotThere: There is no manifest: it is no delivery, or not yet one.
        SourceRefused: The source will not give its manifest.
        SourceUnreachable: The source does not answer, or broke off.
        LandingFailed: A local file cannot be read.
        StoreFull, StoreReadOnly, StoreUnavailable, DatabaseBusy, DatabaseUnreachable: Our own side failed.
    """
    settings = Settings.from_env()
    now = dt.datetime.now(dt.UTC)
    if on is not None and on != now.date():
        now = dt.datetime.combine(on, dt.time(23, 59, 59), dt.UTC)
    place = open_place(
        location,
        Deadline(contract.bounds.timeout.total_seconds()),
        transfer,
        source=likely_source(location, contract, source_id),
        bounds=contract.bounds,
        work=settings.work_dir,
    )
    opened: Database | None = None
    try:
        source = resolve_source(location, contract, source_id, place, now.date())
        if database is None:
            database = opened = open_database(settings)
        run = _Verification(contract, source, place, database, store or open_store(settings), now, progress)
        with seldom_collecting():
            return run.answer()
    finally:
        place.close()
        if opened is not None:
            opened.dispose()


class _Verification:
    """The state of one verification; each step adds its findings."""

    def __init__(
        self,
        contract: Contract,
        source: Source | None,
        place: Place,
        database: Database,
        store: ObjectStore,
        now: dt.datetime,
        progress: Progress | None,
    ) -> None:
        self.contract = contract
        self.place = place
        self.database = database
        self.store = store
        self.now = now
        self.progress = progress
        self.seen = Seen(contract, source or _unnamed_source(place.shown), place.shown)
        if source is None:
            self._add(
                "intake.source",
                Outcome.NOT_CHECKED,
                f"the contract of {contract.dataset!r} names no source: who may deliver, and who signs, is not known; "
                "add `publishers` with keys and `sources` with uri, manifest and signature",
                Severity.HIGH,
            )

    def answer(self) -> VerifiedDelivery:
        """Run the steps in their order; the first that fails ends it."""
        self.seen.manifest = self._fetch_manifest()
        self._check_signature()
        manifest = None if self.seen.failed or self._wrapped() else self._parse()
        if manifest is None:
            return self._register(
                (
                    "intake.freshness.replay",
                    "intake.freshness.rollback",
                    "intake.checksums",
                    "intake.completeness",
                ),
                False,
            )
        note = self._read_note(manifest.entries)
        if note is not None or NOTE not in manifest.entries:
            self._read_claims(note, manifest)
        with self.database.session() as session:
            fresh = self._freshness(session)
            unchanged = self._unchanged(session, fresh)
        if unchanged is not None:
            return unchanged
        if self.seen.failed or worst(f.outcome for f in fresh) is Outcome.FAILED:
            return self._register(("intake.checksums", "intake.completeness"), True)
        self._land(
            manifest, note, worst(f.outcome for f in (*self.seen.findings, *fresh)) is not Outcome.PASSED
        )
        return self._register((), True)

    # ------------------------------------------------------------------------------------------------------ the steps
    def _fetch_manifest(self) -> bytes:
        name = self.seen.source.manifest
        try:
            return read_small(self.place, name, manifest_limit(self.contract.bounds.max_files))
        except NotThere as error:
            raise NotThere(
                f"there is no delivery at {self.place.shown}: it has no manifest",
                expected=f"the file {name}, which lists the delivery's files with their SHA-256",
                found=self._what_is_there(error),
                state="nothing was registered",
                next_step="check the address; a publisher makes the manifest with `sha256sum -- FILES > "
                f"{name}`; if it has another name, say so in the source's `manifest`",
            ) from error

    def _what_is_there(self, error: NotThere) -> str | None:
        try:
            listing = self.place.listing(self.contract.bounds.max_files)
        except IntakeError:
            listing = None
        if listing is None:
            return error.found
        names = sorted(listing.files)[:5]
        return f"other files: {', '.join(names)}" if names else "an empty folder"

    def _check_signature(self) -> None:
        check, source = "intake.signature", self.seen.source
        if not source.signature_files and self.place.vouched is not None:
            self._add(check, Outcome.PASSED, self.place.vouched)
            return
        if not source.signature_files and source.when_unsigned == "accept" and self.place.made:
            self._add(
                check,
                Outcome.PASSED,
                "nobody signed what the source answered; the contract takes its word (when_unsigned is accept)",
                Severity.LOW,
            )
            return
        if not source.signature_files:
            self._add(
                check,
                Outcome.NOT_CHECKED,
                f"the source {source.id!r} names no signature, so that nobody vouches for the manifest; "
                "add `signature` to the source and a key to its publisher",
                Severity.HIGH,
            )
            return
        publisher = self.contract.publisher(source.publisher)
        fetched = fetch_signatures(self.place, source, self.seen.manifest)
        self.seen.signatures, self.seen.certificate = fetched.fetched, fetched.certificate
        try:
            signed = judge_signatures(self.seen.manifest, fetched, source, publisher, self.now.date())
        except (KeysMissing, ToolMissing) as error:
            self._add(check, Outcome.NOT_CHECKED, f"{error.message}; {error.next_step}", Severity.HIGH)
        except SourceRefused as error:
            self._fail(check, _said(error))
        except SignatureRefused as error:
            self._fail(
                check,
                _said(error),
                {"reason": error.reason, "expected": error.expected, "found": error.found},
            )
        else:
            self.seen.signed = signed
            self.seen.manifest = signed.payload  # what was signed is the manifest, whatever it was carried in
            evidence: dict[str, Any] = {"key": signed.key_id}
            if len(signed.key_ids) > 1:
                evidence["keys"] = list(signed.key_ids)
            if signed.trusted_comment is not None:
                evidence["trusted_comment"] = visible(signed.trusted_comment[:200])
            names = " and ".join(signed.key_ids)
            self._add(check, Outcome.PASSED, f"signed by {publisher.id} with {names}", evidence=evidence)

    def _wrapped(self) -> bool:
        """Whether the manifest is inside a signature that nobody could check: then there is nothing to parse."""
        return self.seen.signed is None and self.seen.source.manifest in self.seen.source.signature_files

    def _parse(self) -> Manifest | None:
        source, name = self.seen.source, self.seen.source.manifest
        try:
            manifest = read_manifest(
                self.seen.manifest,
                name,
                max_files=self.contract.bounds.max_files,
                format=source.manifest_format,
                algorithm=source.manifest_algorithm,
                read=lambda path, limit: read_small(self.place, path, limit),
            )
        except ManifestError as error:
            self._fail("intake.manifest", _said(error), {"line": error.line, "found": error.found})
            return None
        except SourceRefused as error:  # a part of the manifest that it leads to itself
            self._fail("intake.manifest", _said(error))
            return None
        listed = len(manifest.entries)
        evidence = {"files": listed, "algorithms": manifest.algorithms, "format": manifest.format}
        self._add("intake.manifest", Outcome.PASSED, f"{name} lists {listed} files", evidence=evidence)
        return manifest

    def _read_note(self, expected: dict[str, Entry]) -> bytes | None:
        """The bytes of `delivery.json`, if it is vouched for; what else is wrong with it shows when it is landed."""
        if self.seen.signed is None or NOTE not in expected:
            return None
        try:
            note = read_small(self.place, NOTE, MAX_NOTE)
        except SourceRefused:
            return None
        return note if fits(note, expected[NOTE]) else None

    def _read_claims(self, note: bytes | None, manifest: Manifest) -> None:
        if (signed := self.seen.signed) is None:
            return
        try:
            said = read_claims(signed.trusted_comment, note)
            self.seen.claims = replace(
                said,
                created=said.created or manifest.created,
                signed=said.signed or signed.vouched_at or signed.claimed_at,
                valid_until=manifest.valid_until,
            )
        except ClaimsError as error:
            self._fail("intake.identity", _said(error))
            return
        identity = judge_identity(self.seen.claims, self.contract, self.seen.source)
        if identity is not None:
            self.seen.findings.append(identity)

    def _freshness(self, session: Session) -> list[Finding]:
        return judge_freshness(
            session,
            self.seen.claims,
            self.seen.manifest_sha256,
            self.contract,
            self.seen.source,
            key_ids={key.id for key in self._keys() if key.revoked is None or self.now.date() < key.revoked},
            now=self.now,
        )

    def _unchanged(self, session: Session, fresh: Sequence[Finding]) -> VerifiedDelivery | None:
        """Nothing to do: the newest admitted delivery still lies there, and the contract says that this is normal."""
        if self.seen.source.on_repeat != "skip":
            return None
        before = admitted_before(session, self.seen.manifest_sha256, self.contract, self.seen.source)
        others = [f for f in (*self.seen.findings, *fresh) if f.check != "intake.freshness.replay"]
        if before is None or Outcome.FAILED in {f.outcome for f in others}:
            return None
        same = Finding(
            check="intake.freshness.replay",
            outcome=Outcome.PASSED,
            message=f"unchanged since {before.first_seen}: nothing to do (on_repeat is skip)",
            evidence={"delivery": before.id},
        )
        findings = (*self.seen.findings, same, *(f for f in fresh if f.check != "intake.freshness.replay"))
        return load_delivery(self.database, before.id).model_copy(
            update={"findings": findings, "outcome": worst(f.outcome for f in findings), "verdict": None}
        )

    def _land(self, manifest: Manifest, note: bytes | None, sealed: bool) -> None:
        own = self.seen.source.own_files
        try:
            # Unlisted files fail the delivery however many they are: the limit only bounds what is remembered of them.
            listing = self.place.listing(2 * self.contract.bounds.max_files + 64)
        except SourceRefused as error:
            self._add(
                "intake.checksums", Outcome.NOT_CHECKED, "not looked at, because the folder holds too much"
            )
            self._fail("intake.completeness", _said(error))
            return
        wanted = choose(manifest, self.seen.source.files, listing, own)
        proved = wanted.open is None and all(entry.proved for entry in wanted.entries.values())
        self.seen.landed = land(
            self.place,
            wanted.entries,
            self.store,
            self.contract.bounds,
            sealed=sealed or not proved,
            prefetched=None if note is None else {NOTE: note},
            progress=self.progress,
            sizes=None if listing is None else listing.files,
        )
        self.seen.findings.append(judge_checksums(self.seen.landed))
        self.seen.findings.append(judge_completeness(self.seen.landed, wanted, listing))

    def _register(self, not_reached: Sequence[str], with_freshness: bool) -> VerifiedDelivery:
        """Keep manifest and signature, then write everything in one transaction."""
        known_bad = self.seen.failed
        for data in filter(None, (self.seen.manifest, *self.seen.signatures.values(), self.seen.certificate)):
            self.store.put_bytes(data, sealed=known_bad)
        if known_bad:
            seal(self.seen, self.database, self.store)
        with self.database.write() as session:
            # Another delivery of the same source may have been registered while this one was landing.
            fresh = self._freshness(session) if with_freshness else []
            result = result_of(self.seen, fresh, not_reached)
            write(session, self.seen, result, fresh)
        if result.outcome is Outcome.FAILED and not known_bad:
            seal(self.seen, self.database, self.store)
        return result

    def _keys(self) -> Sequence[Key]:
        known = {publisher.id: publisher.keys for publisher in self.contract.publishers}
        return known.get(self.seen.source.publisher, ())

    def _add(
        self,
        check: str,
        outcome: Outcome,
        message: str,
        severity: Severity = Severity.INFO,
        evidence: dict[str, Any] | None = None,
    ) -> None:
        self.seen.findings.append(
            Finding(check=check, outcome=outcome, severity=severity, message=message, evidence=evidence or {})
        )

    def _fail(self, check: str, message: str, evidence: dict[str, Any] | None = None) -> None:
        facts = {key: value for key, value in (evidence or {}).items() if value is not None}
        self.seen.findings.append(
            Finding(
                check=check,
                outcome=Outcome.FAILED,
                severity=Severity.CRITICAL,
                message=message,
                evidence=facts,
                technique=SUPPLY_CHAIN,
            )
        )


def _unnamed_source(uri: str) -> Source:
    """What stands in where a contract names none; not validated, for plain http without a signature would not pass."""
    return Source.model_construct(id="unnamed", publisher="unknown", uri=uri)


def _said(error: AssayError) -> str:
    """An error in one line."""
    facts = [
        f"{name} {value}" for name, value in (("expected", error.expected), ("found", error.found)) if value
    ]
    return "; ".join(filter(None, (error.message, *facts, error.next_step)))
