"""What each choice of resources/bm25.py brings on XQuAD's 1,190 questions over 240 paragraphs.

python -m bench.search_words
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tantivy
from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

from bench.search import XQUAD
from mmat_dagster.scoring.retrieval import Means, score_query
from resources.bm25 import STOP_WORDS

ROW = "{:<42} {:>9} {:>9} {:>7}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way to take a text's words."""

    name: str
    stop_words: Sequence[str] = ()
    stems: bool = False
    titles: int = 0


CHOICES = (
    Choice(name="words"),
    Choice(name="without stop words", stop_words=STOP_WORDS),
    Choice(name="stems", stems=True),
    Choice(name="stems without stop words", stop_words=STOP_WORDS, stems=True),
    Choice(name="words and title, without stop words", stop_words=STOP_WORDS, titles=1),
    Choice(name="stems and title, without stop words", stop_words=STOP_WORDS, stems=True, titles=1),
    Choice(name="stems and title twice, without stop words", stop_words=STOP_WORDS, stems=True, titles=2),
)


def analyzer(choice: Choice) -> tantivy.TextAnalyzer:
    """Return what takes the words of a text."""
    built = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.ascii_fold()).filter(Filter.lowercase())
    if choice.stop_words:
        built = built.filter(Filter.custom_stopword(list(choice.stop_words)))
    return (built.filter(Filter.stemmer("english")) if choice.stems else built).build()


def measure(choice: Choice) -> Means:
    """Index the paragraphs and ask all questions."""
    pages = json.loads(XQUAD.read_text("utf-8"))["data"]
    paragraphs = [(page["title"].replace("_", " "), item) for page in pages for item in page["paragraphs"]]
    fields = tantivy.SchemaBuilder()
    fields.add_text_field("words", tokenizer_name="words", index_option="freq")
    fields.add_integer_field("number", fast=True)
    schema = fields.build()
    index = tantivy.Index(schema)
    words = analyzer(choice)
    index.register_tokenizer("words", words)
    writer = index.writer(num_threads=1)
    for number, (title, item) in enumerate(paragraphs):
        writer.add_document(tantivy.Document(words=f"{title} " * choice.titles + item["context"], number=number))
    writer.commit()
    index.reload()
    searcher, means = index.searcher(), Means()
    for number, (_, item) in enumerate(paragraphs):
        for asked in item["qas"]:
            terms = [tantivy.Query.term_query(schema, "words", word) for word in words.analyze(asked["question"])]
            wanted = tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])
            at = [address for _, address in searcher.search(wanted, 10, count=False).hits]
            found = [str(each) for each in searcher.fast_field_values("number", at)]
            means.add(score_query(found, {str(number): 1}, (1, 3, 10)))
    return means


def main() -> None:
    """Print one line a choice."""
    if not XQUAD.is_file():
        sys.exit("XQuAD is not at hand")
    print(ROW.format("", "recall@1", "recall@3", "MRR@10"))
    for choice in CHOICES:
        told = measure(choice).values
        print(ROW.format(choice.name, *(f"{told[name]:.4f}" for name in ("recall_1", "recall_3", "mrr_cut_10"))))


if __name__ == "__main__":
    main()
