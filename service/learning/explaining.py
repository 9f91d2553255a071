"""Why an answer: the stored examples most like what was asked."""

from typing import List, NamedTuple

import numpy as np

from service.extraction.supervisor import Embedded
from service.learning.answering import Answer, Answering
from service.store import Store

# So many examples are compared at most, those of the likeliest classes first: an answer must not take seconds.
_MOST_COMPARED = 2000


class Evidence(NamedTuple):
    """A stored example; similarity : cosine of the two centred embeddings, -1..1."""

    example: str
    label: str
    similarity: float


def nearest_examples(
    store: Store, answering: Answering, embedded: Embedded, answer: Answer, count: int
) -> List[Evidence]:
    """The stored examples nearest to an embedding, nearest first.

    Where there are many, those of the classes that the answer holds likeliest are compared first. Raises
    `ExtractorUnavailable` where it is of another extractor than the one in use.
    """
    pipeline = answering.pipeline_of(embedded.extractor)
    asked, found, compared = pipeline(embedded.embedding)[0], [], 0
    answered = [prediction.label for prediction in answer.predictions]
    taught = {one.name: one for one in store.classes.all() if one.enabled}
    for label in dict.fromkeys((*answered, *taught)):
        stored = taught.get(label)
        if stored is None or compared >= _MOST_COMPARED:
            continue
        lessons = store.examples.learnt_of(embedded.extractor, stored.id, _MOST_COMPARED - compared)
        compared += len(lessons)
        if lessons:
            similarities = pipeline(np.stack([one.embedding for one in lessons])) @ asked
            found += [Evidence(one.id, stored.name, float(s)) for one, s in zip(lessons, similarities)]
    return sorted(found, key=lambda one: -one.similarity)[:count]
