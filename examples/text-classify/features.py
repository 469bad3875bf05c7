"""What the classifier sees of a sentence: words of Latin script, and single and paired Chinese characters."""

import re
import unicodedata
from collections.abc import Iterator

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[\u4e00-\u9fff]+")
_MIN_STEM = 4  # letters; shorter words keep their ending


def features(text: str) -> Iterator[str]:
    """Yield the features of one sentence, in its order, repeated as often as they occur."""
    for run in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if run[0] >= "\u4e00":
            yield from run
            yield from (run[i : i + 2] for i in range(len(run) - 1))
        else:
            yield _stem(run)


def _stem(word: str) -> str:
    """Return the word without the commonest English endings, so that "player" and "players" are one."""
    for ending in ("'s", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM:
            return word[: -len(ending)]
    return word
