"""The real tools of manifest formats: run in a folder, they say what its files are."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FILES = {
    "people.csv": b"person_id,age\n1,30\n2,41\n3,55\n",
    "more.csv": b"person_id,age\n4,22\n5,37\n",
}
TARGET = "people.csv"
_SCRIPTS = {
    "croissant": """
import json, sys
import mlcroissant as mlc
files = json.load(sys.stdin)
objects = [mlc.FileObject(id=name, name=name, content_url=name, encoding_formats=["text/csv"],
                          content_size=f"{size} B", sha256=digest) for name, digest, size in files]
made = mlc.Metadata(name="people", description="People.", url="https://example.org/people",
                    license="https://creativecommons.org/publicdomain/zero/1.0/", distribution=objects)
with open("croissant.json", "w") as file:
    json.dump(made.to_json(), file, indent=2, default=str)
mlc.Dataset(jsonld="croissant.json")
""",
    "frictionless": """
import json, sys
from frictionless import Package, Resource
made = Package(name="people", resources=[Resource(path=name) for name, _, _ in json.load(sys.stdin)])
made.infer(stats=True)
made.to_json("datapackage.json")
""",
    "in-toto": """
import json, sys
from google.protobuf.json_format import MessageToJson
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
subjects = [ResourceDescriptor(name=name, digest={"sha256": digest}) for name, digest, _ in json.load(sys.stdin)]
for subject in subjects:
    subject.validate()
made = Statement([subject.pb for subject in subjects], "https://example.org/delivery/v1", {"made": "here"})
made.validate()
open("statement.json", "w").write(MessageToJson(made.pb))
""",
}


def tool(folder: Path, *command: str, given: str | None = None) -> str:
    """What a tool prints when it is run in the folder."""
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, input=given).stdout


def script(folder: Path, name: str) -> None:
    """Run one of the scripts above, which use a format's own library, in an interpreter of its own."""
    listed = [
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(folder.iterdir())
    ]
    tool(folder, sys.executable, "-c", _SCRIPTS[name], given=json.dumps(listed))


def md5(name: str = TARGET) -> str:
    """MD5 of a file's content."""
    return hashlib.md5(FILES[name], usedforsecurity=False).hexdigest()


def sent_checksum(data: bytes, algorithm: str = "SHA256") -> dict[str, str]:
    """The checksum that the AWS SDK sends with an object, without a server."""
    import botocore.session
    from botocore.awsrequest import AWSResponse

    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    sent: dict[str, str] = {}

    class Nothing:
        def stream(self, *_: Any, **__: Any) -> Any:
            return iter([b""])

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.update(
            {
                name: value.decode() if isinstance(value, bytes) else value
                for name, value in request.headers.items()
                if name.lower().startswith("x-amz-checksum-")
            }
        )
        return AWSResponse(request.url, 200, {}, Nothing())

    client.meta.events.register("before-send.s3.PutObject", answer)
    client.put_object(Bucket="bucket", Key="key", Body=data, ChecksumAlgorithm=algorithm)
    return {f"Checksum{name.rpartition('-')[2].upper()}": value for name, value in sent.items()}


def b64(digits: str) -> str:
    """Hexadecimal digits as base64 of the bytes."""
    return base64.b64encode(binascii.unhexlify(digits)).decode()
