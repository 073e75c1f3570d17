"""Losses whose hinge is met exactly: PyTorch lets the gradient through there, so that equal scores are pushed apart."""

import pytest

import flame

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def signs(library, *values):
    return library.tensor(list(values))


CASES = {
    "hinge_embedding_loss": (lambda F, L, a: F.hinge_embedding_loss(a, signs(L, -1.0, -1.0)), [[1.0, 2.0]]),
    "margin_ranking_loss": (
        lambda F, L, a, b: F.margin_ranking_loss(a, b, signs(L, 1.0, -1.0)),
        [[1.0, 2.0], [1.0, 2.0]],
    ),
    "cosine_embedding_loss": (
        lambda F, L, a, b: F.cosine_embedding_loss(a, b, signs(L, -1.0)),
        [[[1.0, 0.0]], [[0.0, 1.0]]],
    ),
    "triplet_margin_loss": (
        lambda F, L, a, p, n: F.triplet_margin_loss(a, p, n, eps=0.0),
        [[[0.0, 0.0]], [[0.0, 1.0]], [[2.0, 0.0]]],
    ),
    "multi_margin_loss": (lambda F, L, a: F.multi_margin_loss(a, L.tensor([0])), [[[1.0, 0.0, 0.5]]]),
    "multilabel_margin_loss": (
        lambda F, L, a: F.multilabel_margin_loss(a, L.tensor([[0, -1, -1]])),
        [[[1.0, 0.0, 0.5]]],
    ),
}


def gradients(library, name):
    loss, values = CASES[name]
    given = [library.tensor(value, requires_grad=True) for value in values]
    loss(library.nn.functional, library, *given).backward()
    return [x.grad.tolist() for x in given]


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_at_the_hinge_is_pytorchs(name):
    assert gradients(flame, name) == gradients(torch, name)
