"""The end of a model on its own: what an interpreter needs to try a last layer without the extractor."""

import numpy as np

from coral_learn.tflite_file.cut import drop_dead_constants, needed_operators
from coral_learn.tflite_file.draft import Draft
from coral_learn.tflite_file.model import TfliteModel


def begin_at(model: bytes, tensor: int) -> bytes:
    """A model whose only input is a tensor that this one computes, and that goes on from there to the first output.

    Signatures and metadata, which speak of the old input, go. Raises `ModelFormatError`.
    """
    checked = TfliteModel(model)
    before = {operator.index for operator in needed_operators(checked, tensor)}
    needed = needed_operators(checked, checked.outputs[0])
    kept = [operator for operator in needed if operator.index not in before]
    draft = Draft(checked)
    draft.outputs = draft.outputs[:1]  # others may come out of what is gone
    draft.graph["inputs"] = np.array([tensor], np.int32)
    draft.graph["operators"] = [draft.graph["operators"][operator.index] for operator in kept]
    draft.fields["signature_defs"], draft.fields["metadata"], draft.files = [], [], {}
    drop_dead_constants(draft, kept)
    return draft.write(compact=True)
