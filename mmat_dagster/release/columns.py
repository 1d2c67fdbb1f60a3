"""Functions over Arrow columns: the published types of pyarrow.compute are narrower than what it takes."""

from typing import Any, TypeAlias

import pyarrow.compute

pc: Any = pyarrow.compute

# pa.Array or pa.ChunkedArray, whose types take different names in different releases of the stubs.
Column: TypeAlias = Any
