"""Edge detection: a picture in, a picture of its edges out (Canny, with OpenCV)."""

from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

__version__ = "1.0.0"

GREY = 2  # dimensions of an array without colours


def predict(
    image: np.ndarray,
    low: Annotated[int, Field(ge=0, le=255, description="weaker edges than this are dropped")] = 40,
    high: Annotated[int, Field(ge=0, le=255, description="stronger edges than this are kept")] = 120,
    blur: Annotated[int, Field(ge=0, le=15, description="radius of the smoothing before, in pixels")] = 1,
) -> np.ndarray:
    """Draw the edges of a picture, white on black."""
    grey = image if image.ndim == GREY else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if blur:
        size = 2 * blur + 1  # the kernel has a middle
        grey = cv2.GaussianBlur(grey, (size, size), 0)
    return cv2.Canny(grey, low, high)
