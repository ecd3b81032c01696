"""Weights come through the real hub client from a loopback server, and are loaded whole or not at all."""

import hashlib
import socket
import threading
import time
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save, save_file
from torch import Tensor, nn

from segzoo import weights as weights_module
from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import DownloadError, UnknownName, UsageFault
from segzoo.smp import build_unet
from segzoo.spec import ModelSpec, Params, Weights
from segzoo.weights import TransferReport, adapt_first_conv, load_pretrained, read_tensors

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB = Weights(hub="acme/tiny", revision=REVISION, license="MIT", part="encoder")


class Tiny(nn.Module):
    """An encoder of seven tensors and a head of two."""

    def __init__(self, in_channels: int = 3, num_classes: int = 2, width: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.BatchNorm2d(width))
        self.head = nn.Conv2d(width, num_classes, 1)


class NoParams(Params):
    """Nothing to choose."""


def spec(weights: Weights = HUB) -> ModelSpec:
    """Return a spec with one weight tag, ``imagenet``."""
    return ModelSpec(
        name="tiny",
        summary="A network for tests",
        family="test",
        builder="nowhere:build",
        params=NoParams,
        license="MIT",
        weights={"imagenet": weights},
    )


class Hub(ThreadingHTTPServer):
    """As much of the hub as the client asks for: HEAD and GET of files at a commit."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cut_at: int | None = None
        self.stall = threading.Event()
        self.stall.set()

    @property
    def address(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answer with a file, or a part of it, or as the hub answers where there is none."""

    server: Hub

    def do_HEAD(self) -> None:
        """Send the headers."""
        self.answer()

    def do_GET(self) -> None:
        """Send the headers and the content, up to where the server is told to cut it."""
        content = self.answer()
        self.wfile.write(content[: self.server.cut_at])
        self.wfile.flush()
        self.server.stall.wait(10)

    def answer(self) -> bytes:
        """Send the headers and return the content."""
        self.server.requests.append(f"{self.command} {self.path}")
        content = self.server.files.get(self.path)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the hub's cache of each test to itself."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub and point ``HF_ENDPOINT`` there, although the client is imported already."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
    yield server
    server.stall.set()
    server.shutdown()
    server.server_close()
    thread.join()
    for download in threading.enumerate():
        if download.name == "segzoo-download":
            download.join(20)


def offer(hub: Hub, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put tensors on the hub as ``acme/tiny`` and return them."""
    hub.files[f"/acme/tiny/resolve/{REVISION}/model.safetensors"] = save(
        {name: tensor.contiguous() for name, tensor in tensors.items()}
    )
    return tensors


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client retry at once, where it would wait a second each time."""
    monkeypatch.setattr("huggingface_hub.file_download.time", types.SimpleNamespace(sleep=lambda _seconds: None))


def test_loads_an_encoder_and_reports_it(hub: Hub) -> None:
    """Every tensor of the encoder is the file's, the head's are as they were, and the report says which."""
    given = offer(hub, Tiny().encoder.state_dict())
    model = Tiny()
    head = model.head.weight.clone()

    report = load_pretrained(model, spec(), "imagenet", in_channels=3)

    assert all(torch.equal(tensor, given[name]) for name, tensor in model.encoder.state_dict().items())
    assert torch.equal(model.head.weight, head)
    assert report.loaded == tuple(f"encoder.{name}" for name in model.encoder.state_dict())
    assert report.adapted == ()
    assert report.reinitialised == ("head.weight", "head.bias")
    assert report.summary() == ("imagenet weights from acme/tiny: 7 tensors loaded, 0 adapted, 2 re-initialised (head)")


def test_a_cached_file_needs_no_network(hub: Hub) -> None:
    """The second load asks the server nothing."""
    offer(hub, Tiny().encoder.state_dict())
    load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)
    asked = len(hub.requests)

    load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)

    assert asked > 0
    assert len(hub.requests) == asked


