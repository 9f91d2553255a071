"""What the extractor's process says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.extraction.reply import Reply


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50), st.floats(0, 1e6))
def test_embedding_comes_back(values, milliseconds):
    """To the bit, with its time."""
    reply = Reply.unpack(Reply(np.array(values, np.float32), milliseconds).pack())
    assert np.array_equal(reply.embedding, np.array(values, np.float32))
    assert reply.embedding.dtype == np.float32
    assert (reply.milliseconds, reply.complaint) == (milliseconds, "")


@given(st.text())
def test_complaint_comes_back(text):
    """Without an embedding."""
    assert Reply.unpack(Reply(None, complaint=text).pack()) == (None, 0.0, text)
