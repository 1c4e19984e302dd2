#!/usr/bin/env bash
# Assay reads its database's URL from the environment. It carries a password, so it comes from a secret file and is
# never part of the container's configuration, where `docker inspect` would show it.
set -euo pipefail

if [[ -r /run/secrets/assay_database_url ]]; then
  ASSAY_DATABASE_URL="$(< /run/secrets/assay_database_url)"
  export ASSAY_DATABASE_URL
fi

exec /entrypoint "$@"
