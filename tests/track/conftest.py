"""A public-domain portrait (NASA) that scikit-image carries in its wheel."""

import numpy as np
import pytest
from skimage import data


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return data.astronaut()
