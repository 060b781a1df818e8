"""Downloads from a local server: complete, cut off, wrong, missing, slow, redirected."""

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from betwixt.cli import weights as weights_command
from betwixt.cli.main import run
from betwixt.errors import BetwixtError, InputError, OutputError, UsageError
from betwixt.models.registry import load_network
from betwixt.runtime.load import load_model
from betwixt.weights import catalog as catalogs
from betwixt.weights import download as downloads
from betwixt.weights import install
from betwixt.weights.download import download_weights
from betwixt.weights.metadata import read_metadata
from ncnn_graph import FOLDER, random_weights, write_bin

pytest.importorskip("pooch")


class Handler(BaseHTTPRequestHandler):
    """Serves one file; how, the first part of the path says."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        how = self.path.split("/")[1]
        asked = self.headers.get("Range")
        server.requests.append((how, asked))
        data = server.data if self.path.endswith("/x.pkl") else server.pair[self.path.split("/")[-1]]
        if how in ("404", "500"):
            self.send_error(int(how))
            return
        if how in ("redirect", "loop"):
            self.send_response(302)
            self.send_header("Location", f"/{'whole' if how == 'redirect' else 'loop'}/x.pkl")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if how == "wrong":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if how == "larger":
            data = data + b"more"
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how != "rangeless" else 0
        if asked and start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if asked and how != "rangeless" else 200)
        if asked and how != "rangeless":
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        rest = data[start:]
        if how != "endless":
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        first = not any(earlier == how for earlier, _ in server.requests[:-1])
        if how == "cut" or (how in ("broken", "rangeless") and first):
            self.wfile.write(rest[: len(rest) // 3])
            return  # and closes, although it had promised more
        if how == "stalls":
            self.wfile.write(rest[: len(rest) // 3])
            server.over.wait(10)
            return
        if how == "slow":
            for place in range(0, len(rest), 500_000):
                self.wfile.write(rest[place : place + 500_000])
                time.sleep(0.05)
            return
        if how == "endless":
            for _ in range(100):
                self.wfile.write(bytes(1 << 20))
            return
        self.wfile.write(rest)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("server") / "x.pkl"
    torch.save(load_network("ebme").state_dict(), path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.data, server.over = path.read_bytes(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def offer(server, tmp_path, monkeypatch):
    """Offers the file in a certain way; the name to download is `small`."""
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path / "weights"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(downloads, "_READ_TIMEOUT", 0.4)
    server.requests = []

    def make(how, size=True, port=None, model="ebme", licence="MIT", host="github.com"):
        data = server.data
        digest = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        known_by = f'git_blob_sha1 = "{digest}"'
        if host == "huggingface.co":
            known_by = f'sha256 = "{hashlib.sha256(data).hexdigest()}"'
        known = f", size = {len(data)}" if size else ""
        found = catalogs.parse_catalog(f"""
            [[source]]
            host = "{host}"
            repository = "a/b"
            commit = "{"0" * 40}"
            licence = "{licence}"
            url = "http://127.0.0.1:{port or server.server_address[1]}/{how}"
            [[source.model]]
            name = "small"
            {f'model = "{model}"' if model else 'unsupported = "another"'}
            files = [ {{ path = "x.pkl", {known_by}{known} }} ]
            [[manual]]
            models = ["amt-s"]
            page = "https://example.org"
            licence = "CC BY-NC 4.0"
            commercial = false
        """)
        for module in (downloads, install, catalogs, weights_command):
            monkeypatch.setattr(module, "catalog", lambda: found)
        return tmp_path / "weights"

    return make


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_version_of_rife_without_an_address_says_which_model_runs_it():
    with pytest.raises(UsageError, match=r"The weights of rife-4.18 have no address .* import FILE --as rife-4.10"):
        download_weights("rife-4.18")


def test_files_of_hugging_face_are_known_by_their_sha_256(offer):
    folder = offer("wrong", host="huggingface.co")
    with pytest.raises(InputError, match=r"not what was published: \d+ bytes with the SHA-256 [0-9a-f]{12}, not "):
        download_weights("small")
    assert files_in(folder) == []
    offer("404", host="huggingface.co")
    with pytest.raises(InputError, match=r"Or download x.pkl from huggingface.co/a/b at 0{12} by hand"):
        download_weights("small")
    offer("whole", host="huggingface.co")
    assert download_weights("small").model == "ebme"


@pytest.mark.parametrize("how", ["whole", "redirect", "slow"])
@pytest.mark.parametrize("size", [True, False])
def test_published_weights_are_downloaded_and_installed(offer, how, size):
    folder = offer(how, size)
    seen = []
    imported = download_weights("small", progress=lambda *progress: seen.append(progress))
    assert files_in(folder) == ["small.safetensors"]
    assert imported.model == "ebme"
    assert seen[-1][0] == "x.pkl"
    assert seen[-1][1] == seen[-1][2]
    found = read_metadata(imported.path)
    assert found["origin"].startswith("a/b@000000000000/")
    assert found["licence"] == "MIT"


@pytest.mark.parametrize("how", ["broken", "rangeless"])
def test_interrupted_downloads_are_resumed(offer, server, how):
    folder = offer(how)
    download_weights("small")
    first, second = server.requests
    assert first == (how, None)
    assert len(server.data) // 3 - 65_536 < int(second[1].removeprefix("bytes=").rstrip("-")) <= len(server.data) // 3
    assert files_in(folder) == ["small.safetensors"]


def test_partial_files_of_a_failed_run_are_resumed(offer, server):
    folder = offer("cut")
    with pytest.raises(InputError, match=r"broke off, 3 times\. \d+ bytes are kept: run it again"):
        download_weights("small")
    (left,) = files_in(folder)
    have = (folder / left).stat().st_size
    assert 0 < have < len(server.data)
    server.requests.clear()
    offer("whole")
    download_weights("small")
    assert server.requests == [("whole", f"bytes={have}-")]
    assert files_in(folder) == ["small.safetensors"]


@pytest.mark.parametrize(
    ("how", "size", "message", "kept"),
    [
        ("wrong", True, "is not what was published: .* It was deleted", False),
        ("larger", True, "is too large", False),
        ("larger", False, "is not what was published", False),
        ("404", True, r"does not exist any more \(404\)", False),
        ("500", True, "the server answers 500", False),
        ("loop", True, "redirects too often", False),
        ("stalls", True, "stopped sending, 3 times", True),
        ("endless", True, "is too large: more than", False),
    ],
)
def test_failed_downloads_install_nothing(offer, how, size, message, kept):
    folder = offer(how, size)
    with pytest.raises(InputError, match=message) as error:
        download_weights("small")
    assert "\n" not in str(error.value)
    assert files_in(folder) == ([".downloads/small/x.pkl.part"] if kept else [])


def test_a_partial_file_of_another_download_is_deleted(offer, server):
    folder = offer("whole")
    part = folder / ".downloads" / "small" / "x.pkl.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"rubbish")
    with pytest.raises(InputError, match="is not what was published"):
        download_weights("small")
    download_weights("small")
    assert files_in(folder) == ["small.safetensors"]


def test_models_of_two_files(offer, server, tmp_path, monkeypatch):
    if not (FOLDER / "IFRNet_S_Vimeo90K").exists():
        pytest.skip("the layers of IFRNet are not here")
    folder = offer("whole")
    param, numbers = tmp_path / "ifrnet.param", tmp_path / "ifrnet.bin"
    param.write_bytes((FOLDER / "IFRNet_S_Vimeo90K" / "ifrnet.param").read_bytes())
    write_bin(numbers, param, random_weights(param, 0, True), True)
    server.pair = {path.name: path.read_bytes() for path in (param, numbers)}
    files = [f'{{ path = "{p.name}", git_blob_sha1 = "{catalogs.git_blob_hash(p)}" }}' for p in (param, numbers)]
    found = catalogs.parse_catalog(f"""
        [[source]]
        repository = "a/b"
        commit = "0"
        licence = "MIT"
        url = "http://127.0.0.1:{server.server_address[1]}/broken"
        [[source.model]]
        name = "ifrnet-s"
        model = "ifrnet-s"
        files = [{", ".join(files)}]
    """)
    for module in (downloads, install):
        monkeypatch.setattr(module, "catalog", lambda: found)
    imported = download_weights("ifrnet-s")
    assert [path.name for path in imported.sources] == ["ifrnet.param", "ifrnet.bin"]
    assert files_in(folder) == ["ifrnet-s.safetensors"]
    assert load_model("ifrnet-s", "cpu").name == "ifrnet-s"


def test_without_a_connection(offer):
    folder = offer("whole", port=9)
    with pytest.raises(
        InputError, match=r"no connection to 127\.0\.0\.1:9: is this machine online\? Or download x\.pkl"
    ):
        download_weights("small")
    assert files_in(folder) == []
    assert not (folder / ".downloads").exists()


def test_existing_files_are_kept_without_overwrite(offer, server):
    offer("whole")
    download_weights("small")
    with pytest.raises(OutputError, match="pass `overwrite=True`"):
        download_weights("small")
    assert len(server.requests) == 1
    download_weights("small", overwrite=True)
    assert len(server.requests) == 2


def test_weights_that_do_not_fit_are_not_installed(offer):
    folder = offer("whole", model="rife-4.6")
    with pytest.raises(InputError, match="weights of another network"):
        download_weights("small")
    assert not (folder / "small.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small", "a/b fits no network here: it is another"),
        ("amt-s", r"https://example\.org says .* \(CC BY-NC 4\.0: not for commercial use\)"),
        ("daek", "No weights of daek are published"),
        ("nothing", "no weights 'nothing' to download"),
    ],
)
def test_unavailable_weights_say_why(offer, name, message):
    offer("whole", model="")
    with pytest.raises(UsageError, match=message):
        download_weights(name)


def test_command_line(offer, capsys):
    folder = offer("whole", licence="CC BY-NC 4.0")
    assert run(["weights", "download", "small"]) == 0
    said = capsys.readouterr()
    assert "small: from a/b, licence CC BY-NC 4.0" in said.err
    assert f"{folder / 'small.safetensors'}" in said.out
    assert "all 30 tensors, 0.63 M numbers, of x.pkl" in said.out
    assert run(["weights", "download", "amt-s"]) == 2
    assert "not for commercial use" in capsys.readouterr().err


def test_errors_are_one_line(offer):
    for how in ("wrong", "404", "cut"):
        offer(how)
        with pytest.raises(BetwixtError) as error:
            download_weights("small")
        assert "\n" not in str(error.value)
