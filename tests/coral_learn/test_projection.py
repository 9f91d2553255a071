"""Principal components: those that an exact method finds, the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coral_learn.errors import EmbeddingMismatch, OptionError
from coral_learn.projection import principal_components


def exact(rows, count=2):
    """Points and shares by a full singular value decomposition, signs as they come."""
    centred = rows - rows.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :count] * values[:count], values[:count] ** 2 / (values**2).sum()


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(2, 40))
def test_as_an_exact_method_has_it(seed, count, size):
    """The variance shown is the most that can be; points are the same but for signs where components differ enough."""
    random = np.random.RandomState(seed)
    rows = random.standard_normal((count, size)) * (0.7 ** np.arange(size)) + 5
    points, shares = exact(rows)
    found = principal_components(rows)
    np.testing.assert_allclose(found.explained, shares, atol=1e-3)
    assert found.points.shape == (count, 2)
    if count > 3 and shares[0] > 1.2 * shares[1]:
        np.testing.assert_allclose(np.abs(found.points[:, 0]), np.abs(points[:, 0]), atol=0.05 * np.abs(points).max())


def test_of_many_numbers():
    """Three groups in 1280 dimensions are told apart, and the shares are those of the exact method."""
    random, centres = np.random.RandomState(1), np.random.RandomState(2).standard_normal((3, 1280))
    groups = np.arange(300) % 3
    rows = (centres[groups] + random.standard_normal((300, 1280))).astype(np.float32)
    found = principal_components(rows)
    np.testing.assert_allclose(found.explained, exact(rows.astype(np.float64))[1], rtol=1e-3)
    middles = np.stack([found.points[groups == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(found.points[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == groups).all()


def test_same_every_time_and_signs_are_fixed():
    """The same bytes twice; turned over, the embeddings are found on the other side."""
    rows = np.random.RandomState(5).standard_normal((50, 30)).astype(np.float32)
    first, second = principal_components(rows), principal_components(rows.copy())
    assert first.points.tobytes() == second.points.tobytes()
    np.testing.assert_allclose(principal_components(-rows).points, -first.points, atol=1e-4)
    assert rows.tobytes() == np.random.RandomState(5).standard_normal((50, 30)).astype(np.float32).tobytes()


@pytest.mark.parametrize("shape", [(0, 64), (1, 64), (4, 0)])
def test_too_few_to_vary(shape):
    """No embeddings, or a single one: zeros."""
    found = principal_components(np.ones(shape))
    assert found.points.shape == (shape[0], 2)
    assert not found.points.any()
    assert not found.explained.any()


def test_fewer_components_than_asked_for():
    """Two embeddings lie on a line, equal ones on a point; what isn't there is 0."""
    found = principal_components([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]], 3)
    np.testing.assert_allclose(found.points, [[-1, 0, 0], [1, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(found.explained, [1, 0, 0], atol=1e-5)
    assert not principal_components(np.full((9, 5), 0.3)).points.any()


def test_what_is_refused():
    """Rows of other shapes, infinite numbers, no component."""
    for rows in (np.zeros(4), np.full((2, 2), np.inf)):
        with pytest.raises(EmbeddingMismatch):
            principal_components(rows)
    with pytest.raises(OptionError):
        principal_components(np.zeros((2, 2)), 0)
