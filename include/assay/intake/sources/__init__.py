"""Places that deliveries come from, behind one face.

Nothing here looks into the bytes. Every read is bounded in size and time, and a place is never trusted to say the truth
about either.
"""

from assay.intake.sources.base import (
    CHUNK,
    Deadline,
    Listing,
    Place,
    Sink,
    Transfer,
    metered,
    read_small,
    too_large,
)
from assay.intake.sources.opening import normal, open_place

__all__ = [
    "CHUNK",
    "Deadline",
    "Listing",
    "Place",
    "Sink",
    "Transfer",
    "metered",
    "normal",
    "open_place",
    "read_small",
    "too_large",
]
