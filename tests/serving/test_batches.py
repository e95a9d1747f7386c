import asyncio

import numpy as np
import pytest
from support.serving import FakeClassifier, run, served, wait_until

from retrain.errors import ModelFolderError
from retrain.serving.batches import Batcher


def pixels(colour):
    return np.broadcast_to(np.array(colour, np.uint8), (4, 6, 3))


async def ask(batcher, model, count, classifier):
    """Ask for some pictures at once, while no batch ends; what came of each."""
    classifier.holds.clear()
    asked = [asyncio.ensure_future(batcher.answer(model, pixels((n, 0, 255 - n)))) for n in range(count)]
    await asyncio.sleep(0)
    await asyncio.to_thread(wait_until, lambda: len(classifier.batches) >= min(count, 2))
    classifier.holds.set()
    return await asyncio.gather(*asked, return_exceptions=True)


def test_pictures_that_wait_go_together_and_get_their_own_scores():
    classifier, sizes = FakeClassifier(), []
    batcher = Batcher(4, sizes.append)
    found = run(ask(batcher, served(classifier=classifier), 12, classifier))
    assert classifier.batches == sizes == [1, 1, 4, 4, 2]
    for number, scores in enumerate(found):
        assert scores[0] == pytest.approx(number / 255, abs=1e-3)


def test_models_are_not_mixed():
    batcher = Batcher(8, lambda size: None)
    classifiers = [FakeClassifier(), FakeClassifier(labels=("a", "b", "c"))]
    models = [served(classifier=one) for one in classifiers]

    async def ask_both():
        for classifier in classifiers:
            classifier.holds.clear()
        asked = [asyncio.ensure_future(batcher.answer(models[n % 2], pixels((n, 0, 9)))) for n in range(10)]
        await asyncio.sleep(0.01)
        for classifier in classifiers:
            classifier.holds.set()
        await asyncio.gather(*asked)

    run(ask_both())
    assert [sum(one.batches) for one in classifiers] == [5, 5]
    assert [max(one.batches) for one in classifiers] == [4, 4]


def test_whoever_is_gone_is_left_out():
    classifier = FakeClassifier()
    batcher, model = Batcher(8, lambda size: None), served(classifier=classifier)

    async def ask_and_go():
        classifier.holds.clear()
        asked = [asyncio.ensure_future(batcher.answer(model, pixels((n, 0, 9)))) for n in range(6)]
        await asyncio.sleep(0)
        for one in asked[1:4]:  # one is in a batch, two wait
            one.cancel()
        classifier.holds.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = run(ask_and_go())
    assert [isinstance(one, asyncio.CancelledError) for one in found] == [False, True, True, True, False, False]
    assert classifier.batches == [1, 1, 2]


def test_an_error_reaches_everyone_of_the_batch_and_no_one_else():
    classifier = FakeClassifier()
    batcher, model = Batcher(8, lambda size: None), served(classifier=classifier)
    classifier.error = ModelFolderError("broken")
    found = run(ask(batcher, model, 5, classifier))
    assert {str(one) for one in found} == {"broken"}
    classifier.error = None
    assert len(run(batcher.answer(model, pixels((1, 2, 3))))) == 3
    batcher.close()
