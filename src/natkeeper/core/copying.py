"""`dataclasses.replace` for the small frozen facts of this package, without a walk over all of their fields.

Called by the core, `reconcile` and the ledger. A memory has some thirty fields, and a pass replaces one or two of them
twenty times: asking each field and setting it again through a frozen class was a tenth of what a pass costs.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    # The type checker knows the fields of what it copies by this name only.
    from dataclasses import replace as replace
else:

    def replace(value: T, /, **changes: Any) -> T:
        """The same with some fields changed. Raises TypeError for a field that there is not."""
        fields, known = type(value).__dataclass_fields__, value.__dict__
        if known.keys() != fields.keys() or not changes.keys() <= fields.keys():
            # It remembers what it worked out once (`cached_property`), which a change may make wrong.
            return dataclasses.replace(value, **changes)
        copy = object.__new__(type(value))
        copy.__dict__.update(known, **changes)
        return copy
