"""LLaVA-CoT: questions whose answers GPT-4o wrote in four tagged stages, some in several rounds over one image.

train.jsonl, one line; the image path is relative to the source's folder:

{"id": "sqa/train/20839/image.png_h7tn5f1r", "image": "sqa/train/20839/image.png", "conversations": [
    {"from": "human", "value": "<image>\\nWhich animal is a mammal?\\nA. newt\\nB. koala\\nAnswer with the option's
                                letter from the given choices directly."},
    {"from": "gpt", "value": "<SUMMARY> I compare the two. </SUMMARY>\\n\\n<CAPTION> A koala in a tree. </CAPTION>
                              \\n\\n<REASONING> .. </REASONING>\\n\\n<CONCLUSION> B </CONCLUSION>"}]}
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from mmat_dagster.schema import Annotations, Rejection, Round, SourceRecord
from mmat_dagster.sources.json_files import Broken, RawRecord, read_lines
from mmat_dagster.sources.layout import Reader, licence_name, settle, unreadable
from mmat_dagster.sources.wording import Asked, guess_answer_type, read_letter, split_choices, strip_instructions

FILE = "train.jsonl"


class _Message(RawRecord, frozen=True, kw_only=True):
    speaker: str = msgspec.field(name="from")
    value: str


class _Dialogue(RawRecord, frozen=True, kw_only=True):
    id: str
    image: str
    conversations: tuple[_Message, ...]


def annotation_files(folder: Path) -> list[Path]:
    """Return the one annotation file."""
    return [folder / FILE] * (folder / FILE).is_file()


def read(folder: Path) -> Iterator[SourceRecord | Rejection]:
    """Yield every round of every dialogue; a later round has the earlier ones as its context."""
    for path in annotation_files(folder):
        for number, found in read_lines(path, _Dialogue):
            if isinstance(found, Broken):
                yield unreadable("llava_cot", f"llava_cot/{path.name}:{number}", found)
            else:
                yield from _read_rounds(found, f"{path.name}:", number)


def _read_rounds(dialogue: _Dialogue, file: str, number: int) -> Iterator[SourceRecord | Rejection]:
    context: tuple[Round, ...] = ()
    messages = dialogue.conversations
    if not messages or [message.speaker for message in messages] != ["human", "gpt"] * (len(messages) // 2):
        detail = f"{file}{number}: human and gpt do not take turns"
        yield unreadable("llava_cot", f"llava_cot/{dialogue.id}", detail)
        return
    for at in range(0, len(messages), 2):
        record_id = f"llava_cot/{dialogue.id}#{at // 2 + 1}" if at else f"llava_cot/{dialogue.id}"
        record = _record(record_id, dialogue.image, messages[at].value, messages[at + 1].value, context)
        settled = settle(record, file, number)
        yield settled
        if isinstance(settled, SourceRecord) and at + 2 < len(messages):
            context += (Round(question=settled.question, answer=settled.answers[0]),)


def _record(record_id: str, image: str, human: str, gpt: str, context: tuple[Round, ...]) -> SourceRecord:
    asked = _asked(human.replace("<image>", ""), _stage(gpt, "CONCLUSION") or "")
    part = _part(image)
    return SourceRecord(
        id=record_id,
        source="llava_cot",
        part=part,
        question=asked.question,
        answers=(asked.answer,),
        answer_type=asked.answer_type,
        images=(image,),
        choices=asked.choices,
        context=context,
        annotations=Annotations(
            summary=_stage(gpt, "SUMMARY"), caption=_stage(gpt, "CAPTION"), reasoning=_stage(gpt, "REASONING")
        ),
        licence=licence_name("llava_cot", part),
    )


def _part(image: str) -> str:
    """Return the folder that an image's path begins with."""
    folder = image.lstrip("./").partition("/")[0]
    return folder.lower() or "unknown"


def _asked(text: str, conclusion: str) -> Asked:
    whole = strip_instructions(text)
    question, choices = split_choices(whole)
    letter = read_letter(conclusion, choices) if choices else None
    if letter is not None:
        return Asked(question=question, choices=choices, answer=letter, answer_type="option_letter")
    if conclusion in choices:
        return Asked(question=question, choices=choices, answer=conclusion, answer_type="option_text")
    # A conclusion that explains instead of choosing is free text: the choices stay a part of its question.
    return Asked(question=whole, answer=conclusion, answer_type=guess_answer_type(conclusion))


def _stage(reply: str, tag: str) -> str | None:
    """Return what stands between a tag and its end, or the end of the reply."""
    start = reply.find(f"<{tag}>")
    if start < 0:
        return None
    start += len(tag) + 2
    end = reply.find(f"</{tag}>", start)
    return reply[start : end if end >= 0 else None].strip() or None


READER = Reader(
    name="llava_cot",
    publisher="Hugging Face dataset Xkev/LLaVA-CoT-100k",
    expects=(FILE,),
    read=read,
    annotation_files=annotation_files,
)
