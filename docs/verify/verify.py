#!/usr/bin/env python3
"""Check a proof that `assay ledger prove` wrote, with nothing of Assay's: Python 3.9+ and `cryptography`.

    python verify.py PROOF.json ledger.pub.pem [--witness VKEY ...]

The public key must come from the ledger's owner by another way than the proof; where it was rotated, any of them will
do. Exit code 0: everything stands up; 1: it does not; 2: wrong call. The format is in docs/ledger-format.md.
"""

import base64
import hashlib
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as keyfile
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PREDICATES = "https://assay.dev/predicates/"
SCALARS = {"null": 0, "boolean": 1, "integer": 2, "unsigned": 3, "double": 4, "time": 5, "nanoseconds": 6}


class Refused(Exception):
    """The proof does not prove what it says."""


def need(condition, message):
    if not condition:
        raise Refused(message)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(value):
    form = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    return json.dumps(value, **form).encode()


def b64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 is not canonical")
    return data


def raw(key):
    return key.public_bytes(keyfile.Encoding.Raw, keyfile.PublicFormat.Raw)


# ---------------------------------------------------------------------------- Merkle trees (RFC 9162, 2.1.3.2)
def included(leaf, index, size, path, root):
    need(0 <= index < size and len(path) <= 64 and all(len(node) == 32 for node in path), "malformed path")
    position, last, node = index, size - 1, leaf
    for sibling in path:
        need(last > 0, "a path is too long")
        if position & 1 or position == last:
            node = sha256(b"\x01", sibling, node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            node = sha256(b"\x01", node, sibling)
        position, last = position >> 1, last >> 1
    need(last == 0, "a path is too short")
    need(node == root, "a path does not lead to the root")


# ------------------------------------------------- keys, and signed checkpoints (C2SP signed-note, tlog-cosignature)
def origin_of(key):
    return "assay.local/" + sha256(raw(key)).hex()[:16]


def key_id(name, kind, key):
    return sha256(name.encode(), b"\n", kind, raw(key))[:4]


def keys_of(entries, trusted):
    """The log's keys, each with the first entry that it signs, as the rotations among the entries hand them on."""
    keys = []
    for index, _, statement, *_ in sorted(entries, key=lambda entry: entry[0]):
        if statement["predicateType"] == PREDICATES + "key-rotated/v1":
            facts = statement["predicate"]
            old, new = (keyfile.load_der_public_key(b64(facts[name])) for name in ("previous", "new"))
            keys = keys or [(0, old)]
            need(raw(keys[-1][1]) == raw(old), "a rotation does not follow the one before it")
            need(facts["log"]["size"] == index, "a rotation was made for another place")
            need(facts["log"]["origin"] == origin_of(keys[0][1]), "a rotation was made for another log")
            new.verify(b64(facts["acceptance"]), canonical({n: facts[n] for n in ("previous", "new", "log")}))
            keys.append((index + 1, new))
    keys = keys or [(0, trusted)]
    need(raw(trusted) in [raw(key) for _, key in keys], "the public key is none of the ledger's")
    return keys


def key_at(keys, index):
    return [key for since, key in keys if since <= index][-1]


def checkpoint(note, keys, witnesses):
    """Origin, size and root of a signed checkpoint, and the witnesses that cosigned it, with their times."""
    text, gap, signatures = note.rpartition("\n\n")
    text += "\n"
    lines = text.split("\n")
    need(gap and len(lines) == 4 and signatures.endswith("\n"), "malformed checkpoint")
    origin, size, root = lines[0], int(lines[1]), b64(lines[2])
    need(str(size) == lines[1] and size > 0 and len(root) == 32, "malformed checkpoint")
    need(origin == origin_of(keys[0][1]), "the checkpoint is of another log")
    key, signed, seen = key_at(keys, size - 1), False, {}
    for line in signatures[:-1].split("\n"):
        dash, name, packed = line.split(" ")
        need(dash == "\u2014", "malformed signature line")
        data = base64.b64decode(packed, validate=True)
        if name == origin and data[:4] == key_id(name, b"\x01", key):
            key.verify(data[4:], text.encode())
            signed = True
        for witness, its_key in witnesses:
            if name == witness and data[:4] == key_id(name, b"\x04", its_key):
                seen[name] = int.from_bytes(data[4:12], "big")
                its_key.verify(data[12:], f"cosignature/v1\ntime {seen[name]}\n{text}".encode())
    need(signed, "the checkpoint is not signed by the ledger's key")
    need(all(name in seen for name, _ in witnesses), "a witness did not cosign the checkpoint")
    return origin, size, root, seen


# ---------------------------------------------------------------------------- entries (DSSE, in-toto, C2SP tlog-proof)
def opened(item):
    """Position, leaf, statement, signature, signed bytes, path and checkpoint of an entry; nothing is checked yet."""
    envelope, (head, gap, note) = item["envelope"], item["proof"].partition("\n\n")
    header, line, *path = head.split("\n")
    need(gap and header == "c2sp.org/tlog-proof@v1" and line.startswith("index "), "not a tlog-proof")
    index, kind, payload = int(line[6:]), envelope["payloadType"], b64(envelope["payload"])
    need(line == f"index {index}", "malformed index")
    need(kind == "application/vnd.in-toto+json" and len(envelope["signatures"]) == 1, "no signed statement")
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    statement, signature = json.loads(payload), b64(envelope["signatures"][0]["sig"])
    need(statement["_type"] == "https://in-toto.io/Statement/v1", "not an in-toto statement")
    leaf, path = sha256(b"\x00", canonical(envelope)), [b64(node) for node in path]
    return index, leaf, statement, signature, signed, path, note


# ---------------------------------------------------------------------------------------------------------------- rows
def cell(kind, value):
    """Tag and body of a cell, as a row's hash has them."""
    if kind == "text":
        data = value.encode()
        short = len(data) <= 32
        return bytes([32 + len(data)]) + data.ljust(32, b"\0") if short else b"\x07" + sha256(data)
    if kind == "vector":
        need(type(value) is list, "not a vector")
        return b"\x08" + sha256(*map(component, value))
    tag = bytes([SCALARS[kind]])
    if kind == "null":
        need(value is None, "a null has a value")
        return tag + bytes(8)
    if kind == "double":
        need(type(value) in (int, float) or value in ("nan", "inf", "-inf"), "not a double")
        return tag + (struct.pack("<Q", 0x7FF8 << 48) if value == "nan" else struct.pack("<d", float(value)))
    need(type(value) is (bool if kind == "boolean" else int), f"not a {kind}")
    return tag + struct.pack("<Q" if kind == "unsigned" else "<q", value)


def component(value):
    """A vector's component as a cell: whole numbers of 64 bits by value, all others as doubles."""
    if value is None:
        return cell("null", None)
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if whole and -(2**63) <= value < 2**64:
        return cell("integer" if value < 2**63 else "unsigned", int(value))
    return cell("double", value)


def row_of(row, statements):
    """Check a row's cells against the manifest of a snapshot that a statement admits; returns its delivery."""
    manifest, digest = json.loads(row["manifest"]), sha256(row["manifest"].encode()).hex()
    admitting = [s for s in statements if s["predicateType"] == PREDICATES + "snapshot-admitted/v1"]
    admitted = [(about["name"], about["digest"]["sha256"]) for s in admitting for about in s["subject"]]
    need((row["snapshot"], digest) in admitted, "no statement admits the snapshot with this manifest")
    cells = {name: cell(kind, value) for name, kind, value in row["cells"]}
    names, index = sorted(cells, key=str.encode), row["index"]
    need(
        len(names) == len(row["cells"]) and type(index) is int, "a column stands twice, or a malformed index"
    )
    need(names == sorted(manifest["columns"], key=str.encode), "not the snapshot's columns")
    columns = sha256(b"assay/row/v2\0", canonical(names))
    leaf, path = sha256(b"\x00", columns, *map(cells.get, names)), [b64(node) for node in row["path"]]
    included(leaf, index, manifest["rows"], path, bytes.fromhex(manifest["merkle_root"]))
    for part in manifest["parts"]:
        kept = part["rows"] - sum(last - first for first, last in part["excluded"])
        if index < kept:
            need(row["origin"]["delivery"] == part["delivery_id"], "the row came with another delivery")
            return part["delivery_id"]
        index -= kept
    raise Refused("the row belongs to no part of the snapshot")


def verify(proof, key, witnesses=()):
    """Lines that say what is proved; raises Refused, or another error for what is malformed."""
    need(proof["format"] == "https://assay.dev/proof/v2", "not a proof of this format")
    entries = [opened(item) for item in proof["entries"]]
    need(entries, "a proof has at least one entry")
    keys, note = keys_of(entries, key), entries[0][-1]
    origin, size, root, seen = checkpoint(note, keys, witnesses)
    lines = [f"log {origin}, {size} entries, root {root.hex()}"]
    lines += [f"cosigned by {name} at {time} (seconds since 1970)" for name, time in seen.items()]
    for index, leaf, statement, signature, signed, path, its_note in entries:
        need(its_note == note, "the entries are proved against different checkpoints")
        included(leaf, index, size, path, root)
        key_at(keys, index).verify(signature, signed)
        names = ", ".join(subject["name"] for subject in statement["subject"])
        lines.append(f"entry {index}: {statement['predicateType'].replace(PREDICATES, '')} of {names}")
    if proof.get("row") is not None:
        delivery = row_of(proof["row"], [entry[2] for entry in entries])
        lines.append(f"the row came with {delivery} and stands in {proof['row']['snapshot']}:")
        lines += [f"  {name}: {value!r}" for name, _, value in proof["row"]["cells"]]
    return lines


def main(arguments):
    flags = [i for i, word in enumerate(arguments) if word == "--witness"]
    files = [word for i, word in enumerate(arguments) if i not in flags and i - 1 not in flags]
    if len(files) != 2 or len(arguments) != 2 + 2 * len(flags):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(files[0], "rb") as file, open(files[1], "rb") as pem:
            proof, key = json.load(file), keyfile.load_pem_public_key(pem.read())
        need(isinstance(key, Ed25519PublicKey), "the public key is not Ed25519")
        witnesses = []
        for name, _, material in (arguments[i + 1].split("+", 2) for i in flags):
            data = base64.b64decode(material, validate=True)
            need(data[:1] == b"\x04", "a witness's key is not an Ed25519 cosignature key")
            witnesses.append((name, Ed25519PublicKey.from_public_bytes(data[1:])))
        print("\n".join(["passed", *verify(proof, key, witnesses)]))
    except InvalidSignature:
        print("failed: a signature is wrong", file=sys.stderr)
        return 1
    except Exception as error:  # whatever is malformed proves nothing
        print(f"failed: {error if isinstance(error, Refused) else repr(error)[:200]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
