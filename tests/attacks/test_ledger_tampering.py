"""Someone owns the database and changes the ledger in it: whatever they do is found, and named.

The attacker may run any SQL and may write the anchor's file. They do not have the ledger's private key, except where a
test says so.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from assay.canonical import canonical_json
from assay.db import Database
from assay.findings import Finding, Outcome, worst
from assay.ledger import Ledger, LedgerError, sign_statement
from assay.ledger.log.checkpoints import Checkpoint, origin_of, sign_checkpoint
from assay.ledger.merkle import leaf_hash
from tests.attacks import tampering
from tests.ledger.support import (
    KEY,
    OTHER_KEY,
    as_owner,
    content_name,
    failures,
    filled,
    open_log,
    sha,
    statement,
)

ENTRIES = 8


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of eight entries, and its checkpoint at four as it was published."""
    folder = tmp_path_factory.mktemp("original")
    log = filled(f"sqlite:///{folder / 'log.db'}", folder, 4)
    (folder / "published.txt").write_text(log.checkpoint() or "", encoding="utf-8")
    for number in range(4, ENTRIES):
        log.append(statement(number))
    (folder / "published-8.txt").write_text(log.checkpoint() or "", encoding="utf-8")
    return folder


@pytest.fixture
def home(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder for one attack."""
    monkeypatch.setattr("assay.ledger.outside.compare._ANCHOR_PATIENCE", 0.05)
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def log(home: Path) -> Ledger:
    """The log, opened by an auditor who pinned its public key."""
    return Ledger(Database(f"sqlite:///{home / 'log.db'}"), KEY.public_key(), anchor=home / "ledger-head.txt")


def sql(log: Ledger, *changes: str, **values: object) -> None:
    """Run statements as the database's owner."""
    with as_owner(log.database) as connection:
        for change in changes:
            connection.execute(text(change), values)


def envelope_of(log: Ledger, position: int) -> dict:
    """An entry's envelope."""
    entry = log.entry(position)
    assert entry is not None
    return dict(json.loads(entry.envelope))


def put_envelope(log: Ledger, position: int, envelope: str, *, rehash: bool) -> None:
    """Replace an entry's envelope, and its leaf hash too if wanted."""
    sql(log, "UPDATE ledger_entry SET envelope = :e WHERE position = :p", e=envelope, p=position)
    if rehash:
        leaf = leaf_hash(envelope.encode()).hex()
        sql(log, "UPDATE ledger_entry SET leaf_hash = :l WHERE position = :p", l=leaf, p=position)


def cut(log: Ledger, size: int, *, checkpoints: bool = True) -> None:
    """Cut the log down to its first entries."""
    sql(
        log,
        f"DELETE FROM ledger_subject WHERE position >= {size}",
        f"DELETE FROM ledger_entry WHERE position >= {size}",
    )
    if checkpoints:
        sql(log, f"DELETE FROM ledger_checkpoint WHERE size > {size}")


def move(connection: Connection, old: int, new: int) -> None:
    """Give an entry, with its index, another position."""
    connection.execute(text(f"UPDATE ledger_subject SET position = {new} WHERE position = {old}"))
    connection.execute(text(f"UPDATE ledger_entry SET position = {new} WHERE position = {old}"))


def edited(log: Ledger, position: int) -> str:
    """An envelope whose statement says something better, under the old signature."""
    envelope = envelope_of(log, position)
    document = json.loads(base64.b64decode(envelope["payload"]))
    document["predicate"]["outcome"] = "failed"
    envelope["payload"] = base64.b64encode(canonical_json(document)).decode()
    return canonical_json(envelope).decode()


# --------------------------------------------------------------------------------------------------------- the attacks
def edit_an_entry(log: Ledger) -> None:
    """A row edited."""
    put_envelope(log, 3, edited(log, 3), rehash=False)


def edit_an_entry_and_its_leaf(log: Ledger) -> None:
    """A row edited, with its hash."""
    put_envelope(log, 3, edited(log, 3), rehash=True)


def sign_an_entry_with_another_key(log: Ledger) -> None:
    """A statement of the attacker's own, properly signed by the attacker."""
    put_envelope(log, 3, sign_statement(statement(3), OTHER_KEY), rehash=True)


def replace_an_entry_with_a_genuine_one(log: Ledger) -> None:
    """A statement that the ledger's key did sign, but that was never appended."""
    put_envelope(log, 3, sign_statement(statement(77), KEY), rehash=True)


def drop_an_entry(log: Ledger) -> None:
    """An entry in the middle is gone."""
    sql(log, "DELETE FROM ledger_subject WHERE position = 3", "DELETE FROM ledger_entry WHERE position = 3")


def drop_an_entry_and_close_the_gap(log: Ledger) -> None:
    """An entry is gone, and the later ones moved up."""
    drop_an_entry(log)
    with as_owner(log.database) as connection:
        for position in range(4, ENTRIES):
            move(connection, position, position - 1)
        connection.execute(text(f"DELETE FROM ledger_checkpoint WHERE size = {ENTRIES}"))


def drop_the_first_entry(log: Ledger) -> None:
    """The log begins with its second entry."""
    sql(log, "DELETE FROM ledger_subject WHERE position = 0", "DELETE FROM ledger_entry WHERE position = 0")


def swap_two_entries(log: Ledger) -> None:
    """What came first is said to have come later."""
    with as_owner(log.database) as connection:
        for old, new in ((2, 100), (5, 2), (100, 5)):
            move(connection, old, new)


def cut_off_the_newest_entries(log: Ledger) -> None:
    """Truncated, with their checkpoints: consistent in itself."""
    cut(log, 6)


def cut_off_entries_but_not_checkpoints(log: Ledger) -> None:
    """Truncated by someone who forgot the checkpoints."""
    cut(log, 6, checkpoints=False)


def cut_off_everything(log: Ledger) -> None:
    """An empty log."""
    cut(log, 0)


def repeat_a_statement(log: Ledger) -> None:
    """An entry is copied to the end under a new id."""
    sql(
        log,
        "INSERT INTO ledger_entry (position, statement_id, leaf_hash, predicate_type, envelope) "
        f"SELECT {ENTRIES}, 'statement-new', leaf_hash, predicate_type, envelope FROM ledger_entry WHERE position = 2",
        f"INSERT INTO ledger_subject SELECT {ENTRIES}, name, role FROM ledger_subject WHERE position = 2",
    )


def add_an_entry_below_zero(log: Ledger) -> None:
    """An entry where nobody counts, but where a search by name finds it."""
    sql(
        log,
        "INSERT INTO ledger_entry (position, statement_id, leaf_hash, predicate_type, envelope) "
        "SELECT -1, 'statement-new', leaf_hash, predicate_type, envelope FROM ledger_entry WHERE position = 2",
    )


def put_an_older_checkpoint_in_place(log: Ledger) -> None:
    """The newest checkpoint's note is an older one's."""
    sql(
        log,
        "UPDATE ledger_checkpoint SET note = (SELECT note FROM ledger_checkpoint WHERE size = 5) WHERE size = 8",
    )


def sign_a_checkpoint_with_another_key(log: Ledger) -> None:
    """A checkpoint over the right root, signed by the attacker under the log's name."""
    root = bytes.fromhex(sha("root"))
    note = sign_checkpoint(Checkpoint(origin_of(KEY.public_key()), 8, root), OTHER_KEY)
    sql(log, "UPDATE ledger_checkpoint SET note = :n WHERE size = 8", n=note)


def edit_a_checkpoints_root(log: Ledger) -> None:
    """The column is changed, the note is not."""
    sql(log, "UPDATE ledger_checkpoint SET root_hash = :r WHERE size = 4", r=sha("other"))


def edit_a_checkpoints_edge(log: Ledger) -> None:
    """What the next append would build on."""
    sql(log, "UPDATE ledger_checkpoint SET edge = :e WHERE size = 8", e=json.dumps([sha("other")]))


def drop_a_checkpoint(log: Ledger) -> None:
    """One checkpoint in the middle is gone."""
    sql(log, "DELETE FROM ledger_checkpoint WHERE size = 4")


def add_a_checkpoint_of_nothing(log: Ledger) -> None:
    """A checkpoint that covers no entry."""
    sql(
        log,
        "INSERT INTO ledger_checkpoint SELECT 0, root_hash, edge, note FROM ledger_checkpoint WHERE size = 4",
    )


def change_the_payload_type(log: Ledger) -> None:
    """The same signed bytes, to be read as something else."""
    envelope = envelope_of(log, 3)
    envelope["payloadType"] = "application/json"
    put_envelope(log, 3, canonical_json(envelope).decode(), rehash=True)


def spell_an_envelope_differently(log: Ledger) -> None:
    """The same JSON with a space in it: the signature still holds."""
    entry = log.entry(3)
    assert entry is not None
    put_envelope(log, 3, entry.envelope.replace(",", ", ", 1), rehash=False)


def destroy_an_envelope(log: Ledger) -> None:
    """Bytes that are no envelope at all."""
    put_envelope(log, 3, "\x00garbage", rehash=True)


def rename_a_subject(log: Ledger) -> None:
    """A poisoned delivery is no longer found by its id."""
    name = statement(3).subjects[0].name
    sql(log, "UPDATE ledger_subject SET name = 'delivery-clean' WHERE name = :n", n=name)


def hide_a_subject(log: Ledger) -> None:
    """It is found under no name."""
    sql(log, "DELETE FROM ledger_subject WHERE position = 3")


def invent_a_subject(log: Ledger) -> None:
    """A decision is said to cover a case that it does not name."""
    sql(
        log,
        "INSERT INTO ledger_subject (position, name, role) VALUES (3, :n, 'subject')",
        n=content_name("case", 1),
    )


def turn_an_input_into_a_subject(log: Ledger) -> None:
    """What was only used is said to be what the statement is about."""
    sql(log, "UPDATE ledger_subject SET role = 'subject' WHERE position = 3 AND name = 'part-3.csv'")


def index_an_entry_that_is_not_there(log: Ledger) -> None:
    """A name that leads to nothing."""
    sql(log, "INSERT INTO ledger_subject (position, name, role) VALUES (55, 'delivery-x', 'subject')")


def index_an_entry_below_zero(log: Ledger) -> None:
    """A name that leads to nothing, before the log's beginning."""
    sql(log, "INSERT INTO ledger_subject (position, name, role) VALUES (-5, 'delivery-x', 'subject')")


def change_a_statements_id(log: Ledger) -> None:
    """So that the same step could be appended again."""
    sql(log, "UPDATE ledger_entry SET statement_id = 'statement-other' WHERE position = 3")


def change_a_predicate_type(log: Ledger) -> None:
    """The column says another step than the statement."""
    sql(
        log,
        "UPDATE ledger_entry SET predicate_type = 'https://assay.dev/predicates/gates-judged/v1' WHERE position = 3",
    )


def write_garbage_over_the_anchor(log: Ledger) -> None:
    """The anchor's file is destroyed."""
    assert log.anchor is not None
    log.anchor.path.write_bytes(b"\xff\xfe nothing")


def sign_the_anchor_with_another_key(log: Ledger) -> None:
    """A checkpoint of the attacker's stands in the anchor's file."""
    assert log.anchor is not None
    note = sign_checkpoint(Checkpoint(origin_of(KEY.public_key()), 2, bytes(32)), OTHER_KEY)
    log.anchor.path.write_text(note, encoding="utf-8")


ANCHOR = {"anchor": ["the anchor"]}
Attack = Callable[[Ledger], None]
ATTACKS: list[tuple[Attack, dict[str, list[str]]]] = [
    (
        edit_an_entry,
        {"leaf_hash": ["entry 3"], "signature": ["entry 3"], "checkpoint_root": ["checkpoint 4"], **ANCHOR},
    ),
    (edit_an_entry_and_its_leaf, {"signature": ["entry 3"], "checkpoint_root": ["checkpoint 4"], **ANCHOR}),
    (
        sign_an_entry_with_another_key,
        {"signature": ["entry 3"], "checkpoint_root": ["checkpoint 4"], **ANCHOR},
    ),
    (
        replace_an_entry_with_a_genuine_one,
        {"index": ["entry 3", "entry 3"], "checkpoint_root": ["checkpoint 4"], **ANCHOR},
    ),
    (drop_an_entry, {"position": ["entry 3"], "checkpoint_root": ["checkpoint 5"], **ANCHOR}),
    (drop_an_entry_and_close_the_gap, {"checkpoint_root": ["checkpoint 4"], **ANCHOR}),
    (drop_the_first_entry, {"position": ["entry 0"], "checkpoint_root": ["checkpoint 2"], **ANCHOR}),
    (swap_two_entries, {"checkpoint_root": ["checkpoint 3"]}),
    (cut_off_the_newest_entries, {**ANCHOR}),
    (cut_off_entries_but_not_checkpoints, {"truncation": ["checkpoint 8"], **ANCHOR}),
    (cut_off_everything, {**ANCHOR}),
    (
        repeat_a_statement,
        {
            "duplicate": ["entry 8"],
            "index": ["entry 8"],
            "checkpoint_root": ["checkpoint 9"],
            "truncation": ["checkpoint 8"],
        },
    ),
    (add_an_entry_below_zero, {"position": ["entry 0"], "duplicate": ["entry 2"]}),
    (put_an_older_checkpoint_in_place, {"checkpoint_signature": ["checkpoint 8"]}),
    (sign_a_checkpoint_with_another_key, {"checkpoint_signature": ["checkpoint 8"]}),
    (
        edit_a_checkpoints_root,
        {"checkpoint_signature": ["checkpoint 4"], "checkpoint_root": ["checkpoint 4"]},
    ),
    (edit_a_checkpoints_edge, {"checkpoint_root": ["checkpoint 8"]}),
    (drop_a_checkpoint, {"checkpoint_root": ["checkpoint 4"]}),
    (add_a_checkpoint_of_nothing, {"checkpoint_root": ["checkpoint 0"]}),
    (change_the_payload_type, {"envelope": ["entry 3"], "checkpoint_root": ["checkpoint 4"]}),
    (spell_an_envelope_differently, {"leaf_hash": ["entry 3"], "envelope": ["entry 3"]}),
    (destroy_an_envelope, {"envelope": ["entry 3"], "checkpoint_root": ["checkpoint 4"]}),
    (rename_a_subject, {"index": ["entry 3"]}),
    (hide_a_subject, {"index": ["entry 3"]}),
    (invent_a_subject, {"index": ["entry 3"]}),
    (turn_an_input_into_a_subject, {"index": ["entry 3"]}),
    (index_an_entry_that_is_not_there, {"index": ["entry 55"]}),
    (index_an_entry_below_zero, {"index": ["entry -5"]}),
    (change_a_statements_id, {"index": ["entry 3"]}),
    (change_a_predicate_type, {"index": ["entry 3"]}),
    (write_garbage_over_the_anchor, {"anchor": ["anchor"]}),
    (sign_the_anchor_with_another_key, {"anchor": ["anchor"]}),
]


@pytest.mark.parametrize(("attack", "expected"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_the_ledger_names_what_was_done(attack: Attack, expected: dict[str, list[str]], log: Ledger) -> None:
    """Each attack fails the checks that are about it, which name the entry or checkpoint."""
    assert worst(finding.outcome for finding in log.verify()) is Outcome.PASSED
    attack(log)
    found = failures(log.verify())
    assert {check: found.get(f"ledger.{check}") for check in expected} == expected
    tampering.found(attack.__name__.replace("_", " "), ", ".join(f"ledger.{check}" for check in expected))


@pytest.mark.parametrize(
    "attack",
    [
        cut_off_the_newest_entries,
        cut_off_everything,
        edit_a_checkpoints_edge,
        put_an_older_checkpoint_in_place,
        drop_an_entry_and_close_the_gap,
    ],
)
def test_nothing_is_signed_on_top_of_a_forgery(attack: Attack, log: Ledger, home: Path) -> None:
    """Where an append would make the forgery look genuine, it refuses."""
    attack(log)
    size = log.size()
    with pytest.raises(LedgerError):
        Ledger(log.database, KEY, anchor=home / "ledger-head.txt").append(statement(50))
    assert log.size() == size


@pytest.mark.parametrize(
    "attack",
    [
        edit_an_entry,
        drop_an_entry,
        swap_two_entries,
        cut_off_the_newest_entries,
        rename_a_subject,
        repeat_a_statement,
    ],
)
def test_the_same_is_found_on_every_database(
    attack: Attack, database_url: str, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found does not hang on SQLite."""
    monkeypatch.setattr("assay.ledger.outside.compare._ANCHOR_PATIENCE", 0.05)
    log = filled(database_url, assay_home, ENTRIES)
    attack(log)
    expected = dict(ATTACKS[[known for known, _ in ATTACKS].index(attack)][1])
    found = failures(log.verify())
    assert {check: found.get(f"ledger.{check}") for check in expected} == expected


# ----------------------------------------------------------------------------------------------- attacks on the anchors
def test_an_anchor_that_was_rolled_back_is_not_passed(log: Ledger, home: Path) -> None:
    """An older anchor over a whole log: the entries after it are not vouched for, and the check says which."""
    shutil.copy(home / "published.txt", home / "ledger-head.txt")
    finding = log.verify()[-1]
    assert (finding.check, finding.outcome) == ("ledger.anchor", Outcome.NOT_CHECKED)
    assert finding.evidence == {"anchored": 4, "entries": 8, "behind": 4}
    assert "rolled back" in finding.message


def test_a_rollback_of_database_and_anchor_together_is_found_by_what_was_published(
    log: Ledger, home: Path
) -> None:
    """The one attack that nothing on this machine can tell: hence checkpoints are given to others."""
    cut(log, 4)
    shutil.copy(home / "published.txt", home / "ledger-head.txt")
    assert worst(finding.outcome for finding in log.verify()) is Outcome.PASSED
    note = (home / "published-8.txt").read_text(encoding="utf-8")
    assert failures(log.verify([note])) == {"ledger.published": ["the published checkpoint"]}
    tampering.found("roll back database and anchor together", "ledger.published")


def test_an_anchor_that_was_deleted_is_not_passed(log: Ledger, home: Path) -> None:
    """With the newest entries cut off, the log is whole in itself; without an anchor that does not count."""
    cut(log, 6)
    (home / "ledger-head.txt").unlink()
    assert worst(finding.outcome for finding in log.verify()) is Outcome.NOT_CHECKED


def test_another_genuine_log_in_its_place_is_found(log: Ledger, home: Path, tmp_path: Path) -> None:
    """The whole database is replaced by another one that the same key signed, longer than the first."""
    other = open_log(f"sqlite:///{tmp_path / 'other.db'}", tmp_path)
    for number in range(100, 110):
        other.append(statement(number))
    forged = Ledger(other.database, KEY.public_key(), anchor=home / "ledger-head.txt")
    found = failures(forged.verify([(home / "published.txt").read_text(encoding="utf-8")]))
    assert set(found) == {"ledger.anchor", "ledger.published"}
    tampering.found("fork: another genuine log of the same key", "ledger.anchor, ledger.published")


def rewritten(home: Path, key: object) -> Ledger:
    """The log without its fourth entry, signed anew from the beginning."""
    anchor = home / "new-head.txt"
    database = Database(f"sqlite:///{home / 'rewritten.db'}")
    database.migrate()
    log = Ledger(database, key, anchor=anchor)  # type: ignore[arg-type]
    for number in [0, 1, 2, *range(4, ENTRIES), 20, 21]:
        log.append(statement(number))
    return log


def test_a_history_rewritten_by_the_keys_owner_is_found(home: Path) -> None:
    """An insider with the private key drops an entry and signs all anew: the anchor and what was published tell."""
    forged = rewritten(home, KEY)
    auditor = Ledger(forged.database, KEY.public_key(), anchor=home / "ledger-head.txt")
    findings = auditor.verify([(home / "published.txt").read_text(encoding="utf-8")])
    assert failures(findings) == {
        "ledger.published": ["the published checkpoint"],
        "ledger.anchor": ["the anchor"],
    }
    assert all("rewritten" in finding.message for finding in findings if finding.outcome is Outcome.FAILED)
    tampering.found("fork: history rewritten by the owner of the key", "ledger.anchor, ledger.published")


def test_a_history_rewritten_with_another_key_is_found(home: Path) -> None:
    """Every signature is the attacker's; the pinned key says so for every entry and checkpoint."""
    forged = rewritten(home, OTHER_KEY)
    auditor = Ledger(forged.database, KEY.public_key(), anchor=home / "ledger-head.txt")
    found = failures(auditor.verify())
    assert len(found["ledger.signature"]) == len(found["ledger.checkpoint_signature"]) == 9
    tampering.found("history rewritten with another key", "ledger.signature, ledger.checkpoint_signature")


def test_a_swapped_key_pair_is_found_by_the_anchor_and_by_whoever_kept_the_key(home: Path) -> None:
    """Private key, public key and database are all replaced: the anchor was signed with the old key."""
    forged = rewritten(home, OTHER_KEY)
    here = Ledger(forged.database, OTHER_KEY.public_key(), anchor=home / "ledger-head.txt")
    assert failures(here.verify()) == {"ledger.anchor": ["anchor"]}
    auditor = Ledger(forged.database, KEY.public_key(), anchor=home / "new-head.txt")
    assert "ledger.signature" in failures(auditor.verify())
    tampering.found("swap the key pair, database and all", "ledger.anchor, ledger.signature")


def test_findings_tell_where_and_what(log: Ledger) -> None:
    """Evidence carries what was expected and what was found."""
    edit_an_entry(log)
    finding: Finding = next(f for f in log.verify() if f.check == "ledger.leaf_hash")
    assert finding.evidence["expected"] != finding.evidence["found"]
    assert finding.severity == "critical"
    assert finding.id.startswith("finding-")
