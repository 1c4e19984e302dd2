"""Deliveries that are made of a query's rows or an interface's pages."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms
from pydantic import ValidationError

from assay.contract import Bounds, Contract, Source
from assay.intake import CredentialsMissing, SignatureRefused, SourceRefused, SourceTimeout, SourceUnreachable
from assay.intake.sources import Deadline, Place, open_place, read_small
from tests.intake.support import QUICK, Handler, finding, new_line, serve

LIMIT = 1 << 24


def made(
    tmp_path: Path, uri: str, *, seconds: float = 20.0, bounds: Bounds | None = None, **body: Any
) -> Place:
    wanted = Source.model_validate({"id": "west", "publisher": "census", "uri": uri} | body)
    return open_place(uri, Deadline(seconds), QUICK, source=wanted, bounds=bounds, work=tmp_path / "work")


def query(text: str, **more: Any) -> dict[str, Any]:
    return {"sql": {"query": text, **more}, "transport": {"connection": "warehouse"}}


MIXED = "SELECT person_id FROM people UNION ALL SELECT 'text' FROM people, (SELECT 1 UNION SELECT 2 UNION SELECT 3)"


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SQLite file with 25,000 rows, named by a connection."""
    path = tmp_path / "people.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE people (person_id INTEGER, age INTEGER, name TEXT, share REAL, photo BLOB)"
        )
        rows = ((n, n % 90, f"N{n}", n / 7, bytes([n % 256])) for n in range(25_000))
        database.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?)", rows)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "schema": str(path)}))
    return path


# ----------------------------------------------------------------------------------------------------------------- SQL
def test_rows_of_a_query_become_a_parquet_file_with_an_account_and_a_manifest(
    tmp_path: Path, people: Path
) -> None:
    """Count, types and hash of the rows stand in what the manifest lists."""
    here = made(tmp_path, "sql://warehouse/", **query("SELECT * FROM people ORDER BY person_id"))
    table = pq.read_table(io.BytesIO(read_small(here, "rows.parquet", LIMIT)))
    assert table.num_rows == 25_000
    assert table.column_names == ["person_id", "age", "name", "share", "photo"]
    assert table["share"][14].as_py() == 2.0
    account = json.loads(read_small(here, "landing.json", LIMIT))
    assert account["rows"] == 25_000
    lines = (
        json.dumps([n, n % 90, f"N{n}", n / 7, bytes([n % 256]).hex()], separators=(",", ":")) + "\n"
        for n in range(25_000)
    )
    assert account["rows_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    manifest = read_small(here, "SHA256SUMS", LIMIT).decode()
    assert re.findall(r"  (.*)\n", manifest) == ["landing.json", "rows.parquet"]
    here.close()
    assert list((tmp_path / "work" / "made").iterdir()) == []


@pytest.mark.parametrize(("accept", "verdict"), [(False, "hold"), (True, "accept")])
def test_rows_that_nobody_signed_are_held_unless_the_contract_takes_the_databases_word(
    tmp_path: Path, people: Path, accept: bool, verdict: str
) -> None:
    """A read from the database and a read again are the same delivery."""
    with new_line(tmp_path) as line:
        body = {"id": "west", "publisher": "census", "uri": "sql://warehouse/"}
        body |= query("SELECT person_id, age FROM people ORDER BY 1")
        body |= {"when_unsigned": "accept"} if accept else {}
        contract = line.contract(sources=[body], freshness={"when_absent": "accept"})
        first = line.verify("sql://warehouse/", contract)
        assert first.verdict == verdict
        signature = finding(first, "intake.signature")
        assert signature.outcome == ("passed" if accept else "not_checked")
        assert finding(first, "intake.checksums").outcome == "passed"
        assert line.verify("sql://warehouse/", contract).delivery_id == first.delivery_id


def test_taking_a_databases_word_is_not_taking_a_folders(tmp_path: Path, people: Path) -> None:
    """The same contract holds an unsigned folder that somebody names as that source's delivery."""
    with new_line(tmp_path) as line:
        folder = line.deliver()
        (folder / "SHA256SUMS.minisig").unlink()
        body = {"id": "west", "publisher": "census", "uri": "sql://warehouse/", "when_unsigned": "accept"}
        contract = line.contract(sources=[body | query("SELECT 1")], freshness={"when_absent": "accept"})
        result = line.verify(folder, contract, "west")
    assert finding(result, "intake.signature").outcome == "not_checked"
    assert result.verdict != "accept"


def test_a_query_cannot_write(tmp_path: Path, people: Path) -> None:
    """The database is opened for reading only."""
    before = people.read_bytes()
    for text in (
        "DELETE FROM people RETURNING *",
        "DROP TABLE people",
        "INSERT INTO people (age) VALUES (1) RETURNING age",
    ):
        here = made(tmp_path, "sql://warehouse/", **query(text))
        with pytest.raises((SourceRefused, SourceUnreachable)):
            read_small(here, "SHA256SUMS", LIMIT)
        here.close()
    assert people.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "bounds", "says"),
    [
        ("SELECT * FROM nowhere", {}, "does not answer"),
        ("SELECT 1 AS a, 2 AS a", {}, "cannot make a table"),
        ("SELECT person_id FROM people", {"max_rows": 24_999}, "more rows"),
        ("SELECT person_id, age FROM people", {"max_columns": 1}, "cannot make a table"),
        ("SELECT hex(randomblob(900)) FROM people", {"max_bytes": 1_000_000}, "larger than"),
        (MIXED, {}, "several types"),
    ],
)
def test_what_cannot_be_a_delivery_is_refused(
    tmp_path: Path, people: Path, text: str, bounds: dict[str, int], says: str
) -> None:
    """Too much, no table, or a column whose type changes: never a silent coercion."""
    here = made(tmp_path, "sql://warehouse/", bounds=Bounds(**bounds), **query(text))
    with pytest.raises(SourceRefused, match=says):
        read_small(here, "SHA256SUMS", LIMIT)
    here.close()


