import pytest

from retrain.errors import UsageError
from retrain.options import StudioOptions


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_the_studio_listens_on_loopback(host):
    assert StudioOptions(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", ""])
def test_and_nowhere_else(host):
    with pytest.raises(UsageError, match="the studio changes files, so it listens on loopback only; leave --host out"):
        StudioOptions(host=host)
