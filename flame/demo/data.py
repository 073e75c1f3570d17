"""1,797 real handwritten digits of 8×8 grey pixels (scikit-learn's, from UCI), and a judge who reads them."""

from dataclasses import dataclass

import numpy as np

SIDE, PATCH = 8, 2  # pixels
CLASSES = 10
TOKENS, PIXELS = (SIDE // PATCH) ** 2, PATCH**2  # of an image, of a token


@dataclass(frozen=True)
class Digits:
    """Tokens (N, 16, 4) in [-1, 1] and labels (N), for training and, never trained on, for testing the judge."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def load() -> Digits:
    """Four fifths to train on, one fifth kept aside, every digit in equal parts."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    tokens = to_tokens((digits.images / 8 - 1).astype(np.float32))
    train, test, labels, test_labels = train_test_split(
        tokens, digits.target.astype(np.int64), test_size=0.2, random_state=0, stratify=digits.target
    )
    return Digits(train, labels, test, test_labels)


def to_tokens(images: np.ndarray) -> np.ndarray:
    """(N, 8, 8) → (N, 16, 4): each token is a patch of 2×2 pixels."""
    n, across = len(images), SIDE // PATCH
    patches = images.reshape(n, across, PATCH, across, PATCH).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(patches.reshape(n, TOKENS, PIXELS))


def to_images(tokens: np.ndarray) -> np.ndarray:
    """(N, 16, 4) → (N, 8, 8)."""
    n, across = len(tokens), SIDE // PATCH
    return tokens.reshape(n, across, across, PATCH, PATCH).transpose(0, 1, 3, 2, 4).reshape(n, SIDE, SIDE)


class Judge:
    """A support vector classifier fitted on the real training digits alone."""

    def __init__(self, digits: Digits) -> None:
        from sklearn.svm import SVC

        self.classifier = SVC(C=10.0).fit(digits.train.reshape(len(digits.train), -1), digits.train_labels)
        self.on_real = float(np.mean(self.reads(digits.test) == digits.test_labels))

    def reads(self, tokens: np.ndarray) -> np.ndarray:
        """The digit it sees in each image. (N, 16, 4) → (N)."""
        return self.classifier.predict(tokens.clip(-1, 1).reshape(len(tokens), -1))
