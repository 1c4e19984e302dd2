"""Checkpoints published outside our power: folders, object stores, git repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import fsspec
import pytest

from assay.errors import UsageError
from assay.findings import Outcome, worst
from assay.ledger import Ledger, LedgerError, NoteError, Witness, open_checkpoint
from assay.ledger.outside.cosign import cosign
from assay.ledger.outside.publish import PlaceUnreachable, Published, open_place, publish, read_place
from assay.ledger.outside.witnesses import add_cosignatures
from tests.ledger.support import KEY, OTHER_KEY, failures, filled, statement

PUBLIC = KEY.public_key()
WITNESS = Witness("witness.example/w1", OTHER_KEY.public_key())


def git(*arguments: str, cwd: Path | None = None) -> str:
    """Run git as the test's own user."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(params=["folder", "memory", "git"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place of each kind."""
    if request.param == "folder":
        return (tmp_path / "audit" / "assay").as_uri()
    if request.param == "memory":
        return f"memory://audit-{tmp_path.name}"
    git("init", "--bare", "--quiet", str(tmp_path / "audit.git"))
    return f"git+{(tmp_path / 'audit.git').as_uri()}"


@pytest.fixture
def log(tmp_path: Path) -> Ledger:
    """A log with three entries."""
    return filled(f"sqlite:///{tmp_path / 'log.db'}", tmp_path / "home", 3)


def test_a_checkpoint_is_published_once_and_read_back(uri: str, log: Ledger) -> None:
    """Nothing there, then the newest; the same again adds nothing; a larger one goes beside it."""
    place = open_place(uri)
    assert read_place(log, place) is None
    assert publish(log, place) == Published(uri, 3, new=True)
    assert publish(log, place) == Published(uri, 3, new=False)
    log.append(statement(3))
    log.append(statement(4))
    assert publish(log, place) == Published(uri, 5, new=True)
    known = read_place(log, open_place(uri))
    assert known is not None
    assert known.size == 5
    assert known == open_checkpoint(log.checkpoint() or "", PUBLIC)


def test_verify_compares_with_every_place(uri: str, log: Ledger) -> None:
    """Nothing published is not checked; what was published is contained; it stands in for a lost anchor."""
    place = open_place(uri)
    findings = log.verify(places=[place])
    (told,) = [finding for finding in findings if finding.check == "ledger.published"]
    assert (told.outcome, "nothing was published" in told.message) == (Outcome.NOT_CHECKED, True)
    publish(log, place)
    log.append(statement(3))
    assert log.anchor is not None
    log.anchor.path.unlink()
    findings = log.verify(places=[place])
    assert worst(finding.outcome for finding in findings) is Outcome.PASSED
    assert uri in next(finding.subject for finding in findings if finding.check == "ledger.published")


def test_another_ledgers_checkpoint_is_neither_accepted_nor_written_over(
    uri: str, log: Ledger, tmp_path: Path
) -> None:
    """A place that another key's log publishes to is refused, and verify says so."""
    place = open_place(uri)
    publish(log, place)
    other = filled(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other", 5)
    stranger = Ledger(other.database, OTHER_KEY)
    with pytest.raises(NoteError):
        read_place(stranger, place)
    second = filled(f"sqlite:///{tmp_path / 'second.db'}", tmp_path / "second", 0)
    for number in (7, 8, 9, 10):
        second.append(statement(number))
    with pytest.raises(LedgerError, match="not the one whose checkpoint was published"):
        publish(second, place)
    known = read_place(log, place)
    assert known is not None
    assert known.size == 3


def test_an_empty_log_publishes_nothing(uri: str, tmp_path: Path) -> None:
    """There is no checkpoint yet."""
    empty = filled(f"sqlite:///{tmp_path / 'empty.db'}", tmp_path / "empty", 0)
    with pytest.raises(LedgerError, match="empty"):
        publish(empty, open_place(uri))


def test_cosignatures_are_published_with_the_checkpoint(log: Ledger, tmp_path: Path) -> None:
    """Others see who saw the log."""
    text = open_checkpoint(log.checkpoint() or "", PUBLIC).text
    add_cosignatures(log, cosign(text, WITNESS.name, OTHER_KEY, 1_800_000_000), [WITNESS])
    place = open_place((tmp_path / "audit").as_uri())
    publish(log, place)
    assert f"— {WITNESS.name} " in (place.newest() or "")


def test_what_is_no_note_fails_the_check(log: Ledger, tmp_path: Path) -> None:
    """Garbage, a binary file, something endless: each fails; other files in the folder do not count."""
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / "README.md").write_text("checkpoints of assay")
    place = open_place(folder.as_uri())
    publish(log, place)
    for content in (b"garbage", b"\xff\xfe", b"x" * 400_000):
        (folder / f"checkpoint-{9:019}.txt").write_bytes(content)
        assert list(failures(log.verify(places=[place]))) == ["ledger.published"]


