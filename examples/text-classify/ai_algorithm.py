"""Says what Chinese and English sentences are about: technology, sports, food or travel."""

import json
from pathlib import Path
from typing import Annotated, TypedDict

from pydantic import Field
from train import scores

__version__ = "1.0.0"


class Prediction(TypedDict):
    """What one sentence is about, and how sure that is (0 to 1)."""

    text: str
    label: str
    confidence: float
    scores: dict[str, float]


class Answer(TypedDict):
    """The predictions, in the order of the sentences."""

    batch_id: str
    predictions: list[Prediction]


class Algorithm:
    """A naive Bayes classifier, trained by ``train.py`` when the release was built."""

    def load(self) -> None:
        """Read the model that the build wrote."""
        self.model = json.loads(Path(__file__).with_name("build").joinpath("model.json").read_text("utf-8"))

    def predict(
        self,
        input_data: Annotated[list[str], Field(min_length=1, max_length=1000, description="sentences")],
        batch_id: str = "",
    ) -> Answer:
        """Classify each sentence."""
        return {"batch_id": batch_id, "predictions": [self._classify(text) for text in input_data]}

    def _classify(self, text: str) -> Prediction:
        chances = {label: round(chance, 4) for label, chance in scores(self.model, text).items()}
        label = max(chances, key=chances.__getitem__)
        return {"text": text, "label": label, "confidence": chances[label], "scores": chances}
