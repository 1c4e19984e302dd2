"""What a key, a publisher, a file or a delivery touched, as facts and as lines for a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Touched:
    """A delivery that the thing brought, signed or was part of.

    Attributes:
        position: Entry of the statement that verified it.
        delivery: Its id.
        dataset: Its data set.
        source: Who delivered it.
        publisher: Whose key signed it.
        key: That key.
        signed_at: The date that was signed: whoever has a stolen key may write any.
        first_seen: When it first came in, by our clock: what a time window is compared with.
        verdict: What verification said.
        files: Paths within it that the question is about; empty for all of them.
    """

    position: int
    delivery: str
    dataset: str
    source: str
    publisher: str
    key: str | None
    signed_at: str | None
    first_seen: str
    verdict: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """Rows of a snapshot that came with the deliveries.

    Attributes:
        snapshot: Its id.
        dataset: Its data set.
        version: Its version.
        rows: How many of its rows are affected.
        of: How many rows it has.
    """

    snapshot: str
    dataset: str
    version: int
    rows: int
    of: int


@dataclass(frozen=True)
class Learned:
    """A model that was trained on an affected snapshot.

    Attributes:
        model: Its id.
        snapshot: What it was trained on.
        state: What it is now: `champion`, `retired`, `challenger` or `refused`.
        rows: How many affected rows the snapshot has.
        champion_since: When it was made champion, each time.
    """

    model: str
    snapshot: str
    state: str
    rows: int
    champion_since: tuple[str, ...]


@dataclass(frozen=True)
class Affected:
    """Everything that the thing touched.

    Attributes:
        what: What was asked about.
        since: First moment of the window, if one was given.
        until: First moment after the window.
        deliveries: In the order of the log.
        snapshots: In the order of their versions.
        models: Trained on these snapshots.
        cases: Ids of cases with rows of these deliveries.
        rows: Different rows that are or were in a snapshot.
        problems: Statements that name the thing and cannot be believed.
    """

    what: str
    since: str | None
    until: str | None
    deliveries: tuple[Touched, ...]
    snapshots: tuple[Held, ...]
    models: tuple[Learned, ...]
    cases: tuple[str, ...]
    rows: int
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person."""
        window = "".join(
            f" {word} {time}" for word, time in (("since", self.since), ("until", self.until)) if time
        )
        first = (
            f"affected by {self.what}{window}: {len(self.deliveries)} deliveries, {self.rows:,} rows, "
            f"{len(self.snapshots)} snapshots, {len(self.models)} models, {len(self.cases)} cases"
        )
        out = [first]
        out += [
            f"  {each.delivery} from {each.source}, came in {each.first_seen}, {each.verdict} (entry {each.position})"
            for each in self.deliveries
        ]
        out += [
            f"  {each.snapshot} (version {each.version} of {each.dataset}): {each.rows:,} of {each.of:,} rows"
            for each in self.snapshots
        ]
        out += [
            f"  {each.model}, {each.state}, trained on {each.rows:,} of these rows"
            + (f", champion since {', '.join(each.champion_since)}" if each.champion_since else "")
            for each in self.models
        ]
        out += [f"  {case}" for case in self.cases]
        return out + [f"  NOT TO BE BELIEVED: {problem}" for problem in self.problems]
