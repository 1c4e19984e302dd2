"""Signatures over manifests, of every format that publishers sign with, behind one face.

Only keys that the contract pins to the publisher count, in their validity window and before their revocation; the key's
format says which kind of signature it may make, and the key's type how it is checked. Cryptography is done by libraries
and by the formats' own programs. What comes back as `SignedBy.payload` was signed, and nothing else was.
"""

from assay.intake.signatures.common import MAX_SIGNATURE, SignedBy
from assay.intake.signatures.judge import verify_signature, verify_signatures

__all__ = ["MAX_SIGNATURE", "SignedBy", "verify_signature", "verify_signatures"]