def test_a_git_repository_keeps_every_checkpoint_as_a_commit(log: Ledger, tmp_path: Path) -> None:
    """Its history is what auditors read; a rewritten one is found by who kept the old."""
    bare = tmp_path / "audit.git"
    git("init", "--bare", "--quiet", str(bare))
    place = open_place(f"git+{bare.as_uri()}")
    publish(log, place)
    log.append(statement(3))
    publish(log, place)
    told = git("--git-dir", str(bare), "log", "--format=%s %an").splitlines()
    assert told == ["Checkpoint at 4 entries assay", "Checkpoint at 3 entries assay"]
    names = git("--git-dir", str(bare), "ls-tree", "--name-only", "HEAD").split()
    assert names == [f"checkpoint-{size:019}.txt" for size in (3, 4)]


def test_a_link_in_a_repository_leads_nowhere(log: Ledger, tmp_path: Path) -> None:
    """Who controls the repository cannot make us read a file of this machine."""
    bare, clone = tmp_path / "audit.git", tmp_path / "clone"
    git("init", "--bare", "--quiet", str(bare))
    git("clone", "--quiet", str(bare), str(clone))
    (tmp_path / "secret.txt").write_text(log.checkpoint() or "")
    (clone / f"checkpoint-{3:019}.txt").symlink_to(tmp_path / "secret.txt")
    git("add", ".", cwd=clone)
    git("commit", "--quiet", "-m", "a link", cwd=clone)
    git("push", "--quiet", "origin", "HEAD", cwd=clone)
    with pytest.raises(NoteError):
        read_place(log, open_place(f"git+{bare.as_uri()}"))


@pytest.mark.parametrize(
    "name", ["git+file:///nowhere/at/all.git", "git+ext::sh -c true", "git+--upload-pack=x"]
)
def test_a_place_that_cannot_be_reached_is_not_checked(name: str, log: Ledger) -> None:
    """It is told, and never passes; options and commands in a URL are not taken for such."""
    place = open_place(name)
    with pytest.raises(PlaceUnreachable, match="cannot be used"):
        publish(log, place)
    told = [finding for finding in log.verify(places=[place]) if finding.check == "ledger.published"]
    assert [finding.outcome for finding in told] == [Outcome.NOT_CHECKED]


@pytest.mark.parametrize("name", ["/a/path", "nothing", "strange-protocol://x"])
def test_what_is_no_uri_is_a_wrong_call(name: str) -> None:
    """The message says what would be right."""
    with pytest.raises(UsageError):
        open_place(name)


def test_files_are_written_whole(log: Ledger, tmp_path: Path) -> None:
    """A folder holds the checkpoint and nothing half-written beside it, readable by others."""
    folder = tmp_path / "audit"
    publish(log, open_place(folder.as_uri()))
    (only,) = folder.iterdir()
    assert only.read_text(encoding="utf-8") == log.checkpoint()
    assert only.stat().st_mode & 0o777 == 0o644
    assert fsspec.filesystem("file").exists(str(only))