def test_a_query_without_end_is_ended_at_the_deadline(tmp_path: Path, people: Path) -> None:
    """The database itself stops it."""
    text = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    here = made(tmp_path, "sql://warehouse/", seconds=1, **query(text))
    with pytest.raises(SourceTimeout):
        read_small(here, "SHA256SUMS", LIMIT)
    here.close()


def test_a_database_that_is_not_there_is_unreachable_and_its_password_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host and reason are named."""
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://ann:s3cret@127.0.0.1:1/base")
    here = made(tmp_path, "sql://warehouse/", **query("SELECT 1"))
    with pytest.raises(SourceUnreachable) as raised:
        read_small(here, "SHA256SUMS", LIMIT)
    assert "s3cret" not in str(raised.value)
    monkeypatch.delenv("AIRFLOW_CONN_WAREHOUSE")
    with pytest.raises(CredentialsMissing, match="AIRFLOW_CONN_WAREHOUSE"):
        made(tmp_path, "sql://warehouse/", **query("SELECT 1"))


@pytest.mark.postgres
@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
def test_postgresql_is_read_in_one_read_only_transaction(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """The level is the one asked for, writing is refused, and types come through."""
    url = sa.make_url(postgres_database)
    engine = sa.create_engine(url)
    with engine.begin() as session:
        session.exec_driver_sql(
            "CREATE TABLE t (id int, price numeric(8,2), day date, at timestamptz, doc jsonb, u uuid)"
        )
        session.exec_driver_sql(
            "INSERT INTO t SELECT n, n / 4.0, date '2026-01-01' + n, '2026-01-01T00:00:00Z', '{\"a\": 1}', "
            "'00000000-0000-0000-0000-000000000001' FROM generate_series(1, 30000) n"
        )
    engine.dispose()
    plain = url.set(drivername="postgres").render_as_string(hide_password=False)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", plain)
    here = made(tmp_path, "sql://warehouse/", **query("SELECT * FROM t ORDER BY id", isolation=isolation))
    table = pq.read_table(io.BytesIO(read_small(here, "rows.parquet", LIMIT)))
    here.close()
    assert table.num_rows == 30_000
    assert [str(field.type) for field in table.schema][:3] == ["int64", "decimal128(38, 2)", "date32[day]"]
    assert table["doc"][0].as_py() == '{"a": 1}'
    text = "SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_read_only') AS ro"
    here = made(tmp_path, "sql://warehouse/", **query(text, isolation=isolation))
    row = pq.read_table(io.BytesIO(read_small(here, "rows.parquet", LIMIT))).to_pylist()[0]
    here.close()
    assert row == {"level": isolation.replace("_", " "), "ro": "on"}
    here = made(tmp_path, "sql://warehouse/", **query("UPDATE t SET id = 0 RETURNING id"))
    with pytest.raises(SourceRefused, match="does not answer"):
        read_small(here, "SHA256SUMS", LIMIT)
    here.close()
    here = made(tmp_path, "sql://warehouse/", seconds=1, **query("SELECT pg_sleep(30)"))
    with pytest.raises(SourceTimeout):
        read_small(here, "SHA256SUMS", LIMIT)
    here.close()


# ----------------------------------------------------------------------------------------------------------------- API
RECORDS = [{"person_id": n, "age": n % 90, "name": f"Zoë {n}"} for n in range(25)]


def paged(size: int, style: str) -> Any:
    """A server of records, `size` at a time."""

    def answer(handler: Handler) -> bool:
        asked = dict(httpx.URL(f"http://x{handler.path}").params)
        start = {
            "page": (int(asked.get("page", 1)) - 1) * size,
            "offset": int(asked.get("offset", 0)),
            "cursor": int(asked.get("after", 0)),
            "link": int(asked.get("from", 0)),
        }[style]
        some, following = RECORDS[start : start + size], start + size
        more = following < len(RECORDS)
        body = {"data": {"items": some}, "next": str(following) if more else None}
        data = json.dumps(body).encode()
        handler.send_response(200)
        if style == "link" and more:
            handler.send_header("Link", f'</other>; rel="prev", </list?from={following}>; rel="next"')
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        handler.send_header("Content-Digest", f"sha-256=:{digest}:")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        return True

    return answer


PAGING = {
    "page": {"paging": "page", "parameter": "page"},
    "offset": {"paging": "offset", "parameter": "offset"},
    "cursor": {"paging": "cursor", "parameter": "after", "cursor": "next"},
    "link": {"paging": "link"},
}


@pytest.mark.parametrize("style", list(PAGING))
def test_all_pages_become_one_file_of_records(tmp_path: Path, style: str) -> None:
    """However the next page is named; letters are kept as they are."""
    with serve(tmp_path, {"/list": paged(10, style)}) as web:
        api = {"records": "data.items", **PAGING[style]}
        here = api_source(tmp_path, f"{web.uri}list", api)
        lines = read_small(here, "records.jsonl", LIMIT).decode().splitlines()
        account = json.loads(read_small(here, "landing.json", LIMIT))
        here.close()
    assert [json.loads(line) for line in lines] == RECORDS
    assert "Zoë" in lines[0]
    assert account["rows"] == 25
    assert account["pages"] in {3, 4}


KEY = Ed25519PrivateKey.generate()
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
SIGNED_BY = {"key_id": "feed-1", "public_key": PUBLIC}


def api_source(tmp_path: Path, uri: str, api: dict[str, Any]) -> Place:
    """A place at plain http, which no contract would allow without a signature, for a server of this machine."""
    body = {"id": "west", "publisher": "census", "uri": uri.replace("http:", "https:"), "api": api}
    wanted = Source.model_validate(body)
    return open_place(uri, Deadline(20), QUICK, source=wanted, work=tmp_path / "work")


def signing(
    *,
    key: Ed25519PrivateKey = KEY,
    key_id: str = "feed-1",
    covered: tuple[str, ...] | None = None,
    **how: Any,
) -> Any:
    """Signs each answer as RFC 9421 says, with the part left out or changed that a test names."""
    signer = HTTPMessageSigner(
        signature_algorithm=algorithms.ED25519,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={key_id: key}),
    )

    def answer(handler: Handler) -> bool:
        data = json.dumps(how.get("records", RECORDS)).encode()
        request = httpx.Request(
            "GET", f"http://{handler.headers['Host']}" + how.get("signed_path", handler.path)
        )
        response = httpx.Response(200, request=request, content=data)
        response.headers["Content-Digest"] = (
            f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
        )
        if how.get("signature", True):
            signer.sign(
                response,
                key_id=key_id,
                use_existing_digest=True,
                covered_component_ids=covered or ('"@status"', '"content-digest"', '"@target-uri";req'),
            )
        sent = json.dumps(how["sent"]).encode() if "sent" in how else data
        handler.send_response(200)
        for name in ("Content-Digest", "Signature-Input", "Signature"):
            if name in response.headers:
                handler.send_header(name, response.headers[name])
        handler.send_header("Content-Length", str(len(sent)))
        handler.end_headers()
        handler.wfile.write(sent)
        return True

    return answer


def test_signed_answers_are_verified_and_vouch_for_the_delivery(tmp_path: Path) -> None:
    """RFC 9421, over status, content digest and what was asked; plain http is enough then."""
    with new_line(tmp_path) as line, serve(tmp_path, {"/list": signing()}) as web:
        uri = f"{web.uri}list"
        body = {"id": "west", "publisher": "census", "uri": uri, "api": {"signed_by": SIGNED_BY}}
        contract = line.contract(sources=[body], freshness={"when_absent": "accept"})
        result = line.verify(uri, contract)
    assert result.verdict == "accept"
    assert "feed-1" in finding(result, "intake.signature").message


@pytest.mark.parametrize(
    "how",
    [
        {"signature": False},
        {"key": Ed25519PrivateKey.generate()},
        {"key_id": "another"},
        {"sent": [{"person_id": 666}]},
        {"signed_path": "/list?page=2"},
        {"covered": ('"@status"', '"@target-uri";req')},
        {"covered": ('"@status"', '"content-digest"')},
        {"covered": ('"content-digest"', '"@target-uri";req')},
    ],
    ids=[
        *("none", "another key", "another key id", "other bytes", "of another page"),
        *("digest not covered", "request not covered", "status not covered"),
    ],
)
def test_answers_whose_signature_does_not_count_are_refused(tmp_path: Path, how: dict[str, Any]) -> None:
    """Before a byte of them is parsed."""
    with serve(tmp_path, {"/list": signing(**how)}) as web:
        here = api_source(tmp_path, f"{web.uri}list", {"signed_by": SIGNED_BY})
        with pytest.raises(SignatureRefused if "sent" not in how else SourceRefused):
            read_small(here, "SHA256SUMS", LIMIT)
        here.close()
        assert web.asked == ["/list"]


# ------------------------------------------------------------------------------------------------------------ contracts
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"uri": "sql://warehouse/"}, "a database needs a query"),
        ({"uri": "data/", "sql": {"query": "SELECT 1"}}, "a database needs a query"),
        ({"uri": "s3://bucket/", "api": {}}, "read over https"),
        ({"uri": "http://x.example.org/", "api": {}}, "plain http without a signature"),
        (
            {"uri": "sql://w/", "sql": {"query": "SELECT 1"}, "signature": "S.sig"},
            "take `manifest` and `signature` out",
        ),
        ({"uri": "data/", "when_unsigned": "accept"}, "only rows of `sql`"),
        ({"uri": "sftp://h.example.org/"}, "without the server's key"),
        ({"uri": "sftp://h/", "transport": {"host_key": "AAAA"}}, "cannot be read"),
        (
            {"uri": "s3://b/", "transport": {"endpoint": "http://127.0.0.1:1"}},
            "plain http without a signature",
        ),
        (
            {"uri": "https://h/", "transport": {"credentials": {"token": "AWS_SECRET_ACCESS_KEY"}}},
            "ASSAY_CREDENTIAL_",
        ),
        ({"uri": "https://h/", "transport": {"redirect_hosts": ["http://x"]}}, "no host's name"),
        ({"uri": "https://u:p@h/"}, "no place for secrets"),
        ({"uri": "https://h/", "api": {"paging": "page"}}, "needs the name of its query parameter"),
        (
            {"uri": "https://h/", "api": {"signed_by": {"key_id": "k", "public_key": "AAAA"}}},
            "cannot be read",
        ),
    ],
)
def test_a_contract_that_would_pass_silently_or_hold_a_secret_is_invalid(
    source: dict[str, Any], says: str
) -> None:
    """The message names the fix."""
    body = {
        "version": 1,
        "dataset": "d",
        "publishers": [{"id": "p"}],
        "sources": [{"id": "s", "publisher": "p", **source}],
        "schema": {"key": ["a"], "columns": {"a": {"type": "integer"}}},
    }
    with pytest.raises(ValidationError, match=re.escape(says)):
        Contract.model_validate(body)
