"""The prompts: one text file each, with `$slots`; what fills a slot can neither close a section nor open one.

Fixed text stands first in every file, so that a server can reuse the prefix between requests.
"""

import hashlib
import re
from functools import cache
from string import Template

from mmat_dagster.fingerprints import engine_files, read_engine_file

# Sections have small letters; THOUGHT and its like are the wire form's, which is told of, and guards itself.
_SECTION = re.compile(rb"</([a-z_]+)>")


class PromptError(ValueError):
    """A prompt does not exist, or its slots are not the ones that were filled."""


def render(name: str, **slots: str) -> str:
    """Fill the slots of prompt `name`; raise PromptError where one is missing or not used."""
    template = Template(_read(name).decode().rstrip("\n"))
    wanted = set(template.get_identifiers())
    if wanted != set(slots):
        raise PromptError(f"prompt {name!r}: {_difference(wanted, set(slots))}")
    return template.substitute({slot: _section_tags().sub(r"[\1]", text) for slot, text in slots.items()})


def fingerprint(*names: str) -> str:
    """Return the sha256 over the names and bytes of the prompts `names`: an edit of any of them changes it."""
    digest = hashlib.sha256()
    for name in names:
        content = _read(name)
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _read(name: str) -> bytes:
    try:
        return read_engine_file(f"prompts/{name}.txt")
    except KeyError:
        raise PromptError(f"no prompt {name!r}") from None


def _difference(wanted: set[str], given: set[str]) -> str:
    missing = [f"slot {slot!r} is missing" for slot in sorted(wanted - given)]
    unused = [f"slot {slot!r} is not used" for slot in sorted(given - wanted)]
    return ", ".join(missing + unused)


@cache
def _section_tags() -> re.Pattern[str]:
    """Return the pattern of all sections' tags, as loosely as a model may read them: `</ Question >`."""
    texts = map(read_engine_file, engine_files("prompts/*.txt"))
    names = {name.decode() for text in texts for name in _SECTION.findall(text)}
    tag = f"(?:{'|'.join(sorted(names))})"
    # Not "a < question of b > c", which is no tag for anybody.
    return re.compile(rf"<(\s*/?\s*{tag}\s*/?|/?{tag}\s[^<>]*)>", re.IGNORECASE)
