"""CMS / PKCS #7 signatures (RFC 5652), detached, checked by openssl.

The content is given, never taken from the file; what openssl gives out must be the manifest to the byte. Signers'
certificates lead up to what the contract pins, and are then looked at like those of plain signatures.
"""

from __future__ import annotations

import re

from asn1crypto import cms, pem

from assay.contract import Key
from assay.contract.keyforms import BadKey, key_bytes, load_certificates
from assay.intake.errors import SignatureRefused
from assay.intake.signatures.certificates import (
    PINNED,
    anchors_of,
    as_pem,
    chain_refused,
    check_leaf,
    readable,
)
from assay.intake.signatures.common import Case, Made, bad_format, shown, weak, wrong_bytes
from assay.intake.signatures.tool import bench

STARTS = (b"-----BEGIN CMS-----", b"-----BEGIN PKCS7-----")
_DIGESTS = frozenset({"sha256", "sha384", "sha512"})
_MAX_SIGNERS = 8
_WHOLE = re.compile(rb"-----BEGIN (CMS|PKCS7)-----\r?\n[A-Za-z0-9+/=\r\n]+-----END \1-----\s*")


def verify_cms(case: Case) -> list[Made]:
    """Check the signature with each key that the contract pins for this format."""
    data = _read(case.signature)
    refused: list[SignatureRefused] = []
    made: list[Made] = []
    for key in case.keys("cms"):
        try:
            made += _under(case, key, data)
        except SignatureRefused as refusal:
            refused.append(refusal)
    if not made:
        raise refused[0]
    return made


def _under(case: Case, key: Key, data: bytes) -> list[Made]:
    anchors, helpers = anchors_of(key)
    with bench("openssl") as openssl:
        emitted, signers = openssl.folder / "emitted", openssl.folder / "signers.pem"
        answer = openssl.run(
            *("cms", "-verify", "-binary", "-inform", "DER", "-in", openssl.put("signature.der", data)),
            *(
                "-content",
                openssl.put("manifest", case.manifest),
                "-out",
                str(emitted),
                "-signer",
                str(signers),
            ),
            *("-CAfile", openssl.put("anchors.pem", as_pem(anchors))),
            *(("-certfile", openssl.put("helpers.pem", as_pem(helpers))) if helpers else ()),
            *PINNED,
            *("-attime", str(int(case.moment.timestamp()))),
        )
        whole = emitted.is_file() and emitted.read_bytes() == case.manifest
        names = signers.read_text("ascii", "replace") if signers.is_file() else ""
    if answer.status != 0:
        raise _why(case, key, data, answer.err)
    if not whole:
        raise wrong_bytes([key])
    try:
        leaves = load_certificates(names)
    except BadKey as error:
        raise bad_format("openssl names no signer", expected="one", found=str(error)[:200]) from error
    refused: list[SignatureRefused] = []
    made: list[Made] = []
    for leaf in leaves:  # openssl has checked all of them; the contract says whose name counts
        try:
            with readable():
                check_leaf(case, key, leaf)
        except SignatureRefused as refusal:
            refused.append(refusal)
        else:
            made.append(Made(key, case.manifest, key_bytes(leaf.public_key())))
    if not made:
        raise refused[0]
    return made


def _why(case: Case, key: Key, data: bytes, said: str) -> SignatureRefused:
    if "certificate verify error" not in said:
        return wrong_bytes([key])
    brought = cms.ContentInfo.load(data)["content"]["certificates"]
    for each in brought if brought else ():
        try:
            leaf = load_certificates(pem.armor("CERTIFICATE", each.dump()).decode("ascii"))[0]
            with readable():
                check_leaf(case, key, leaf)
        except BadKey:
            continue
        except SignatureRefused as refusal:
            if refusal.reason in {"expired", "not_yet_valid"}:
                return refusal
            continue
        return chain_refused(case, key, leaf, said)
    return SignatureRefused(
        "the signer's certificate does not lead up to what the contract pins",
        reason="unknown_key",
        expected=f"a certificate under {key.id}",
        next_step="if the publisher has a new certificate, compare it with them, then `assay trust add` it",
    )


def _read(signature: bytes) -> bytes:
    """The signature in DER, after a look at its outer form: detached, and no weak digest."""
    try:
        data = signature
        if signature.startswith(STARTS):
            if not _WHOLE.fullmatch(signature):
                raise ValueError("more than one PEM block")
            data = pem.unarmor(signature)[2]
        info = cms.ContentInfo.load(data, strict=True)
        if info["content_type"].native != "signed_data":
            raise ValueError(f"content of the type {info['content_type'].native}")
        content = info["content"]["encap_content_info"]["content"].native
        signers = list(info["content"]["signer_infos"])
        digests = {signer["digest_algorithm"]["algorithm"].native for signer in signers}
        for signer in signers:
            signer["signature"].native  # noqa: B018 - parses what is parsed when it is asked for
        brought = info["content"]["certificates"]
        many = len(brought) if brought else 0
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise bad_format(
            "the signature file is not a whole CMS signature",
            expected="what `openssl cms -sign -binary` writes, as DER or PEM",
            found=f"{shown(signature)}: {str(error)[:100]}",
        ) from error
    if content is not None:
        raise bad_format(
            "the CMS signature carries a content of its own",
            expected="a detached one, over the manifest",
            next_step="have the publisher sign without `-nodetach`",
        )
    if not 0 < len(signers) <= _MAX_SIGNERS or many > 4 * _MAX_SIGNERS:
        raise bad_format(
            "the CMS signature has too many or no signers", expected="1 to 8", found=len(signers)
        )
    if not digests <= _DIGESTS:
        raise weak(
            "the CMS signature uses a weak digest", ", ".join(sorted(_DIGESTS)), ", ".join(map(str, digests))
        )
    return data
