"""Under which terms each part of a source may be used; what its publishers say, with where they say it."""

from dataclasses import dataclass

from mmat_dagster.schema import SourceName


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence as its name stands in a record, and whether it lets the part be used commercially."""

    name: str
    is_commercial: bool


APACHE = Licence(name="Apache-2.0", is_commercial=True)
NON_COMMERCIAL_SHARE_ALIKE = Licence(name="CC BY-NC-SA 4.0", is_commercial=False)

DEFAULTS: dict[SourceName, Licence] = {
    "visual_cot": APACHE,
    "llava_cot": APACHE,
    "the_cauldron": Licence(name="per subset + CC BY 4.0 (prompts)", is_commercial=False),
    "tabmwp": NON_COMMERCIAL_SHARE_ALIKE,
    "infoseek": APACHE,
}
PARTS: dict[SourceName, dict[str, Licence]] = {}


def licence_of(source: SourceName, part: str) -> Licence:
    """Return the licence of a part of a source; that of the whole source where the part has none of its own."""
    return PARTS.get(source, {}).get(part, DEFAULTS[source])
