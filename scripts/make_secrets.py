"""Makes the secret files that docker-compose.yaml mounts, and the .env file that names their owner.

Usage: python scripts/make_secrets.py [FOLDER]

Each file is random and has mode 0600. Files that exist are kept, so running this twice changes nothing: to replace a
secret, delete its file and every file that carries it (the README in docker/secrets says which), and run this again.
Compose mounts files with the owner and mode that they have here, so the containers run as their owner's user id.
"""

import base64
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTAINER_UID = 50000  # the airflow user of the official image, for those who run this as root


def fernet_key() -> str:
    """32 random bytes in URL-safe base64, as Fernet wants them."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def token() -> str:
    """48 random bytes, safe within a URL: 64 characters."""
    return secrets.token_urlsafe(48)


class Folder:
    """A folder of secrets; remembers which files it made."""

    def __init__(self, path: Path, uid: int) -> None:
        self.path = path
        self.uid = uid
        self.made: list[str] = []

    def get(self, name: str, make: Callable[[], str]) -> str:
        """The content of a secret, made now if its file is missing. No newline at the end: Airflow keeps newlines."""
        target = self.path / name
        if not target.exists():
            partial = self.path / f".{name}.partial"
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(make())
            if os.geteuid() == 0:
                os.chown(partial, self.uid, 0)
            partial.rename(target)
            self.made.append(name)
        return target.read_text()


def make(path: Path, uid: int) -> list[str]:
    """Makes what is missing in `path` and returns the names of the new files."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Folder(path, uid)

    airflow = folder.get("postgres_password", token)
    folder.get(
        "airflow_database_url", lambda: f"postgresql+psycopg2://airflow:{airflow}@postgres:5432/airflow"
    )
    folder.get("celery_result_backend", lambda: f"db+postgresql://airflow:{airflow}@postgres:5432/airflow")
    assay = folder.get("assay_database_password", token)
    folder.get("assay_database_url", lambda: f"postgresql+psycopg2://assay:{assay}@postgres:5432/assay")

    broker = folder.get("redis_password", token)
    folder.get("redis_conf", lambda: f"requirepass {broker}\n")
    folder.get("celery_broker_url", lambda: f"redis://:{broker}@redis:6379/0")

    folder.get("airflow_fernet_key", fernet_key)
    folder.get("airflow_api_secret_key", token)
    folder.get("airflow_jwt_secret", token)
    folder.get("airflow_admin_password", lambda: secrets.token_urlsafe(18))

    key = folder.get("s3_access_key", lambda: secrets.token_hex(10))
    secret = folder.get("s3_secret_key", token)
    folder.get(
        "s3_client",
        lambda: f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n",
    )
    identity = {
        "name": "assay",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": [f"{action}:assay" for action in ("Admin", "Read", "Write", "List", "Tagging")],
    }
    folder.get("s3_server", lambda: json.dumps({"identities": [identity]}))
    return folder.made


def main(argv: list[str]) -> int:
    """Makes the secrets and says what was made and what comes next."""
    if len(argv) > 2:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(argv[1]) if len(argv) == 2 else ROOT / "docker" / "secrets"
    uid = os.geteuid() or CONTAINER_UID
    made = make(path, uid)
    environment = ROOT / ".env" if len(argv) == 1 else path / ".env"
    if not environment.exists():
        environment.write_text(
            f"# made by `make secrets`: who owns the files in docker/secrets\nASSAY_UID={uid}\n"
        )
        made.append(environment.name)
    print(f"{path}: {len(made)} made, the rest kept" if made else f"{path}: all there, nothing changed")
    print(
        f"Sign in as admin with the password in {path / 'airflow_admin_password'}. Next: docker compose up --detach"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
