"""How long to look: bounded and the same every time in the normal run, long and at random with a profile.

`pytest tests/fuzz --hypothesis-profile=long -o timeout=0` looks for a quarter of an hour or more. What it finds becomes
an `@example` beside the test. The tests take what `limits` says, so that the tests of other folders keep their own.
"""

from __future__ import annotations

from tests.fuzz import limits

limits.register()