def test_a_real_encoder_fits_smp(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MobileNetV2 with its classifier loads into the Unet of the catalog, which has no classifier."""
    unet = next(spec for spec in BUILTIN_SPECS if spec.name == "unet_mobilenet_v2")
    source = unet.weights["imagenet"]
    donor = build_unet(unet.params(**unet.fixed), in_channels=3, num_classes=2)
    tensors = {
        **donor.encoder.state_dict(),
        "classifier.1.weight": torch.rand(2, 2),
        "classifier.1.bias": torch.rand(2),
    }
    hub.files[f"/{source.hub}/resolve/{source.revision}/model.safetensors"] = save(tensors)
    model = build_unet(unet.params(**unet.fixed), in_channels=1, num_classes=2)

    report = load_pretrained(model, unet, "imagenet", in_channels=1)

    first, *others = donor.encoder.state_dict()
    assert report.adapted == (f"encoder.{first}",)
    assert len(report.loaded) == len(others)
    assert all(torch.equal(model.encoder.state_dict()[name], tensors[name]) for name in others)
    assert {name.partition(".")[0] for name in report.reinitialised} == {"decoder", "head"}


@pytest.mark.parametrize("in_channels", [1, 2, 4, 7])
def test_first_conv_is_adapted_to_other_images(hub: Hub, in_channels: int) -> None:
    """One channel gets the sum over RGB; others get red, green and blue in turn, times 3 / channels."""
    rgb = offer(hub, Tiny().encoder.state_dict())["0.weight"]
    model = Tiny(in_channels)

    report = load_pretrained(model, spec(), "imagenet", in_channels=in_channels)

    for channel in range(in_channels):
        expected = rgb.sum(dim=1) if in_channels == 1 else rgb[:, channel % 3] * 3 / in_channels
        torch.testing.assert_close(model.encoder[0].weight[:, channel], expected)
    assert report.adapted == ("encoder.0.weight",)
    assert "1 adapted (encoder.0.weight)" in report.summary()


def test_a_grey_image_scores_as_in_rgb() -> None:
    """A convolution adapted to one channel answers as the original does to the same grey in all three."""
    rgb, grey = torch.rand(5, 3, 3, 3), torch.rand(1, 1, 8, 8)

    torch.testing.assert_close(
        nn.functional.conv2d(grey, adapt_first_conv(rgb, 1)),
        nn.functional.conv2d(grey.expand(1, 3, 8, 8), rgb),
    )


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            Tiny(width=5).encoder.state_dict(),
            r"encoder\.0\.weight has shape \(5, 3, 3, 3\).*\(4, 3, 3, 3\) in the model",
        ),
        ({"0.weight": torch.rand(4, 3, 3, 3)}, r"the file lacks encoder\.0\.bias and 5 more"),
        ({**Tiny().encoder.state_dict(), "7.weight": torch.rand(1)}, r"the model has no encoder\.7\.weight"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(hub: Hub, tensors: dict[str, Tensor], message: str) -> None:
    """The message names the tensor and both shapes, and every tensor of the model is as it was."""
    offer(hub, tensors)
    model = Tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    with pytest.raises(UsageFault, match=message):
        load_pretrained(model, spec(), "imagenet", in_channels=3)

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_whole_models_keep_a_head_of_another_class_count_random(hub: Hub) -> None:
    """Weights of a whole model load into one with more classes; only the head starts anew."""
    given = offer(hub, Tiny(num_classes=2).state_dict())
    model = Tiny(num_classes=5)

    report = load_pretrained(model, spec(HUB.model_copy(update={"part": "model"})), "imagenet", in_channels=3)

    assert torch.equal(model.encoder[0].weight, given["encoder.0.weight"])
    assert report.reinitialised == ("head.weight", "head.bias")


def test_unknown_tag_is_told_with_a_suggestion() -> None:
    """A typo in a tag is an error before anything is fetched."""
    with pytest.raises(UnknownName, match=r"no weight tag named 'imagnet'\. Did you mean 'imagenet'"):
        load_pretrained(Tiny(), spec(), "imagnet", in_channels=3)


def test_refused_connection_is_told_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, address, cache folder and the ways out stand in one message, without the client's retries."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as closed:
        address = f"http://127.0.0.1:{closed.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    start = time.monotonic()

    with pytest.raises(DownloadError) as caught:
        load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)

    assert time.monotonic() - start < 5
    for part in (
        "model.safetensors of acme/tiny",
        REVISION,
        address,
        str(cache / "models--acme--tiny"),
        f"hf download acme/tiny model.safetensors --revision {REVISION}",
        "--set model.weights=null --set transfer.strategy=scratch",
    ):
        assert part in str(caught.value)
    assert caught.value.__cause__ is not None


def test_silent_server_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers and then sends nothing is given up after the patience, not after the client's retries."""
    monkeypatch.setattr(weights_module, "PATIENCE_SECONDS", 0.5)
    without_pauses(monkeypatch)
    offer(hub, Tiny().encoder.state_dict())
    hub.cut_at = 0
    hub.stall.clear()
    start = time.monotonic()

    with pytest.raises(DownloadError, match=r"nothing arrived for 0\.5 s"):
        load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)

    assert time.monotonic() - start < 3


