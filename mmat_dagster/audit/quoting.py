"""Thoughts that speak of the answer as one that was given, known or expected, rather than reach it.

It is about what is said of an answer that exists before the reasoning ("the standard answer is", "as given in the
answer", "matches the expected answer"), never about the answer itself: "the correct answer is (B)" is how reasoning
ends, "the answer is given in the second row" says where it stands, "the given answer choices" are the question's own.
What the question, its choices or a tool's result say too may be spoken of: pages on tests do have answer keys.
"""

import re
import unicodedata
from collections.abc import Iterator

# Around a quote, so that a person sees what is meant.
_AROUND = 40

# An answer that nobody has before he has reasoned. Solutions are another matter: chemists have standard ones.
_KIND = r"(?:standard|gold(?:en)?|gold[- ]standard|reference|ground[- ]truth|annotated|official|labell?ed)"
_HELD = r"(?:given|provided|supplied|known|pre-?determined)"
_WISHED = r"(?:expected|intended|desired|target)"
_NOT_CHOICES = r"(?![-\s]+(?:choice|option|candidate|format|form|type|style|length|box|list|sheet|set|alternative)s?\b)"
_ANSWER = rf"answer\b{_NOT_CHOICES}"
# Where the answer stands, or what gives it: `the answer is given by the sum`, `... is stated in the passage`.
_SOMEWHERE = (
    r"(?!\s+(?:by|in|on|at|under|within|inside|near|next|beside|beneath|directly|clearly|explicitly|right|below|above|"
    r"there|here|from|through|with|only|when|if|once|as\s+(?:a|an|one)\b))"
)
_PATTERNS = (
    rf"\b{_KIND}\s+answers?\b{_NOT_CHOICES}",
    r"\bground[- ]truth\b",
    rf"\b(?:the|this|that|a)\s+(?:already\s+)?{_HELD}\s+(?:correct\s+|final\s+)?{_ANSWER}",
    rf"\b{_WISHED}\s+(?:correct\s+|final\s+)?{_ANSWER}(?!\s+(?:is|should\s+be|must\s+be)\s+(?:a|an|in|one)\b)",
    rf"\b{_ANSWER}\s*,?\s+(?:that\s+|which\s+)?(?:is|was|has\s+been|had\s+been)\s+(?:already\s+|also\s+)?"
    rf"(?:given|provided|supplied|known|told|revealed)\b{_SOMEWHERE}",
    r"\bas\s+(?:is\s+|was\s+)?(?:given|stated|indicated|provided|shown|specified|told)\s+(?:in|by)\s+the\s+"
    rf"(?:(?:correct|final|{_KIND}|{_HELD})\s+)?{_ANSWER}",
    rf"\b(?:according\s+to|per|work(?:ing|ed)?\s+back(?:wards?)?\s+from)\s+the\s+(?:(?:correct|final|right)\s+)?{_ANSWER}",
    rf"\b(?:match|matches|matching|agrees?\s+with|agreeing\s+with|consistent\s+with|in\s+line\s+with|aligns?\s+with)\s+"
    rf"the\s+(?:correct|right|true|actual)\s+{_ANSWER}(?!\s+(?:is|to)\b)",
    r"\b(?:the|this|my|your)\s+(?:question|prompt|task|instructions?|user|data\s*set|annotations?|system)\s+"
    r"(?:says?|tells?|states?|gives?|provides?|told|gave|said|stated|provided)\s+(?:me\s+|us\s+)?(?:that\s+)?the\s+"
    rf"(?:correct\s+|final\s+)?{_ANSWER}(?!\s+(?:is|must\s+be|should\s+be|has\s+to\s+be)\s+(?:a|an|one|in|to)\b)",
    r"\bI\s+(?:already\s+know|was\s+(?:told|given)|am\s+(?:told|given)|have\s+been\s+(?:told|given))\s+(?:that\s+)?the\s+"
    rf"(?:correct\s+|final\s+)?{_ANSWER}",
    r"\banswer\s+key\b",
)
_QUOTES = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)


def find_quotes(thought: str, material: str) -> Iterator[str]:
    """Yield each place where `thought` speaks of a given answer in words that `material` does not hold itself."""
    text = _normalised(thought)
    for match in _QUOTES.finditer(text):
        if match[0].casefold() not in _normalised(material).casefold():
            yield f"… {text[max(0, match.start() - _AROUND) : match.end() + _AROUND].strip()} …"


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())
