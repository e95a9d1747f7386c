import pytest

from retrain.errors import UsageError
from retrain.options import ClusterOptions


def test_resources_are_names_with_numbers():
    options = ClusterOptions(ray="auto", ray_resources="CPU=8, GPU=0.5,lens=2")
    assert options.resources == {"CPU": 8, "GPU": 0.5, "lens": 2}
    assert ClusterOptions(ray="auto").resources == {}


@pytest.mark.parametrize("text", ["", "CPU", "CPU=", "=2", "CPU=-1", "CPU=1,CPU=2", "CPU=many", "CPU=1,,GPU=1"])
def test_what_is_none_is_refused(text):
    with pytest.raises(UsageError, match="expected names with numbers, each once, as in CPU=8,GPU=1"):
        ClusterOptions(ray="auto", ray_resources=text)


def test_options_of_a_cluster_want_one():
    with pytest.raises(UsageError, match="--ray-actors is for a Ray cluster: add --ray ADDRESS"):
        ClusterOptions(ray_actors=3)
    with pytest.raises(UsageError, match="--ray is empty"):
        ClusterOptions(ray="")
