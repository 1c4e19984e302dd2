"""What happens to bytes on their way: a strategy of small damages, and how they are done."""

from __future__ import annotations

from hypothesis import strategies as st

TOKENS = (
    *(
        b"",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xef\xbb\xbf",
        b"=",
        b"-",
        b"..",
        b"{",
        b"}",
        b'"',
        b"[]",
        b"null",
        b"NaN",
        b"1e999",
    ),
    *(
        b"untrusted comment: ",
        b"trusted comment: sequence:9\n",
        b"RWQ",
        b"RUQ",
        b"-----BEGIN SSH SIGNATURE-----\n",
    ),
    *(
        b"-----BEGIN PGP SIGNATURE-----\n",
        b"-----BEGIN PGP SIGNED MESSAGE-----\n",
        b"-----END PGP SIGNATURE-----\n",
    ),
    *(
        b"-----BEGIN CMS-----\n",
        b"-----END CMS-----\n",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x06\x09",
    ),
    *(b"\xc2\xff\xff\xff\xff\xff", b"\x88\x00", b"\x00\x00\x00\x06sha512", b"\xff\xff\xff\xff", b"SSHSIG"),
    *(
        b'"payload":"",',
        b'"signatures":[],',
        b'"mediaType":"application/vnd.dev.sigstore.bundle",',
        b'"alg":"none"',
    ),
)

_OPERATIONS = ("flip", "delete", "insert", "repeat", "cut", "replace", "swap")

Mutation = tuple[str, float, bytes]

mutations = st.lists(
    st.tuples(
        st.sampled_from(_OPERATIONS),
        st.floats(0, 1, allow_nan=False),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=12)),
    ),
    min_size=1,
    max_size=5,
)
"""A few damages, each as (what, where from 0 to 1, with what)."""


def mutated(data: bytes, changes: list[Mutation]) -> bytes:
    """The bytes after all of these."""
    for what, where, more in changes:
        at = int(where * len(data))
        span = max(1, len(more))
        if what == "flip":
            bit = 1 << (len(more) % 8)
            data = data[:at] + bytes(byte ^ bit for byte in data[at : at + 1]) + data[at + 1 :]
        elif what == "delete":
            data = data[:at] + data[at + span :]
        elif what == "insert":
            data = data[:at] + more + data[at:]
        elif what == "repeat":
            data = data[: at + span] + data[at:]
        elif what == "cut":
            data = data[:at]
        elif what == "replace":
            data = data[:at] + more + data[at + span :]
        else:
            data = data[at:] + data[:at]
    return data
