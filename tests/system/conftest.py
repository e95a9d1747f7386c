"""What system tests share: an S3 server on loopback."""

import pytest


@pytest.fixture(scope="module")
def server():
    """The server. The environment names it, also for processes that are started from now on."""
    pytest.importorskip("moto", reason="the S3 server: pip install 'moto[s3]' flask flask-cors")
    pytest.importorskip("s3fs", reason="pip install 'retrain[remote]'")
    from support.object_store import ObjectStore

    settings = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    store = ObjectStore()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (settings | {"AWS_ENDPOINT_URL": store.url}).items():
            patch.setenv(name, value)
        yield store
    store.close()


@pytest.fixture
def bucket(server, request, monkeypatch):
    """An empty bucket of its own, on a server that does nothing wrong yet."""
    import s3fs

    from retrain.data import remote_files

    monkeypatch.setattr(remote_files, "_PAUSE_SECONDS", 0.01)
    s3fs.S3FileSystem.clear_instance_cache()
    server.fault = lambda method, path, count: None
    server.asked.clear()
    name = f"bucket-{abs(hash(request.node.name))}"
    s3fs.S3FileSystem().mkdir(name)
    return name
