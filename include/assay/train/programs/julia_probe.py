"""Starts Julia as the worker would and prints one JSON line about it: `python -m assay.train.programs.julia_probe`."""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    """Answer `{"versions": ..., "gpu": name or null, "gpu_reason": ...}` or `{"error": ...}`."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from assay.train.backends import BackendUnavailable
    from assay.train.backends.flux import gpu_state, start_julia

    try:
        trainer = start_julia()
        gpu, reason = gpu_state(trainer, thorough=True)
        answer: dict[str, object] = {"versions": trainer.versions, "gpu": gpu, "gpu_reason": reason}
    except BackendUnavailable as error:
        answer = {"error": error.reason}
    out.write(json.dumps(answer) + "\n")
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
