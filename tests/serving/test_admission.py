import pytest

from retrain.serving.admission import Admission
from retrain.serving.problems import Problem


def test_pictures_beyond_the_bound_are_turned_away_and_places_come_back():
    admission = Admission(4, 100)
    with admission.of_pictures(3):
        with pytest.raises(Problem, match="3 pictures are waiting already: try again in a second") as caught:
            admission.of_pictures(2).__enter__()
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        with admission.of_pictures(1):
            assert admission.pictures == 4
    assert admission.pictures == 0
    with pytest.raises(Problem, match="5 pictures in a request: send at most 4 at once") as caught:
        admission.of_pictures(5).__enter__()
    assert caught.value.status == 413


def test_bytes_beyond_the_bound_are_turned_away_and_room_comes_back():
    admission = Admission(4, 100)
    with admission.of_body() as one, admission.of_body() as other:
        one.grow(60)
        other.grow(40)
        with pytest.raises(Problem, match="too many large requests are being read: try again") as caught:
            other.grow(1)
        assert caught.value.status == 503
    assert admission.bytes == 0
