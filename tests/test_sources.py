"""The five readers: every layout as its publisher ships it, and every kind of damage that must cost one record only."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmat_dagster.licences import licence_of
from mmat_dagster.schema import Rejection, RejectionReason, Round, SourceName, SourceRecord
from mmat_dagster.sources import READERS, check_layout
from mmat_dagster.sources.layout import SourceAbsent, SourceError, SourceLayoutError

RECEIPT = {
    "question": "What is the total amount in the invoice shown in the picture?",
    "answer": "$8.20",
    "image": "X1.jpg",
    "width": 100,
    "height": 200,
    "bboxs": [[10, 20, 30, 40]],
    "dataset": "sroie",
    "split": "train",
}
PROBLEM = {
    "question": "What is the weight of the lightest child?",
    "choices": None,
    "answer": "10",
    "unit": "pounds",
    "table_title": "Children's weights (lbs)",
    "table": "Stem | Leaf\n1 | 0",
    "solution": "The lightest child weighs 10 pounds.",
    "ques_type": "free_text",
    "ans_type": "integer_number",
    "grade": 8,
    "split": "train",
}
SMALLEST = {
    "question": "Q?",
    "choices": None,
    "answer": "1",
    "unit": None,
    "ques_type": "free_text",
    "ans_type": "integer_number",
    "split": "dev",
}
BIRD = {
    "data_id": "infoseek_train_00000001",
    "image_id": "oven_04000001",
    "question": "What is the length of this bird in centimetre?",
    "answer": ["120-170"],
    "answer_eval": [{"wikidata": 145.0, "range": [120, 170.5]}],
    "data_split": "train",
}
VISUAL_COT_PARTS = "cub docvqa dude flickr30k gqa infographicsvqa openimages sroie textcap textvqa v7w vsr".split()
GEOMETRY = "Question: Find TQ.\nChoices:\nA. 2.7\nB. 5.4\nC. 6\nAnswer with the letter."


def staged(conclusion: str) -> str:
    return (
        "<SUMMARY> I look. </SUMMARY>\n\n<CAPTION> Two animals. </CAPTION>\n\n"
        f"<REASONING> One has fur.\nSo it is it. </REASONING>\n\n<CONCLUSION> {conclusion} </CONCLUSION>"
    )


def dialogue(*rounds: tuple[str, str], image: str = "SQA/train/1/image.png", name: str = "d1") -> dict[str, Any]:
    messages = [
        {"from": speaker, "value": value}
        for human, gpt in rounds
        for speaker, value in (("human", human), ("gpt", gpt))
    ]
    return {"id": name, "image": image, "conversations": messages}


def write_lines(path: Path, *records: Mapping[str, Any] | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (record if isinstance(record, bytes) else json.dumps(record).encode() for record in records)
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def write_problems(path: Path, problems: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(problems), encoding="utf-8")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text = pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())])
    shape = pa.schema([("images", pa.list_(image)), ("texts", pa.list_(text))])
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=shape)
    pq.write_table(table, path, row_group_size=100, use_dictionary=False)


def row(*texts: tuple[str, str], image: bytes | None = b"pixels") -> dict[str, Any]:
    images = [{"bytes": image, "path": "a.png"}]
    return {
        "images": images,
        "texts": [{"user": user, "assistant": reply, "source": "s"} for user, reply in texts],
    }


def read(name: SourceName, folder: Path) -> list[SourceRecord | Rejection]:
    return list(READERS[name].read(folder))


def kept(name: SourceName, folder: Path) -> list[SourceRecord]:
    found = read(name, folder)
    assert [one for one in found if isinstance(one, Rejection)] == []
    return [one for one in found if isinstance(one, SourceRecord)]


def lost(name: SourceName, folder: Path) -> list[tuple[RejectionReason, str]]:
    return [(one.reason, one.detail) for one in read(name, folder) if isinstance(one, Rejection)]


def ids(found: Iterable[SourceRecord | Rejection]) -> list[str]:
    return [one.id for one in found if isinstance(one, SourceRecord)]


# Layout


def test_there_is_a_reader_for_every_source() -> None:
    assert set(READERS) == set(get_args(SourceName))
    assert all(reader.name == name for name, reader in READERS.items())


@pytest.mark.parametrize("name", get_args(SourceName))
def test_an_absent_folder_is_told_with_what_belongs_there(name: SourceName, tmp_path: Path) -> None:
    with pytest.raises(SourceAbsent) as error:
        check_layout(name, tmp_path / name)
    told = str(error.value)
    reader = READERS[name]
    assert all(part in told for part in (name, str(tmp_path / name), reader.publisher, *reader.expects))
    assert "\n" not in told


@pytest.mark.parametrize("name", get_args(SourceName))
def test_a_folder_without_annotation_files_is_another_error_than_an_absent_one(
    name: SourceName, tmp_path: Path
) -> None:
    (tmp_path / "unrelated.txt").write_text("x", encoding="utf-8")
    with pytest.raises(SourceLayoutError, match="none of its annotation files") as error:
        check_layout(name, tmp_path)
    assert isinstance(error.value, SourceError)
    assert not isinstance(error.value, SourceAbsent)


def test_a_sound_folder_passes_the_layout_check(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems_train.json", {"1": PROBLEM})
    assert check_layout("tabmwp", tmp_path) == tmp_path


# Visual CoT


def test_visual_cot_reads_question_answer_image_and_box(tmp_path: Path) -> None:
    write_lines(tmp_path / "viscot_dataset" / "sroie_cot_train.jsonl", RECEIPT)
    (record,) = kept("visual_cot", tmp_path)
    (box,) = record.annotations.boxes
    assert (record.id, record.part) == ("visual_cot/sroie/1", "sroie")
    assert record.licence == licence_of("visual_cot", "sroie").name
    assert (record.question, record.answers, record.answer_type) == (RECEIPT["question"], ("$8.20",), "number")
    assert record.images == ("cot/sroie/X1.jpg",)
    assert (box.phrase, box.image, box.x1, box.y1, box.x2, box.y2) == ("total amount", 0, 10, 20, 30, 40)


def test_visual_cot_finds_the_images_where_the_published_archive_unpacks(tmp_path: Path) -> None:
    write_lines(tmp_path / "viscot_dataset" / "sroie_cot_train.jsonl", RECEIPT)
    (tmp_path / "cot_image_data").mkdir()
    assert kept("visual_cot", tmp_path)[0].images == ("cot_image_data/sroie/X1.jpg",)


@pytest.mark.parametrize(
    "box",
    [
        [10, 20, 10, 40],
        [30, 20, 10, 40],
        [-1, 20, 30, 40],
        [10, 20, 101, 40],
        [10, 20, 30, 201],
        [10, 20, 30],
        [10, 20, 30, "40"],
        [10, 20, 30, None],
        "[10, 20, 30, 40]",
        [True, 20, 30, 40],
    ],
)
def test_a_bad_box_is_dropped_and_its_question_kept(box: Any, tmp_path: Path) -> None:
    noisy = RECEIPT | {"bboxs": [box, [1, 2, 100, 200]]}
    write_lines(tmp_path / "viscot_dataset" / "sroie_cot_train.jsonl", noisy)
    (record,) = kept("visual_cot", tmp_path)
    assert [(one.x1, one.y1, one.x2, one.y2) for one in record.annotations.boxes] == [(1, 2, 100, 200)]


def test_visual_cot_ids_are_line_numbers_whatever_happens_to_other_lines(tmp_path: Path) -> None:
    write_lines(tmp_path / "viscot_dataset" / "vsr_cot_train.jsonl", RECEIPT, b"{broken", b"", RECEIPT)
    found = read("visual_cot", tmp_path)
    assert ids(found) == ["visual_cot/vsr/1", "visual_cot/vsr/4"]
    assert [one.record_id for one in found if isinstance(one, Rejection)] == ["visual_cot/vsr/2"]


def test_visual_cot_takes_further_spellings_and_the_full_sentence_as_gold(tmp_path: Path) -> None:
    path = tmp_path / "viscot_dataset" / "docvqa_cot_train.jsonl"
    write_lines(
        path,
        RECEIPT | {"answer": "P. Carter", "possible_answers": ["P. Carter", "p. carter", 7], "full_answer": None},
        RECEIPT | {"answer": "Yes", "full_answer": "Yes, the lamp is on.", "possible_answers": "yes"},
    )
    first, second = kept("visual_cot", tmp_path)
    assert first.answers == ("P. Carter", "p. carter")
    assert (second.answers, second.answer_type) == (("Yes", "yes", "Yes, the lamp is on."), "yes_no")


def test_a_box_that_stands_twice_is_one_box(tmp_path: Path) -> None:
    twice = RECEIPT | {"bboxs": [[10, 20, 30, 40], [10, 20, 30, 40.0]]}
    write_lines(tmp_path / "viscot_dataset" / "docvqa_cot_train.jsonl", twice)
    assert len(kept("visual_cot", tmp_path)[0].annotations.boxes) == 1


def test_textcap_asks_about_the_images_of_textvqa_unless_it_has_its_own(tmp_path: Path) -> None:
    write_lines(tmp_path / "viscot_dataset" / "textcap_cot_train.jsonl", RECEIPT)
    assert kept("visual_cot", tmp_path)[0].images == ("cot/textvqa/X1.jpg",)
    (tmp_path / "cot" / "textcap").mkdir(parents=True)
    assert kept("visual_cot", tmp_path)[0].images == ("cot/textcap/X1.jpg",)


def test_an_image_in_a_sub_folder_keeps_it_and_an_absolute_path_is_left_for_foundation_to_refuse(
    tmp_path: Path,
) -> None:
    names = ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", "/etc/passwd")
    path = tmp_path / "viscot_dataset" / "cub_cot_train.jsonl"
    write_lines(path, *(RECEIPT | {"image": name} for name in names))
    assert [one.images[0] for one in kept("visual_cot", tmp_path)] == [f"cot/cub/{names[0]}", "/etc/passwd"]


def test_the_parts_are_found_where_the_dataset_keeps_them_too(tmp_path: Path) -> None:
    for part in VISUAL_COT_PARTS:
        write_lines(tmp_path / "metadata" / f"{part}_cot_train.jsonl", RECEIPT)
    assert [record.part for record in kept("visual_cot", tmp_path)] == VISUAL_COT_PARTS


def merged_entry(question: str, answer: str, box: str) -> dict[str, Any]:
    request = "Please provide the bounding box coordinate of the region that can help you answer the question better."
    return {
        "question_id": 1,
        "image": ["cot/v7w/v7w_276.jpg", f"cot/v7w/v7w_276.jpg###{box}"],
        "conversations": [
            {"from": "human", "value": f"<image>\n{question} {request}"},
            {"from": "gpt", "value": "[0.697, 0.509, 0.784, 0.664]"},
            {"from": "human", "value": "<image>"},
            {"from": "gpt", "value": answer},
        ],
        "dataset": "v7w",
        "split": "train",
    }


def test_the_merged_file_holds_pixels_and_is_read_where_no_lines_are(tmp_path: Path) -> None:
    entries = [
        merged_entry("What is on the desk?", "A lamp.", "[446, 246, 502, 345]"),
        merged_entry("Is the lamp on?", "Yes", "[0.1, 0.2, 0.3, 0.4]"),
    ]
    (tmp_path / "viscot_363k.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")
    first, second = kept("visual_cot", tmp_path)
    (box,) = first.annotations.boxes
    assert (first.id, first.part, first.question) == ("visual_cot/363k/1", "v7w", "What is on the desk?")
    assert (first.answers, first.images) == (("A lamp.",), ("cot/v7w/v7w_276.jpg",))
    assert (box.phrase, box.x1, box.y1, box.x2, box.y2) == ("desk", 446, 246, 502, 345)
    assert (second.answer_type, second.annotations.boxes) == ("yes_no", ())

    write_lines(tmp_path / "viscot_dataset" / "sroie_cot_train.jsonl", RECEIPT)
    assert [record.part for record in kept("visual_cot", tmp_path)] == ["sroie"]


def test_a_merged_entry_names_its_part_and_may_ask_to_think_step_by_step(tmp_path: Path) -> None:
    entry = merged_entry("What brand?", "Acme", "[1, 2, 30, 40]") | {"dataset": "textcap"}
    value = entry["conversations"][0]["value"].replace("Please provide", "Please think step by step and provide")
    entry["conversations"][0]["value"] = value
    (tmp_path / "viscot_363k.json").write_text(json.dumps([entry]), encoding="utf-8")
    (record,) = kept("visual_cot", tmp_path)
    assert (record.part, record.question) == ("textcap", "What brand?")


def test_a_merged_entry_without_reply_or_image_is_rejected(tmp_path: Path) -> None:
    sound = merged_entry("What?", "x", "[1, 2, 30, 40]")
    silent = sound | {"conversations": sound["conversations"][:1]}
    (tmp_path / "viscot_363k.json").write_text(json.dumps([silent, sound | {"image": []}, sound]), encoding="utf-8")
    found = read("visual_cot", tmp_path)
    assert [one.reason for one in found if isinstance(one, Rejection)] == ["unreadable record"] * 2
    assert ids(found) == ["visual_cot/363k/3"]


# LLaVA-CoT


def test_llava_cot_reads_the_four_stages_and_the_options(tmp_path: Path) -> None:
    question = "<image>\nWhich is a mammal?\nA. newt\nB. koala\n"
    instruction = "Answer with the option's letter from the given choices directly."
    write_lines(tmp_path / "train.jsonl", dialogue((question + instruction, staged("B"))))
    (record,) = kept("llava_cot", tmp_path)
    assert (record.id, record.part, record.images) == ("llava_cot/d1", "sqa", ("SQA/train/1/image.png",))
    assert (record.question, record.choices) == ("Which is a mammal?", ("newt", "koala"))
    assert (record.answers, record.answer_type) == (("B",), "option_letter")
    assert (record.annotations.summary, record.annotations.caption) == ("I look.", "Two animals.")
    assert record.annotations.reasoning == "One has fur.\nSo it is it."


def test_a_later_round_has_the_earlier_ones_as_context(tmp_path: Path) -> None:
    rounds = [("<image>\nHow many?", staged("3")), ("Which colour?", staged("red")), ("Is it big?", staged("No"))]
    write_lines(tmp_path / "train.jsonl", dialogue(*rounds, name="coco/1.jpg"))
    records = kept("llava_cot", tmp_path)
    assert [one.id for one in records] == [f"llava_cot/coco/1.jpg{suffix}" for suffix in ("", "#2", "#3")]
    assert [one.answer_type for one in records] == ["number", "word_or_phrase", "yes_no"]
    assert records[0].context == ()
    assert records[2].context == (
        Round(question="How many?", answer="3"),
        Round(question="Which colour?", answer="red"),
    )


def test_a_conclusion_that_explains_leaves_the_options_in_the_question(tmp_path: Path) -> None:
    question = "Which is a mammal?\nA. newt\nB. koala"
    answer = "Neither can be told from what this blurred picture shows"
    write_lines(tmp_path / "train.jsonl", dialogue((question, staged(answer))))
    (record,) = kept("llava_cot", tmp_path)
    assert (record.question, record.choices, record.answers) == (question, (), (answer,))
    assert record.answer_type == "free_text"


def test_a_conclusion_may_spell_the_option_out(tmp_path: Path) -> None:
    question = "Which is a mammal? A. newt B. koala"
    write_lines(
        tmp_path / "train.jsonl",
        dialogue((question, staged("B. Koala")), name="letter"),
        dialogue((question, staged("koala")), name="text"),
    )
    letter, text = kept("llava_cot", tmp_path)
    assert (letter.answers, letter.answer_type) == (("B",), "option_letter")
    assert (text.answers, text.answer_type) == (("koala",), "option_text")


def test_llava_cot_rejects_the_broken_round_and_keeps_the_others(tmp_path: Path) -> None:
    rounds = [
        ("How many?", "<SUMMARY> I look. </SUMMARY>"),
        ("Which?\nA. x\nB. y", staged("C")),
        (" <image> ", staged("3")),
        ("What?", staged("it")),
    ]
    write_lines(tmp_path / "train.jsonl", dialogue(*rounds), dialogue(name="empty"))
    found = read("llava_cot", tmp_path)
    assert [(one.record_id, one.reason) for one in found if isinstance(one, Rejection)] == [
        ("llava_cot/d1", "no gold answer"),
        ("llava_cot/d1#2", "answer not among the choices"),
        ("llava_cot/d1#3", "empty question"),
        ("llava_cot/empty", "unreadable record"),
    ]
    assert ids(found) == ["llava_cot/d1#4"]
    assert [one.context for one in found if isinstance(one, SourceRecord)] == [()]


def test_llava_cot_speakers_must_take_turns(tmp_path: Path) -> None:
    unanswered = dialogue(("Q?", staged("a")))
    unanswered["conversations"].append({"from": "human", "value": "And?"})
    swapped = dialogue(("Q?", staged("a")))
    swapped["conversations"].reverse()
    write_lines(tmp_path / "train.jsonl", unanswered, swapped)
    assert lost("llava_cot", tmp_path) == [
        ("unreadable record", f"train.jsonl:{line}: human and gpt do not take turns") for line in (1, 2)
    ]


@pytest.mark.parametrize(
    ("image", "part"),
    [
        ("geoqa+/images/4131.png", "geoqa+"),
        ("chartqa/train/png/two_col_2954.png", "chartqa"),
        ("./CLEVR_v1.0/images/train/CLEVR_train_000001.png", "clevr_v1.0"),
        ("one.png", "one.png"),
        ("", "unknown"),
    ],
)
def test_a_llava_cot_part_is_the_folder_of_its_images(image: str, part: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", dialogue(("Q?", staged("a")), image=image))
    (record,) = kept("llava_cot", tmp_path)
    assert (record.part, record.images) == (part, (image,))


# The Cauldron


def test_the_cauldron_reads_lettered_choices_in_either_spelling(tmp_path: Path) -> None:
    other = "Find TQ.\nChoices:\nA: 2.7\nB: 5.4\nAnswer with the letter."
    rows = [row((GEOMETRY, "Answer: B")), row((other, "Answer: A"))]
    write_rows(tmp_path / "intergps" / "train-00000-of-00001.parquet", rows)
    first, second = kept("the_cauldron", tmp_path)
    assert (first.question, first.choices) == ("Find TQ.", ("2.7", "5.4", "6"))
    assert (first.answers, first.answer_type, first.part) == (("B",), "option_letter", "intergps")
    assert first.images == (b"pixels",)
    assert first.licence == licence_of("the_cauldron", "intergps").name
    assert (second.question, second.choices, second.answers) == ("Find TQ.", ("2.7", "5.4"), ("A",))
    assert [first.id, second.id] == ["the_cauldron/intergps/00000/0", "the_cauldron/intergps/00000/1"]


@pytest.mark.parametrize(
    ("subset", "raw", "asked", "kind"),
    [
        (
            "st_vqa",
            ("What is it?\nGive a very brief answer.", "Coca cola."),
            ("What is it?", "Coca cola"),
            "word_or_phrase",
        ),
        ("hateful_memes", ("Is it hateful?\nAnswer yes or no.", "Yes."), ("Is it hateful?", "Yes"), "yes_no"),
        ("robut_wtq", ("How many?\nKeep it short and to the point.", "78."), ("How many?", "78"), "number"),
        ("iconqa", ("Fill in the blank. 2 + 2 = (_)", "4"), ("Fill in the blank. 2 + 2 = (_)", "4"), "number"),
        ("raven", ("Which figure comes next?", "B"), ("Which figure comes next?", "B"), "option_letter"),
        (
            "raven",
            ("Choose the appropriate letter.", "Answer: F."),
            ("Choose the appropriate letter.", "F"),
            "option_letter",
        ),
        ("hateful_memes", ("Is this hateful?\nQuick response, please.", "No."), ("Is this hateful?", "No"), "yes_no"),
        ("screen2words", ("Describe it in short.", "A menu."), ("Describe it in short.", "A menu."), "free_text"),
    ],
)
def test_a_subset_loses_its_instruction_and_full_stop(
    subset: str, raw: tuple[str, str], asked: tuple[str, str], kind: str, tmp_path: Path
) -> None:
    write_rows(tmp_path / subset / "train-00000-of-00001.parquet", [row(raw)])
    (record,) = kept("the_cauldron", tmp_path)
    assert ((record.question, *record.answers), record.answer_type) == (asked, kind)


def test_several_images_stand_in_order_as_bytes_or_as_the_path_that_took_their_place(tmp_path: Path) -> None:
    many = row(("Which one?\nChoices:\nA. left\nB. right\nAnswer with the letter.", "Answer: B"))
    many["images"] = [
        {"bytes": b"one", "path": None},
        {"bytes": None, "path": "choice/1.png"},
        {"bytes": b"", "path": "2.png"},
    ]
    write_rows(tmp_path / "iconqa" / "train-00000-of-00001.parquet", [many, row(("Q?", "a"), image=None)])
    first, second = kept("the_cauldron", tmp_path)
    assert first.images == (b"one", "iconqa/choice/1.png", "iconqa/2.png")
    assert (first.choices, first.answers) == (("left", "right"), ("B",))
    assert second.images == ("iconqa/a.png",)


def test_a_batch_with_a_null_is_read_row_by_row_to_the_same_records(tmp_path: Path) -> None:
    rows = [row((f"Q{number}?", "a"), (f"R{number}?", "b")) for number in range(50)]
    write_rows(tmp_path / "tqa" / "train-00000-of-00001.parquet", rows)
    by_columns = kept("the_cauldron", tmp_path)
    write_rows(tmp_path / "tqa" / "train-00000-of-00001.parquet", [*rows, {"images": [], "texts": None}])
    row_by_row = read("the_cauldron", tmp_path)
    assert row_by_row[:-1] == by_columns
    assert isinstance(row_by_row[-1], Rejection)


def test_a_column_of_text_where_bytes_belong_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "raven" / "train-00000-of-00001.parquet"
    path.parent.mkdir()
    worded = {"images": [{"bytes": "aGk=", "path": None}], "texts": [{"user": "Q?", "assistant": "B"}]}
    pq.write_table(pa.Table.from_pylist([worded]), path)
    assert [reason for reason, _ in lost("the_cauldron", tmp_path)] == ["unreadable record"]


def test_row_groups_that_were_read_are_let_go(tmp_path: Path) -> None:
    noise = Random(0)
    rows = [row(("Which?", "B"), image=noise.randbytes(20_000)) for _ in range(3000)]
    write_rows(tmp_path / "raven" / "train-00000-of-00001.parquet", rows)
    held = pa.total_allocated_bytes()
    peaks = [pa.total_allocated_bytes() - held for _ in READERS["the_cauldron"].read(tmp_path)]
    assert len(peaks) == 3000
    assert max(peaks) < 3000 * 20_000 / 4


def test_the_cauldron_rounds_share_images_and_give_context(tmp_path: Path) -> None:
    head = "Provide succinct answers for each question.\nWho won?"
    write_rows(tmp_path / "robut_wikisql" / "train-00003-of-00009.parquet", [row((head, "Ann."), ("When?", "1999."))])
    first, second = kept("the_cauldron", tmp_path)
    assert [first.id, second.id] == [
        "the_cauldron/robut_wikisql/00003/0",
        "the_cauldron/robut_wikisql/00003/0#2",
    ]
    assert second.context == (Round(question="Who won?", answer="Ann"),)
    assert second.images == first.images


def test_the_cauldron_rejects_what_is_broken_and_goes_on(tmp_path: Path) -> None:
    rows = [
        row((GEOMETRY, "Answer: D")),
        row((GEOMETRY, "Answer: eleven")),
        row(("", "x")),
        row(("Q?", "")),
        row(),
        {"images": [], "texts": None},
        row((GEOMETRY, "Answer: A")),
    ]
    write_rows(tmp_path / "tqa" / "train-00000-of-00002.parquet", rows)
    (tmp_path / "tqa" / "train-00001-of-00002.parquet").write_bytes(b"PAR1 no parquet")
    found = read("the_cauldron", tmp_path)
    assert [(one.record_id, one.reason) for one in found if isinstance(one, Rejection)] == [
        ("the_cauldron/tqa/00000/0", "answer not among the choices"),
        ("the_cauldron/tqa/00000/1", "answer not among the choices"),
        ("the_cauldron/tqa/00000/2", "empty question"),
        ("the_cauldron/tqa/00000/3", "no gold answer"),
        ("the_cauldron/tqa/00000/4", "empty question"),
        ("the_cauldron/tqa/00000/5", "unreadable record"),
        ("the_cauldron/tqa/00001", "unreadable record"),
    ]
    assert ids(found) == ["the_cauldron/tqa/00000/6"]


def test_a_parquet_file_of_other_columns_is_told_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "raven" / "train-00000-of-00001.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"images": [[]], "question": ["Q?"]}), path)
    assert lost("the_cauldron", tmp_path) == [
        ("unreadable record", "raven/train-00000-of-00001.parquet: row 0: Object missing required field `texts`")
    ]


def test_a_string_that_is_no_utf8_costs_its_row_only(tmp_path: Path) -> None:
    path = tmp_path / "st_vqa" / "train-00000-of-00001.parquet"
    write_rows(path, [row(("Q?", "good")), row(("Q?", "bad1")), row(("Q?", "fine"))])
    table: Any = pq.read_table(path)
    texts = table.column("texts").combine_chunks()
    replies = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary()).view(pa.string())
    fields = [texts.values.field("user"), replies, texts.values.field("source")]
    struct = pa.StructArray.from_arrays(fields, names=["user", "assistant", "source"])
    damaged = pa.ListArray.from_arrays(texts.offsets, struct)
    pq.write_table(pa.table({"images": table.column("images"), "texts": damaged}), path)
    found = read("the_cauldron", tmp_path)
    assert ids(found) == ["the_cauldron/st_vqa/00000/0", "the_cauldron/st_vqa/00000/2"]
    assert [one.record_id for one in found if isinstance(one, Rejection)] == ["the_cauldron/st_vqa/00000/1"]


def test_other_subsets_are_not_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "vqav2" / "train-00000-of-00001.parquet", [row(("Q?", "a"))])
    assert READERS["the_cauldron"].annotation_files(tmp_path) == []


# TabMWP


def test_tabmwp_reads_problem_table_and_solution(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems_train.json", {"117": PROBLEM})
    (record,) = kept("tabmwp", tmp_path)
    assert (record.id, record.part, record.images) == ("tabmwp/117", "train", ("tables/117.png",))
    assert (record.question, record.answers, record.unit) == (PROBLEM["question"], ("10",), "pounds")
    assert (record.answer_type, record.choices) == ("number", ())
    assert record.annotations.reasoning == PROBLEM["solution"]
    assert (record.annotations.table, record.annotations.table_title) == (PROBLEM["table"], PROBLEM["table_title"])
    assert record.licence == licence_of("tabmwp", "train").name


def test_a_tabmwp_choice_is_answered_with_its_text(tmp_path: Path) -> None:
    chosen = PROBLEM | {"choices": ["linear", "nonlinear"], "answer": "linear", "ques_type": "multi_choice"}
    wrong = chosen | {"answer": "curved"}
    worded = PROBLEM | {"ans_type": "extractive_text", "answer": "Ann"}
    write_problems(tmp_path / "problems_train.json", {"1": chosen, "2": wrong, "3": worded})
    found = read("tabmwp", tmp_path)
    assert [(one.answer_type, one.choices) for one in found if isinstance(one, SourceRecord)] == [
        ("option_text", ("linear", "nonlinear")),
        ("word_or_phrase", ()),
    ]
    assert lost("tabmwp", tmp_path) == [
        ("answer not among the choices", "problems_train.json: entry 2: 'curved' is none of 2 choices")
    ]


def test_a_file_of_test_problems_is_never_opened(tmp_path: Path) -> None:
    for name in ("problems_test.json", "problems_test1k.json"):
        write_problems(tmp_path / name, {"9": PROBLEM})
    write_problems(tmp_path / "problems_train.json", {"2": PROBLEM})
    assert ids(read("tabmwp", tmp_path)) == ["tabmwp/2"]
    assert [path.name for path in READERS["tabmwp"].annotation_files(tmp_path)] == ["problems_train.json"]


def test_a_problem_held_out_by_its_record_or_by_the_splits_is_told_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(json.dumps({"train": [1, 3], "dev": [], "test": [2]}), encoding="utf-8")
    problems = {"1": PROBLEM, "2": PROBLEM, "3": PROBLEM | {"split": "test"}, "4": PROBLEM}
    write_problems(tmp_path / "problems_train.json", problems)
    found = read("tabmwp", tmp_path)
    assert ids(found) == ["tabmwp/1", "tabmwp/4"]
    files = [path.name for path in READERS["tabmwp"].annotation_files(tmp_path)]
    assert files == ["problems_train.json", "splits.json"]
    assert [(one.record_id, one.reason, one.detail) for one in found if isinstance(one, Rejection)] == [
        ("tabmwp/2", "held out for testing", "problems_train.json: entry 2: so says splits.json"),
        ("tabmwp/3", "held out for testing", "problems_train.json: entry 3: so says its own record"),
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"test": 7}', '{"test": [1.5]}'])
def test_broken_splits_are_told_and_the_records_own_splits_hold(text: str, tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(text, encoding="utf-8")
    write_problems(tmp_path / "problems_train.json", {"1": PROBLEM, "2": PROBLEM | {"split": "test"}})
    found = read("tabmwp", tmp_path)
    assert ids(found) == ["tabmwp/1"]
    assert [(one.record_id, one.reason) for one in found if isinstance(one, Rejection)] == [
        ("tabmwp/splits.json", "unreadable record"),
        ("tabmwp/2", "held out for testing"),
    ]


def test_a_selection_is_not_read_beside_the_whole_split(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems_dev1k.json", {"1": PROBLEM})
    assert ids(read("tabmwp", tmp_path)) == ["tabmwp/1"]
    write_problems(tmp_path / "problems_dev.json", {"1": PROBLEM, "2": PROBLEM})
    assert ids(read("tabmwp", tmp_path)) == ["tabmwp/1", "tabmwp/2"]


def test_a_broken_problem_costs_itself_only(tmp_path: Path) -> None:
    problems = {
        "1": {key: value for key, value in PROBLEM.items() if key != "answer"},
        "2": PROBLEM | {"answer": 10},
        "3": PROBLEM | {"question": " \n"},
        "4": PROBLEM | {"answer": ""},
        "5": "no object",
        "6": PROBLEM,
    }
    write_problems(tmp_path / "problems_train.json", problems)
    assert lost("tabmwp", tmp_path) == [
        ("unreadable record", "problems_train.json: entry 1: Object missing required field `answer`"),
        ("unreadable record", "problems_train.json: entry 2: Expected `str`, got `int` - at `$.answer`"),
        ("empty question", "problems_train.json: entry 3"),
        ("no gold answer", "problems_train.json: entry 4"),
        ("unreadable record", "problems_train.json: entry 5: Expected `object`, got `str`"),
    ]
    assert ids(read("tabmwp", tmp_path)) == ["tabmwp/6"]


def test_a_key_that_stands_twice_is_read_twice(tmp_path: Path) -> None:
    one = json.dumps(PROBLEM)
    (tmp_path / "problems_train.json").write_text(f'{{"1": {one}, "1": {one}}}', encoding="utf-8")
    assert ids(read("tabmwp", tmp_path)) == ["tabmwp/1", "tabmwp/1"]


@pytest.mark.parametrize("length", [0, 1, 5, 300, -2, -1])
def test_a_file_that_breaks_off_keeps_what_stands_before_and_tells_of_the_break(length: int, tmp_path: Path) -> None:
    whole = json.dumps({"1": PROBLEM, "2": PROBLEM}, indent=2)
    (tmp_path / "problems_train.json").write_text(whole[:length], encoding="utf-8")
    found = read("tabmwp", tmp_path)
    assert [one.reason for one in found if isinstance(one, Rejection)] == ["unreadable record"]
    assert isinstance(found[-1], Rejection)
    assert "problems_train.json" in found[-1].detail


@pytest.mark.parametrize("rest", [{"1": PROBLEM}, SMALLEST, {}, "x"])
@pytest.mark.parametrize("opening", ["{}", "[]"])
def test_what_stands_behind_the_end_of_a_file_is_told_and_not_read(opening: str, rest: Any, tmp_path: Path) -> None:
    (tmp_path / "problems_train.json").write_text(opening + json.dumps(rest), encoding="utf-8")
    (found,) = lost("tabmwp", tmp_path)
    assert found[0] == "unreadable record"
    assert found[1].startswith("problems_train.json: more stands behind the end, after entry 0: ")
    assert len(read("tabmwp", tmp_path)) == 1


def test_an_empty_object_holds_no_problems(tmp_path: Path) -> None:
    (tmp_path / "problems_train.json").write_bytes(b"\xef\xbb\xbf {} \r\n")
    assert read("tabmwp", tmp_path) == []


# InfoSeek


def test_infoseek_reads_range_image_and_entity(tmp_path: Path) -> None:
    write_lines(tmp_path / "infoseek_train.jsonl", BIRD)
    write_lines(
        tmp_path / "infoseek_train_withkb.jsonl",
        {"data_id": BIRD["data_id"], "entity_id": "Q1", "entity_text": "Demoiselle crane"},
    )
    image = tmp_path / "oven_images" / "04" / "oven_04000001.JPEG"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"x")
    (record,) = kept("infoseek", tmp_path)
    assert (record.id, record.part) == ("infoseek/infoseek_train_00000001", "train")
    assert (record.answers, record.answer_type, record.number_range) == (("120-170",), "number", (120.0, 170.5))
    assert (record.annotations.entity, record.annotations.entity_id) == ("Demoiselle crane", "Q1")
    assert record.images == ("oven_images/04/oven_04000001.JPEG",)


def test_infoseek_aliases_are_gold_too_and_the_first_answer_is_shown(tmp_path: Path) -> None:
    founder = BIRD | {"answer": ["Ōno Tarō"], "answer_eval": ["Taro Ono", "Ōno Tarō"]}
    write_lines(tmp_path / "infoseek_train.jsonl", founder)
    write_lines(tmp_path / "infoseek_val.jsonl", founder | {"data_id": "v", "data_split": "val"})
    first, second = kept("infoseek", tmp_path)
    assert (first.answers, first.answer_type) == (("Ōno Tarō", "Taro Ono"), "word_or_phrase")
    assert (first.number_range, first.annotations.entity) == (None, None)
    assert (second.id, second.part) == ("infoseek/v", "val")


def link(number: int) -> dict[str, str]:
    return {"data_id": f"q{number}", "entity_id": f"Q{number}", "entity_text": f"Tower {number}"}


@pytest.mark.parametrize(
    "order",
    [
        list(range(20)),
        list(reversed(range(20))),
        [*range(10), *range(19, 9, -1)],
        [19, *range(19)],
        [*range(5), 5, 5, *range(6, 20)],
    ],
)
def test_links_find_their_questions_in_whatever_order_they_stand(order: list[int], tmp_path: Path) -> None:
    write_lines(tmp_path / "infoseek_train.jsonl", *(BIRD | {"data_id": f"q{number}"} for number in range(20)))
    write_lines(tmp_path / "infoseek_train_withkb.jsonl", *map(link, order))
    records = kept("infoseek", tmp_path)
    assert [(one.annotations.entity, one.annotations.entity_id) for one in records] == [
        (f"Tower {number}", f"Q{number}") for number in range(20)
    ]


def test_a_question_without_a_link_has_no_entity_and_broken_links_cost_nothing_else(tmp_path: Path) -> None:
    write_lines(tmp_path / "infoseek_train.jsonl", *(BIRD | {"data_id": f"q{number}"} for number in range(6)))
    write_lines(tmp_path / "infoseek_train_withkb.jsonl", link(0), link(2), b"broken", link(4), link(5), b"[]", link(9))
    found = read("infoseek", tmp_path)
    entities = [one.annotations.entity for one in found if isinstance(one, SourceRecord)]
    assert entities == ["Tower 0", None, "Tower 2", None, "Tower 4", "Tower 5"]
    assert [one.record_id for one in found if isinstance(one, Rejection)] == [
        "infoseek/infoseek_train_withkb.jsonl:3",
        "infoseek/infoseek_train_withkb.jsonl:6",
    ]


def test_what_is_broken_behind_the_last_link_is_told(tmp_path: Path) -> None:
    write_lines(tmp_path / "infoseek_train.jsonl", BIRD | {"data_id": "q0"})
    write_lines(tmp_path / "infoseek_train_withkb.jsonl", link(0), link(1), b"broken")
    assert [detail.split(": ")[0] for _, detail in lost("infoseek", tmp_path)] == ["infoseek_train_withkb.jsonl:3"]


def test_a_missing_photo_keeps_its_usual_path(tmp_path: Path) -> None:
    write_lines(tmp_path / "infoseek_train.jsonl", BIRD)
    assert kept("infoseek", tmp_path)[0].images == ("oven_images/04/oven_04000001.jpg",)


def test_infoseek_damage_is_told_by_file_and_line(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "infoseek_train.jsonl",
        BIRD | {"answer": []} | {"answer_eval": []},
        BIRD | {"answer": "120"},
        BIRD | {"answer_eval": [{"range": [1]}]},
        b'{"data_id": "\xff"}',
        BIRD,
    )
    write_lines(tmp_path / "infoseek_train_withkb.jsonl", b"not json")
    found = read("infoseek", tmp_path)
    told = [(one.reason, one.detail.split(": ")[0]) for one in found if isinstance(one, Rejection)]
    assert told == [
        ("unreadable record", "infoseek_train_withkb.jsonl:1"),
        ("no gold answer", "infoseek_train.jsonl:1"),
        ("unreadable record", "infoseek_train.jsonl:2"),
        ("unreadable record", "infoseek_train.jsonl:3"),
        ("unreadable record", "infoseek_train.jsonl:4"),
    ]
    assert len(ids(found)) == 1


def test_only_infoseek_brings_passages_and_titles_alone_are_none(tmp_path: Path) -> None:
    titles = tmp_path / "Wiki6M_ver_1_0_title_only.jsonl"
    titles.write_text("{}", encoding="utf-8")
    find = READERS["infoseek"].passages
    assert find(tmp_path) is None
    for name in ("wiki_small.jsonl", "Wiki6M_ver_1_0.jsonl"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
        assert find(tmp_path) == tmp_path / name
    assert [READERS[name].passages(tmp_path) for name in get_args(SourceName) if name != "infoseek"] == [None] * 4


# What all of them share


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"question": "\\ud800"}',
        b"[" * 100_000,
        json.dumps(RECEIPT | {"question": 7}).encode(),
        json.dumps(RECEIPT | {"image": None}).encode(),
        json.dumps(RECEIPT).encode()[:-1],
        json.dumps(RECEIPT).encode().replace(b"$8.20", b"\xff"),
        json.dumps(RECEIPT).encode().replace(b"$8.20", b"a\x01b"),
        json.dumps(RECEIPT).encode().replace(b"200", b"NaN"),
        json.dumps(RECEIPT).encode().replace(b"200", b"Infinity"),
        json.dumps(RECEIPT).encode().replace(b"200", b"1e999"),
        json.dumps(RECEIPT).encode().replace(b"200", b"9" * 5000),
        json.dumps(RECEIPT).encode().replace(b"200", b"true"),
        json.dumps(RECEIPT).encode().replace(b"sroie", b"\xff"),
        json.dumps(RECEIPT).encode().replace(b"sroie", b"\xed\xa0\x80"),
        json.dumps(RECEIPT).encode().replace(b"sroie", b"\\ud800"),
        json.dumps(RECEIPT).encode().replace(b'"dataset"', b'"\xff"'),
        json.dumps(RECEIPT).encode().replace(b'"sroie"', b"[" * 100_000 + b"]" * 100_000),
        json.dumps(RECEIPT).encode() * 2,
    ],
)
def test_a_broken_line_is_rejected_and_its_neighbours_are_read(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "viscot_dataset" / "sroie_cot_train.jsonl"
    write_lines(path, RECEIPT, line, RECEIPT)
    found = read("visual_cot", tmp_path)
    assert ids(found) == ["visual_cot/sroie/1", "visual_cot/sroie/3"]
    (rejection,) = (one for one in found if isinstance(one, Rejection))
    assert (rejection.source, rejection.stage, rejection.reason) == ("visual_cot", "source_qa", "unreadable record")
    assert rejection.detail.startswith("sroie_cot_train.jsonl:2: ")


def test_byte_order_mark_line_ends_and_blank_lines_are_no_part_of_a_record(tmp_path: Path) -> None:
    line = json.dumps(RECEIPT | {"answer": "Jürgen\r\n"}, ensure_ascii=False).encode()
    path = tmp_path / "viscot_dataset" / "sroie_cot_train.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line)
    first, second = kept("visual_cot", tmp_path)
    assert first.answers == second.answers == ("Jürgen\r\n",)
    assert second.id == "visual_cot/sroie/4"


def test_reading_twice_gives_the_same_records(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", dialogue(("Q?", staged("a")), ("R?", staged("b"))), b"broken")
    assert read("llava_cot", tmp_path) == read("llava_cot", tmp_path)


def test_a_reader_streams(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems_train.json", {str(number): PROBLEM for number in range(50)})
    records = READERS["tabmwp"].read(tmp_path)
    first = next(iter(records))
    assert isinstance(first, SourceRecord)
    assert first.id == "tabmwp/0"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1200), junk=st.binary(max_size=4), cut=st.integers(0, 8))
def test_no_damage_to_a_file_stops_a_reader(at: int, junk: bytes, cut: int, tmp_path: Path) -> None:
    write_problems(tmp_path / "problems_train.json", {"1": PROBLEM, "2": PROBLEM})
    write_lines(tmp_path / "train.jsonl", dialogue(("Q?", staged("a"))), dialogue(("Q?", staged("a"))))
    write_rows(tmp_path / "tqa" / "train-00000-of-00001.parquet", [row((GEOMETRY, "Answer: B"))] * 2)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        data = path.read_bytes()
        path.write_bytes(data[:at] + junk + data[at + cut :])
    sources: tuple[SourceName, ...] = ("tabmwp", "llava_cot", "the_cauldron")
    assert all(read(name, tmp_path) for name in sources)


@pytest.mark.parametrize(("part", "images"), [("visual7w", "v7w"), ("v7w", "visual7w"), ("textcap", "textvqa")])
def test_a_part_whose_images_go_by_another_name_finds_them(part: str, images: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "viscot_dataset" / f"{part}_cot_train.jsonl", RECEIPT)
    (tmp_path / "cot" / images).mkdir(parents=True)
    assert kept("visual_cot", tmp_path)[0].images == (f"cot/{images}/X1.jpg",)
    (tmp_path / "cot" / part).mkdir()
    assert kept("visual_cot", tmp_path)[0].images == (f"cot/{part}/X1.jpg",)
