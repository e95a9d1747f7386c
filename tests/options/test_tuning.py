import pytest

from retrain.errors import UsageError
from retrain.options import TuningOptions


def test_time_for_a_search_that_is_not_asked_for_is_refused():
    with pytest.raises(UsageError, match="--tune-seconds is the time for --tune: add --tune"):
        TuningOptions(tune_seconds=30)
