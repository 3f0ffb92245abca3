"""The nouns that every stage of the data path shares: identities, addresses, layouts, samples.

Everything here is frozen, but for `Ranges`, a compact set. Nothing heavy is imported: numpy and msgspec are what a
solver loads anyway. Never imported here: anything else of melissa_like.
"""

from melissa_like.records.addresses import Address, ClientRank, Operator, ServerRank, parse_address
from melissa_like.records.fields import MAX_DIMENSIONS, STORAGE_DTYPES, FieldSpec, StudyWideField
from melissa_like.records.ids import Purpose, Routing, SampleKey, StudyIdentity, owner_of
from melissa_like.records.layout import Box, FloatArray, Layout
from melissa_like.records.ranges import Ranges
from melissa_like.records.samples import (
    FormedWindows,
    Sample,
    Window,
    missing_steps,
    num_samples,
    num_steps_in_no_window,
    steps_not_needed,
)
from melissa_like.records.static import StaticFields, static_fields

__all__ = [
    "MAX_DIMENSIONS",
    "STORAGE_DTYPES",
    "Address",
    "Box",
    "ClientRank",
    "FieldSpec",
    "FloatArray",
    "FormedWindows",
    "Layout",
    "Operator",
    "Purpose",
    "Ranges",
    "Routing",
    "Sample",
    "SampleKey",
    "ServerRank",
    "StaticFields",
    "StudyIdentity",
    "StudyWideField",
    "Window",
    "missing_steps",
    "num_samples",
    "num_steps_in_no_window",
    "owner_of",
    "parse_address",
    "static_fields",
    "steps_not_needed",
]
