"""Deliveries in a bucket, against a real S3 server."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Source
from assay.intake import CredentialsMissing, NotThere, SourceRefused, SourceUnreachable, TooLarge
from assay.intake.sources import Deadline, Place, open_place, read_small
from assay.intake.sources.s3 import S3Place
from assay.store import ObjectStore
from tests import s3_server
from tests.intake.support import QUICK, Line, finding, new_line, outcomes, rejected_for

pytestmark = pytest.mark.s3
LIMIT = 1 << 26


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def bucket(server: s3_server.Server) -> str:
    """An empty bucket of the test's own."""
    name = f"b{uuid.uuid4().hex}"
    s3_server.client_of(server).create_bucket(Bucket=name)
    return name


@pytest.fixture
def line(tmp_path: Path, assay_home: Path) -> Iterator[Line]:
    with new_line(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def feed(server: s3_server.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection `feed` is the owner's; no other credentials are around."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    enter(monkeypatch, server.access_key, server.secret_key, server)


def enter(monkeypatch: pytest.MonkeyPatch, key: str, secret: str, server: s3_server.Server) -> None:
    body = {"conn_type": "aws", "login": key, "password": secret, "extra": {"endpoint_url": server.endpoint}}
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(body))


def upload(server: s3_server.Server, bucket: str, folder: Path, prefix: str = "adult/") -> None:
    client = s3_server.client_of(server)
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())


def place(bucket: str, prefix: str = "adult/", **transport: Any) -> Place:
    uri = f"s3://{bucket}/{prefix}"
    body = {"id": "west", "publisher": "census", "uri": uri, "transport": {"connection": "feed"} | transport}
    return open_place(uri, Deadline(30), QUICK, source=Source.model_validate(body))


def test_a_delivery_in_a_bucket_is_the_same_delivery_as_in_a_folder(
    server: s3_server.Server, bucket: str, line: Line
) -> None:
    """Same id; and a bucket can be listed, so that an object beside the manifest's is found."""
    folder = line.deliver()
    upload(server, bucket, folder)
    uri = f"s3://{bucket}/adult/"
    contract = line.contract(sources=[line.source(uri=uri, transport={"connection": "feed"})])
    result = line.verify(uri, contract)
    assert result.verdict == "accept", outcomes(result)
    assert line.verify(folder, contract, "west").delivery_id == result.delivery_id
    s3_server.client_of(server).put_object(Bucket=bucket, Key="adult/extra.csv", Body=b"unlisted")
    assert "extra.csv" in rejected_for(line.verify(uri, contract), "intake.completeness").message


def test_large_and_missing_and_too_large_objects(server: s3_server.Server, bucket: str) -> None:
    """Multipart objects come whole."""
    data = os.urandom(20 << 20)
    client = s3_server.client_of(server)
    import io

    client.upload_fileobj(io.BytesIO(data), bucket, "adult/big.bin")
    here = place(bucket)
    assert read_small(here, "big.bin", LIMIT) == data
    with pytest.raises(TooLarge):
        read_small(here, "big.bin", 1000)
    with pytest.raises(NotThere):
        read_small(here, "none.bin", LIMIT)
    here.close()


def test_many_objects_are_listed_page_by_page_and_no_more_than_allowed(
    server: s3_server.Server, bucket: str
) -> None:
    """A listing has at most 1,000 objects a page."""
    client = s3_server.client_of(server)
    for number in range(1010):
        client.put_object(Bucket=bucket, Key=f"adult/{number}.csv", Body=b"x")
    listing = place(bucket).listing(2000)
    assert listing is not None
    assert len(listing.files) == 1010
    with pytest.raises(TooLarge, match="too many"):
        place(bucket).listing(1000)


