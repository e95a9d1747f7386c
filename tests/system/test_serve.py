"""`retrain serve` as a process: without TensorFlow, without a disk, and with the clients that people have."""

import base64
import contextlib
import http.client
import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from support.command import installed, one_line_error, retrain
from support.refused import REFUSE_TENSORFLOW

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-23-characters"
REFUSE = (
    REFUSE_TENSORFLOW
    + """
from retrain.cli.start import main
sys.exit(main())
"""
)


@contextlib.contextmanager
def serving(*arguments, limit=None, code=REFUSE):
    """The process, and its host and port; it must end with 0 after SIGTERM."""
    command = [sys.executable, "-c", code, "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=limit)
    try:
        greeting = process.stderr.readline()
        found = re.search(r"http://([\w.]+):(\d+)/", greeting)
        assert found, greeting + process.stderr.read()
        yield process, ("127.0.0.1", int(found[2]))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


def ask(address, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def pictures(trained):
    return [trained[0] / "pictures" / name / f"{name}0.png" for name in ("cat", "dog", "owl")]


@pytest.fixture(scope="module")
def expected(trained, pictures):
    """The scores by `retrain predict`, in the order of the labels."""
    found = json.loads(retrain("predict", trained[0] / "model", *pictures, "--json", check=0).stdout)
    return np.array([[answer["scores"][label] for label in ("cat", "dog", "owl")] for answer in found], np.float32)


@pytest.fixture(scope="module")
def animals(trained):
    """The host and port of a process that may write no file at all."""

    def write_nothing():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with serving(f"animals={trained[0] / 'model'}", limit=write_nothing) as (_, address):
        yield address


def test_without_tensorflow_and_without_writing_a_byte(animals, pictures, expected):
    """A temporary file for a large upload would be an error."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="a"; filename="{path.name}"\r\n\r\n'.encode()
        + path.read_bytes() + bytes(4_000_000) + b"\r\n"
        for path in pictures
    ]  # fmt: skip
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    status, body = ask(animals, "POST", "/predict", b"".join([*parts, b"--x--"]), **kind)
    assert status == 200
    scores = [[one["scores"][label] for label in ("cat", "dog", "owl")] for one in json.loads(body)["predictions"]]
    np.testing.assert_array_equal(np.array(scores, np.float32), expected)
    assert ask(animals, "GET", "/")[0] == ask(animals, "GET", "/report/animals")[0] == 200


def test_what_clients_of_tensorflow_serving_send(animals, pictures, expected):
    requests = pytest.importorskip("requests")
    # as in tensorflow.org/tfx/tutorials/serving/rest_simple, with pictures in place of pixels
    data = json.dumps(
        {
            "signature_name": "serving_default",
            "instances": [{"b64": base64.b64encode(path.read_bytes()).decode("utf-8")} for path in pictures],
        }
    )
    url = "http://{}:{}/v1/models/animals".format(*animals)
    answer = requests.post(f"{url}:predict", data=data, headers={"content-type": "application/json"})
    predictions = json.loads(answer.text)["predictions"]
    np.testing.assert_array_equal(np.array([row["final_result"] for row in predictions], np.float32), expected)
    assert predictions[0]["labels"] == ["cat", "dog", "owl"]
    assert requests.get(url).json()["model_version_status"][0]["state"] == "AVAILABLE"


@pytest.mark.parametrize("is_binary", [True, False])
def test_triton_s_client(animals, pictures, expected, is_binary):
    triton = pytest.importorskip("tritonclient.http", reason="pip install 'tritonclient[http]'")
    from tritonclient.utils import InferenceServerException

    with contextlib.closing(triton.InferenceServerClient("{}:{}".format(*animals))) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("animals")
        metadata = client.get_model_metadata("animals")
        given = metadata["inputs"][0]
        files = [path.read_bytes() for path in pictures]
        data = np.array(files if is_binary else [base64.b64encode(file) for file in files], np.object_)
        picture = triton.InferInput(given["name"], [3], given["datatype"])
        picture.set_data_from_numpy(data, binary_data=is_binary)
        wanted = [
            triton.InferRequestedOutput(name, binary_data=is_binary) for name in ("final_result", "labels", "label")
        ]
        for outputs in (None, wanted):
            result = client.infer("animals", [picture], outputs=outputs, request_id="1")
            np.testing.assert_array_equal(result.as_numpy("final_result"), expected)
            labels = [label if isinstance(label, str) else label.decode() for label in result.as_numpy("labels")[0]]
            assert labels == ["cat", "dog", "owl"]
        with pytest.raises(InferenceServerException, match="no model is called 'no'"):
            client.infer("no", [picture])


def test_curl(trained, pictures):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    Path("token").write_text(TOKEN)
    with serving(trained[0] / "model", "--token-file", "token") as (_, (host, port)):
        url = f"http://{host}:{port}"

        def run(*arguments):
            done = subprocess.run([curl, "-sS", *arguments], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        authorized = ["-H", f"Authorization: Bearer {TOKEN}"]
        one = run(*authorized, "--data-binary", f"@{pictures[0]}", f"{url}/predict?top=1")
        assert one["predictions"][0]["label"] == "cat"
        form = run(*authorized, "-F", f"a=@{pictures[1]}", "-F", f"b=@{pictures[2]}", f"{url}/predict/model")
        assert [answer["label"] for answer in form["predictions"]] == ["dog", "owl"]
        assert "needs a token" in run("--data-binary", f"@{pictures[0]}", f"{url}/predict")["error"]
        Path("large").write_bytes(bytes(20 * 2**20))
        assert "larger than 16 MiB" in run(*authorized, "--data-binary", "@large", f"{url}/predict")["error"]


def test_ctrl_c_ends_it_and_a_second_one_at_once(trained, pictures):
    with serving(trained[0] / "model") as (process, address), socket.create_connection(address) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhalf")
        status, _ = ask(address, "GET", "/healthz")
        assert status == 200
        process.send_signal(signal.SIGINT)
        while True:  # it listens no more, and waits for the rest
            try:
                ask(address, "GET", "/healthz")
            except OSError:
                break
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_wrong_usage_is_one_line(trained):
    model = trained[0] / "model"
    cases = [
        (["serve"], 2, "the following arguments are required"),
        (["serve", "nowhere"], 1, "no such model folder: nowhere"),
        (["serve", f"a={model}", f"a={model}"], 2, "two models are called a: name one of them otherwise, as in a-2="),
        (["serve", "/"], 2, "the folder / has a name that can't be in a URL: give the model another, as in flowers=/"),
        (["serve", model, "--port", "70000"], 2, "--port 70000: must be between 0 and 65,535"),
        (["serve", model, "--token-file", "none"], 2, "--token-file none can't be read"),
    ]
    for arguments, code, message in cases:
        done = retrain(*arguments)
        assert done.returncode == code
        one_line_error(done, message)


def test_without_the_extra_one_line_says_what_to_install(trained):
    code = f"import sys\nsys.modules['fastapi'] = None\n{REFUSE}"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", trained[0] / "model"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == (
        "retrain: error: serving needs the package fastapi, which is not installed: pip install 'retrain[serve]'\n"
    )


def test_the_installed_command_knows_it():
    assert "[NAME=]MODEL_DIR" in installed("serve", "--help", check=0).stdout


def test_a_client_that_reads_nothing_holds_nothing_up(trained, pictures):
    with serving(trained[0] / "model", "--timeout", "10") as (_, address):
        idle = [socket.create_connection(address) for _ in range(20)]
        for connection in idle:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET /report/model HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(ask(address, "POST", "/predict", pictures[0].read_bytes())[0])
            )
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert answers == [200] * 20
        for connection in idle:
            connection.close()
