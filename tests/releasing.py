"""Stores to release from: dialogues made by hand over pictures that are really there."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from mmat_dagster import parts, prompts
from mmat_dagster.images import PicturesOnDisk
from mmat_dagster.parts import Manifest, Part
from mmat_dagster.release.plan import Choices, Plan, find_data
from mmat_dagster.release.provenance import Facts
from mmat_dagster.release.publishing import Release, publish
from mmat_dagster.schema import Dialogue, DialogueAudit, ImageRef, OrrDialogue, SourceName
from mmat_dagster.stages.audit import audit_by_checks
from mmat_dagster.stages.integration import integrate
from resources.store import LocalStore
from tests.builders import SAMPLE
from tests.exporting import make_dialogue
from tests.written_parts import write_part


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A store with its sources, and what is asked of it."""

    root: Path

    @property
    def store(self) -> LocalStore:
        return LocalStore(root=str(self.root / "store"))

    def draw(self, number: int, source: SourceName = "tabmwp") -> ImageRef:
        """Draw a picture of its own colour, and return where it lies."""
        buffer = io.BytesIO()
        Image.new("RGB", (8, 6), (number % 256, number // 256 % 256, 90)).save(buffer, "PNG")
        path = self.root / "sources" / source / "pictures" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        return ImageRef(home="source", path=f"pictures/{path.name}", sha256=digest, width=8, height=6)

    def say(self, number: int, images: Sequence[ImageRef], source: SourceName = "tabmwp", **changes: Any) -> Dialogue:
        """Return a dialogue over pictures."""
        sample = replace(SAMPLE, id=f"{source}/{number}", source=source, images=tuple(images), **changes)
        return make_dialogue(sample)

    def put(self, *dialogues: Dialogue, part_rows: int = 7) -> None:
        """Write RR and ORR dialogues of one source, in small parts."""
        self.put_records(Dialogue, dialogues, part_rows)
        system = prompts.render("orr_system")
        integrated = [integrate(dialogue, system) for dialogue in dialogues]
        self.put_records(OrrDialogue, [each for each in integrated if isinstance(each, OrrDialogue)], part_rows)

    def put_records(self, record: type[Any], records: Sequence[Any], part_rows: int) -> None:
        dataset: Any = "rr_dialogues" if record is Dialogue else "orr_dialogues"
        source = records[0].source
        cuts = range(0, len(records), part_rows)
        made = [
            self._write(record, f"{dataset}/{source}/part-{at:05d}-key", records[at : at + part_rows]) for at in cuts
        ]
        parts.publish(self.store, Manifest(dataset=dataset, source=source, key="key", parts=tuple(made)))

    def _write(self, record: type[Any], key: str, records: Sequence[Any]) -> Part:
        return write_part(self.store, key, records, record)

    def audit(self, scores: dict[str, float], source: SourceName = "tabmwp") -> None:
        """Write an audit of dialogues."""
        audits = [audited(record_id, score, source) for record_id, score in scores.items()]
        part = self._write(DialogueAudit, f"dialogue_audit/{source}/part-00000-key", audits)
        parts.publish(self.store, Manifest(dataset="dialogue_audit", source=source, key="key", parts=(part,)))

    def plan(self, facts: Facts | None = None, **choices: Any) -> Plan:
        """Return the plan of a release of all that is there."""
        pictures = PicturesOnDisk(source_root=self.root / "sources", store_root=self.root / "store")
        return Plan(
            store=self.store,
            pictures=pictures,
            data=find_data(self.store),
            choices=Choices(**choices),
            facts=facts or Facts(),
        )

    def publish(self, facts: Facts | None = None, **choices: Any) -> Release:
        """Release all that is there."""
        return publish(self.plan(facts, **choices), ignore)[0]

    def folder(self, release: Release) -> Path:
        """Return where a release lies."""
        return self.root / "store" / release.prefix


def audited(record_id: str, score: float, source: SourceName) -> DialogueAudit:
    """Return an audit by checks, in which only the score matters."""
    return replace(audit_by_checks(make_dialogue(SAMPLE), []), id=record_id, source=source, score=score)


def ignore(source: SourceName, done: int, total: int) -> None:
    """Report to nobody."""


def stock(root: Path, count: int = 60) -> Shop:
    """Return a store with so many dialogues over half as many pictures."""
    shop = Shop(root=root)
    pictures = [shop.draw(number) for number in range(count // 2)]
    shop.put(*(shop.say(number, [pictures[number // 2]]) for number in range(count)))
    return shop


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
