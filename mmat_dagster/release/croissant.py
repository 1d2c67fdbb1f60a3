"""croissant.json: the release for machines, in Croissant 1.0 (http://mlcommons.org/croissant/1.0)."""

import json
from typing import Any

from mmat_dagster import paper
from mmat_dagster.release.lines import NAMES
from mmat_dagster.release.plan import FORMS, SIDES, Form
from mmat_dagster.release.writing import Written

# The context that the specification gives, with the terms that are used here.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FIELDS = {
    "id": ("sc:Text", "The dialogue's id; RR and ORR of one question share it."),
    "source": ("sc:Text", "The published set that the question is from."),
    "part": ("sc:Text", "The part of that set."),
    "licence": ("sc:Text", "The licence of that part."),
    "question": ("sc:Text", "The question as it was asked, with choices and the form that its answer is to have."),
    "answer_type": ("sc:Text", "What kind of answer the question wants."),
    "reflection": ("sc:Text", "none, general or math."),
    "teacher": ("sc:Text", "Who wrote the reasoning."),
    "audit_score": ("sc:Float", "How good the audit finds the dialogue, from 0 to 1; empty where none was made."),
}


def render_croissant(written: Written, hashes: dict[str, tuple[int, str]]) -> str:
    """Return croissant.json; `hashes` are size and SHA-256 of the files by their path."""
    statistics = written.statistics
    places = [(form, side) for form in FORMS for side in SIDES if written.shards[form, side]]
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "mmat_dialogues",
        "description": f"{statistics.dialogues('rr'):,} dialogues over images that reason step by step, call tools and "
        f"correct themselves, in the form of MMAT-1M (arXiv {paper.ARXIV}).",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": "1.0.0",
        "license": sorted({part.licence for part in statistics.parts}),
        "citeAs": paper.CITATION,
        "url": f"https://arxiv.org/abs/{paper.ARXIV}",
        "creator": {"@type": "sc:Organization", "name": "mmat_dagster"},
        "distribution": [
            *(_file(name, *hashes[name]) for name in NAMES.values()),
            *(_files(form, side) for form, side in places),
        ],
        "recordSet": [_records(form, side) for form, side in places],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _file(name: str, size: int, digest: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": "application/jsonlines",
        "sha256": digest,
    }


def _files(form: Form, side: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{form}-{side}-files",
        "name": f"{form}-{side}-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"data/{form}/{side}-*.parquet",
    }


def _records(form: Form, side: str) -> dict[str, Any]:
    name = f"{form}_{side}"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"The {form.upper()} dialogues of the split {side}.",
        "key": {"@id": f"{name}/id"},
        "field": [_field(name, f"{form}-{side}-files", column, *told) for column, told in _FIELDS.items()],
    }


def _field(records: str, files: str, column: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{column}",
        "name": column,
        "description": description,
        "dataType": kind,
        "source": {"fileSet": {"@id": files}, "extract": {"column": column}},
    }
