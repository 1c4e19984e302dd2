"""OpenSSH signatures (`ssh-keygen -Y sign`; PROTOCOL.sshsig), checked by ssh-keygen itself.

The file of allowed signers is made for the one call and names one principal, one namespace and one key. The time in
which the key counts is judged by its contract, day by day, as for all formats.
"""

from __future__ import annotations

from assay.contract import Key
from assay.intake.signatures.common import (
    Case,
    Made,
    bad_format,
    other_identity,
    shown,
    strict_base64,
    unknown_key,
    weak,
    wrong_bytes,
)
from assay.intake.signatures.tool import bench

START, END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG\x00\x00\x00\x01"
_HASHES = frozenset({b"sha256", b"sha512"})


def verify_openssh(case: Case) -> list[Made]:
    """Check a signature with each key that the file says it is by."""
    blob, namespace, digest = _read(case.signature)
    named = [key for key in case.keys("openssh") if _blob(key) == blob]
    if not named:
        raise unknown_key(case.publisher, f"a key of {len(blob)} bytes")
    if digest not in _HASHES:
        raise weak(
            "the signature is over a digest that is not accepted", "sha256 or sha512", ascii(digest)[2:40]
        )
    fitting = [key for key in named if (key.namespace or "").encode() == namespace]
    if not fitting:
        raise other_identity(
            "the signature is made for another namespace", named[0].namespace, ascii(namespace)[2:-1][:100]
        )
    for key in fitting:
        if _holds(case, key):
            return [Made(key, case.manifest, key.raw)]
    raise wrong_bytes(fitting)


def _holds(case: Case, key: Key) -> bool:
    identity, namespace = key.identity or "", key.namespace or ""
    kind, text = key.public_key.split(None, 2)[:2]
    allowed = f'{identity} namespaces="{namespace}" {kind} {text}\n'
    with bench("ssh-keygen") as ssh_keygen:
        answer = ssh_keygen.run(
            *("-Y", "verify", "-n", namespace, "-I", identity),
            *("-f", ssh_keygen.put("allowed_signers", allowed.encode())),
            *("-s", ssh_keygen.put("signature", case.signature)),
            stdin=case.manifest,
        )
    return answer.status == 0 and answer.out.startswith(f'Good "{namespace}" signature for {identity} with ')


def _blob(key: Key) -> bytes | None:
    return strict_base64(key.public_key.split(None, 2)[1].encode())


def _read(signature: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, namespace and digest that the file names: for a clear answer, and to choose the contract's key."""
    lines = signature.strip().splitlines()
    blob = strict_base64(b"".join(lines[1:-1])) if len(lines) > 2 else None
    if (
        signature[:1] != b"-"
        or lines[0] != START
        or lines[-1] != END
        or not blob
        or not blob.startswith(_MAGIC)
    ):
        raise bad_format(
            "the signature file is not a whole OpenSSH signature",
            expected="what `ssh-keygen -Y sign` writes, from BEGIN SSH SIGNATURE to its END, and nothing else",
            found=shown(signature),
        )
    fields, at = [], len(_MAGIC)
    for _ in range(5):  # key, namespace, reserved, digest, signature
        length = int.from_bytes(blob[at : at + 4], "big")
        fields.append(blob[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(blob):
        raise bad_format(
            "the OpenSSH signature is damaged", expected="five fields", found=f"{len(blob)} bytes"
        )
    return fields[0], fields[1], fields[3]
