"""Flat YAML, as trainers' settings are: one `name: value` a line.

JSON's strings, truths and lists are YAML's too. Its numbers are not all: YAML 1.1, which PyYAML reads, takes 4e-05 for
a word.
"""

import json
from collections.abc import Mapping

Value = str | bool | int | float | tuple[str, ...] | None


def render_yaml(title: str, values: Mapping[str, Value]) -> str:
    """Render settings under a comment; those that are None are left out."""
    lines = [f"{name}: {_render(value)}" for name, value in values.items() if value is not None]
    return "\n".join((f"# {title}", *lines)) + "\n"


def _render(value: str | bool | int | float | tuple[str, ...]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("e", ".0e", 1) if isinstance(value, float) and "e" in text and "." not in text else text
