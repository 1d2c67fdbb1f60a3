"""JSON schemas of replies, made from the pydantic models that read them, in the strict form that OpenAI asks for.

Strict: every property is required, none may be added. A property that may be left out is one that may be null.
"""

from typing import Any

import orjson
from pydantic import BaseModel

from mmat_dagster.interfaces import ReplySchema


def reply_schema(name: str, model: type[BaseModel]) -> ReplySchema:
    """Return the schema that replies which `model` reads must follow."""
    return ReplySchema(name=name, json_schema=orjson.dumps(_strict(model.model_json_schema())).decode())


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _strict(value) for key, value in schema.items() if key not in ("title", "default", "description")}
    if kept.get("type") == "object":
        kept |= {"required": list(schema["properties"]), "additionalProperties": False}
        kept["properties"] = {key: _strict(value) for key, value in schema["properties"].items()}
    return kept