@pytest.mark.parametrize("versioned", [False, True])
def test_an_object_that_is_replaced_meanwhile_is_never_read_in_its_new_version(
    server: s3_server.Server, bucket: str, versioned: bool
) -> None:
    """Where the bucket keeps versions the old one is read; elsewhere the delivery is refused."""
    client = s3_server.client_of(server)
    if versioned:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key="adult/a.csv", Body=b"old")
    here = place(bucket)
    here.listing(100)
    client.put_object(Bucket=bucket, Key="adult/a.csv", Body=b"new")
    if versioned:
        assert read_small(here, "a.csv", LIMIT) == b"old"
    else:
        with pytest.raises(SourceRefused, match="replaced while"):
            read_small(here, "a.csv", LIMIT)
    assert read_small(place(bucket), "a.csv", LIMIT) == b"new"


def test_an_object_of_another_size_than_listed_is_not_taken(server: s3_server.Server, bucket: str) -> None:
    """A service that lies about one of the two is asked again, then left."""
    s3_server.client_of(server).put_object(Bucket=bucket, Key="adult/a.csv", Body=b"abc")
    here = place(bucket)
    assert isinstance(here, S3Place)
    pins = here._pinned(10)
    pins["a.csv"] = type(pins["a.csv"])(2, pins["a.csv"].etag, None)
    with pytest.raises(SourceUnreachable, match="could not be fetched"):
        read_small(here, "a.csv", LIMIT)


@pytest.mark.parametrize("who", ["guest", "nobody", "wrong secret"])
def test_who_may_not_read_is_refused_and_no_secret_is_in_the_message(
    server: s3_server.Server, bucket: str, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The code that the service gave is quoted."""
    s3_server.client_of(server).put_object(Bucket=bucket, Key="adult/a.csv", Body=b"abc")
    key, secret = {
        "guest": (server.guest, server.guest_secret),
        "nobody": ("nobody", "s3cret-of-nobody"),
        "wrong secret": (server.access_key, "s3cret-wrong"),
    }[who]
    enter(monkeypatch, key, secret, server)
    with pytest.raises(SourceRefused, match="does not give") as raised:
        read_small(place(bucket), "a.csv", LIMIT)
    assert secret not in str(raised.value)
    assert "403" in str(raised.value)


def test_without_credentials_the_message_says_where_they_may_come_from(
    server: s3_server.Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection, or Amazon's own chain."""
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps({"extra": {"endpoint_url": server.endpoint}}))
    with pytest.raises(CredentialsMissing, match="no credentials"):
        read_small(place(bucket), "a.csv", LIMIT)


def test_the_normal_chain_of_credentials_works(
    server: s3_server.Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the endpoint from the contract, whose source is signed because it is plain http."""
    s3_server.client_of(server).put_object(Bucket=bucket, Key="adult/a.csv", Body=b"abc")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    uri = f"s3://{bucket}/adult/"
    body = {
        "id": "w",
        "publisher": "p",
        "uri": uri,
        "signature": "S.sig",
        "transport": {"endpoint": server.endpoint},
    }
    here = open_place(uri, Deadline(30), QUICK, source=Source.model_validate(body))
    assert read_small(here, "a.csv", LIMIT) == b"abc"


def test_a_service_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transient: another run may find it."""
    nowhere = s3_server.Server("http://127.0.0.1:1")
    enter(monkeypatch, "a", "s3cret-b", nowhere)
    with pytest.raises(SourceUnreachable) as raised:
        read_small(place("bucket"), "a.csv", LIMIT)
    assert "s3cret" not in str(raised.value)


def test_the_object_store_keeps_packs_in_a_bucket(
    server: s3_server.Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: Line
) -> None:
    """Many small files are one object there, and every one can be read, sealed, and read again."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    store = ObjectStore(f"s3://{bucket}/store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")
    line.store = store
    folder = line.deliver(files={f"{number}.csv": b"%d" % number for number in range(60)})
    result = line.verify(folder)
    assert finding(result, "intake.checksums").outcome == "passed"
    found = s3_server.client_of(server).list_objects_v2(Bucket=bucket, Prefix="store/")["Contents"]
    assert len([each for each in found if "/packs/" in each["Key"]]) == 1
    assert len(found) < 10
    digest = next(file.sha256 for file in result.files if file.path == "7.csv")
    assert store.get_bytes(digest) == b"7"
    store.seal(digest)
    assert store.is_sealed(digest)
    assert store.get_bytes(digest) == b"7"
