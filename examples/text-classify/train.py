"""Trains a multinomial naive Bayes classifier on data/sentences.tsv and writes build/model.json.

The manifest's ``build`` runs this. Every fifth sentence is kept back and measures the model; when it
gets too many of those wrong, the build fails and the old release goes on serving.
"""

import json
import math
import sys
from collections import Counter
from pathlib import Path

from features import features

HERE = Path(__file__).parent
SMOOTHING = 0.3  # added to every count, so that a word never seen makes no label impossible
MIN_ACCURACY = 0.8  # on the sentences kept back; guessing gives 0.25
KEPT_BACK = 5  # every fifth

Example = tuple[str, str]


def read(path: Path) -> list[Example]:
    """Return (label, sentence) pairs."""
    lines = path.read_text("utf-8").splitlines()
    return [(label, text) for label, text in (line.split("\t", 1) for line in lines if line.strip())]


def fit(examples: list[Example]) -> dict:
    """Return the model: log probabilities of the labels, and of each feature under each label."""
    counts: dict[str, Counter] = {}
    labels = Counter(label for label, _ in examples)
    for label, text in examples:
        counts.setdefault(label, Counter()).update(features(text))
    vocabulary = sorted(set().union(*counts.values()))
    order = sorted(labels)
    totals = {label: sum(counts[label].values()) + SMOOTHING * len(vocabulary) for label in order}
    return {
        "labels": order,
        "prior": [math.log(labels[label] / len(examples)) for label in order],
        "features": {
            feature: [round(math.log((counts[label][feature] + SMOOTHING) / totals[label]), 4) for label in order]
            for feature in vocabulary
        },
    }


def scores(model: dict, text: str) -> dict[str, float]:
    """Return each label's probability; features that the training never saw say nothing."""
    logs = list(model["prior"])
    for feature in features(text):
        for i, value in enumerate(model["features"].get(feature, ())):
            logs[i] += value
    top = max(logs)
    weights = [math.exp(value - top) for value in logs]
    return {label: weight / sum(weights) for label, weight in zip(model["labels"], weights, strict=True)}


def accuracy(model: dict, examples: list[Example]) -> float:
    """Return the share of examples whose best label is the right one."""
    right = 0
    for label, text in examples:
        chances = scores(model, text)
        right += max(chances, key=chances.__getitem__) == label
    return right / len(examples)


def main() -> None:
    """Measure on what is kept back, then train on everything and write the model."""
    examples = read(HERE / "data" / "sentences.tsv")
    kept_back = examples[::KEPT_BACK]
    measured = accuracy(fit([e for i, e in enumerate(examples) if i % KEPT_BACK]), kept_back)
    print(f"{len(examples)} sentences; accuracy on {len(kept_back)} kept back: {measured:.2f}")
    if measured < MIN_ACCURACY:
        sys.exit(f"accuracy {measured:.2f} is below {MIN_ACCURACY}: the data does not teach these labels")
    model = fit(examples) | {"accuracy": round(measured, 3)}
    target = HERE / "build" / "model.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(model, ensure_ascii=False), "utf-8")
    print(f"{target.relative_to(HERE)}: {len(model['features'])} features, {target.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