def test_address_that_swallows_everything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes the connection and never says a word is given up when contact should have been made."""
    monkeypatch.setattr(weights_module, "CONTACT_SECONDS", 0.3)
    start = time.monotonic()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DownloadError, match="ReadTimeout"):
            load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)

    assert time.monotonic() - start < 3


def test_limits_fit_the_promise() -> None:
    """An unreachable network is told within 30 s: each limit is below that."""
    assert weights_module.CONTACT_SECONDS < weights_module.PATIENCE_SECONDS < 30


def test_missing_file_is_told(hub: Hub) -> None:
    """A 404 is a download error with the file's name."""
    with pytest.raises(DownloadError, match=r"cannot fetch model\.safetensors of acme/tiny"):
        load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)


def test_truncated_download_is_not_kept(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that always breaks half-way is an error, and no part of the file stays in the cache."""
    without_pauses(monkeypatch)
    offer(hub, Tiny().encoder.state_dict())
    hub.cut_at = 100

    with pytest.raises(DownloadError, match=r"cannot fetch model\.safetensors"):
        load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)

    assert not [path for path in cache.rglob("*") if path.suffix in {".safetensors", ".incomplete"}]


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_cache_is_noticed_and_named(hub: Hub, damage: str) -> None:
    """One flipped bit, or a missing end, is a download error that names the file; once deleted, it is fetched anew."""
    offer(hub, Tiny().encoder.state_dict())
    load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)
    (blob,) = Path(constants.HF_HUB_CACHE).glob("models--acme--tiny/blobs/*")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content if damage == "flip" else content[:-8])

    with pytest.raises(DownloadError, match=rf"is damaged.*delete {blob} and run again"):
        load_pretrained(Tiny(), spec(), "imagenet", in_channels=3)

    blob.unlink()
    assert load_pretrained(Tiny(), spec(), "imagenet", in_channels=3).loaded


def test_wrong_checksum_of_the_spec_is_told(hub: Hub) -> None:
    """Where the spec pins a checksum, that one counts."""
    offer(hub, Tiny().encoder.state_dict())

    with pytest.raises(DownloadError, match=f"its SHA-256 is not {'0' * 64}"):
        load_pretrained(Tiny(), spec(HUB.model_copy(update={"sha256": "0" * 64})), "imagenet", in_channels=3)


def test_url_weights_are_fetched_with_their_checksum(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch file from a URL loads once its checksum is right, and is refused by name where it is not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.save(Tiny().encoder.state_dict(), tmp_path / "tiny.pth")
    content = (tmp_path / "tiny.pth").read_bytes()
    hub.files["/files/tiny.pth"] = content
    right = hashlib.sha256(content).hexdigest()

    def load(sha256: str) -> TransferReport:
        source = Weights(url=f"{hub.address}/files/tiny.pth", sha256=sha256, license="MIT", part="encoder")
        return load_pretrained(Tiny(), spec(source), "imagenet", in_channels=3)

    assert len(load(right).loaded) == 7
    with pytest.raises(DownloadError, match=r"tiny\.pth"):
        load("a" * 64)


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_code_in_a_file_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A pickle with code is refused under any name, whatever the environment says."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"weight": Payload()}, tmp_path / name)

    with pytest.raises(DownloadError, match=f"{name} cannot be read"):
        read_tensors(tmp_path / name)


def test_a_file_of_anything_but_tensors_is_refused(tmp_path: Path) -> None:
    """A checkpoint that nests its tensors is told apart from a plain state dict."""
    torch.save({"state_dict": {"weight": torch.rand(2)}}, tmp_path / "nested.pth")

    with pytest.raises(DownloadError, match="does not hold tensors by name"):
        read_tensors(tmp_path / "nested.pth")


def test_reads_safetensors(tmp_path: Path) -> None:
    """Names and values come back as they were saved."""
    save_file({"a": torch.arange(3)}, tmp_path / "a.safetensors")

    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["a"], torch.arange(3))


def test_summary_of_a_complete_load_names_no_part() -> None:
    """Nothing stands in brackets where nothing was adapted or left out."""
    report = TransferReport("x weights from y", ("a", "b"), (), ())

    assert report.summary() == "x weights from y: 2 tensors loaded, 0 adapted, 0 re-initialised"
