"""Files are labelled whatever is wrong with some of them, and large ones in parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

import segzoo
from segzoo.errors import UsageFault
from segzoo.inference.inputs import find_images
from segzoo.inference.method import Method
from segzoo.inference.outputs import Extra
from segzoo.inference.predict import Outcome, predict_files
from segzoo.inference.predictor import Predictor


def picture(*size: int, seed: int = 0) -> np.ndarray:
    """Return patches of colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1])


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> Predictor:
    """Return the predictor of a run."""
    return segzoo.load(run_folder, device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 10 images, of several sizes and formats."""
    path = tmp_path / "in"
    path.mkdir()
    for number in range(10):
        suffix = ("png", "jpg", "tif", "bmp", "webp")[number % 5]
        Image.fromarray(picture(40 + number // 4, 50, seed=number)).save(path / f"good{number}.{suffix}")
    return path


def spoil(folder: Path) -> set[str]:
    """Put 10 malformed files into a folder, and return their names."""
    whole = (folder / "good0.png").read_bytes()
    jpeg = (folder / "good1.jpg").read_bytes()
    tiff = (folder / "good2.tif").read_bytes()
    header = bytearray(whole)
    header[16:24] = (100_000).to_bytes(4, "big") * 2  # promises ten gigapixels
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    (folder / "bad_size.png").write_bytes(header)
    (folder / "bad_empty.png").write_bytes(b"")
    (folder / "bad_text.jpg").write_text("no image")
    (folder / "bad_cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bad_cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "bad_cut.tif").write_bytes(tiff[: len(tiff) // 2])
    (folder / "bad_noise.webp").write_bytes(np.random.default_rng(0).bytes(500))
    (folder / "bad_link.png").symlink_to("nowhere.png")
    frames = [Image.fromarray(picture(20, 20, seed=seed)) for seed in (1, 2)]
    frames[0].save(folder / "bad_moving.gif", save_all=True, append_images=frames[1:])
    tifffile.imwrite(folder / "bad_float.tif", np.zeros((20, 20, 3), np.float32), photometric="rgb")
    return {path.name for path in folder.glob("bad_*")}


def label(predictor: Predictor, source: Path, out: Path, *extras: Extra, **options: object) -> Outcome:
    """Label a folder."""
    return predict_files(predictor, find_images([str(source)], beside=out), out, extras=extras, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [None, Method(window=(32, 32))], ids=["whole", "windows"])
def test_ten_good_and_ten_malformed(
    predictor: Predictor, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: Method | None
) -> None:
    """Each good image gets its mask, each bad one is named with a reason, and every one is counted."""
    bad = spoil(folder)
    assert len(bad) == 10
    counted: list[int] = []
    outcome = label(predictor, folder, tmp_path / "out", method=method, advance=counted.append)
    assert {path.name for path in outcome.faults} == bad
    assert {path.stem for path in outcome.masks} == {f"good{number}" for number in range(10)}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in outcome.masks)
    assert all(name in caplog.text for name in bad)
    assert "more than the limit" in outcome.faults[folder / "bad_size.png"]
    assert sum(counted) == 20


def test_masks_are_the_predictors(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    """A mask has the image's size and what the predictor says of it, whatever it shared a batch with."""
    label(predictor, folder, tmp_path / "out", method=Method(batch_size=3))
    for number in (0, 3, 9):
        source = next(folder.glob(f"good{number}.*"))
        expected = predictor(np.array(Image.open(source).convert("RGB")))
        with Image.open(tmp_path / "out" / f"good{number}.png") as mask:
            found = np.array(mask)
        assert found.shape == expected.shape
        assert (found != expected).mean() < 1e-3


def test_everything_that_can_be_written(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    """Overlays, probabilities, polygons and runs lie beside the masks and agree with them."""
    out = tmp_path / "out"
    label(predictor, folder, out, "overlay", "probabilities", "geojson", "coco")
    with Image.open(out / "good4.png") as picture, np.load(out / "probabilities" / "good4.npz") as archive:
        mask = np.array(picture)
        assert np.array_equal(archive["probabilities"].argmax(0), mask)
        assert tuple(archive["classes"]) == predictor.classes
    features = json.loads((out / "contours" / "good4.geojson").read_text())["features"]
    assert sum(feature["properties"]["pixels"] for feature in features) == mask.size
    coco = json.loads((out / "coco.json").read_text())
    assert len(coco["images"]) == 10
    assert (out / "overlays" / "good4.png").exists()


def test_nothing_is_replaced_unasked(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    """Files that exist end the command before anything is read; an image itself is never replaced."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "good3.png").write_bytes(b"mine")
    with pytest.raises(UsageFault, match=r"results exist.*\n.*good3\.png"):
        label(predictor, folder, out)
    assert [path.name for path in out.iterdir()] == ["good3.png"]
    label(predictor, folder, out, existing="replace")
    assert (out / "good3.png").read_bytes() != b"mine"
    with pytest.raises(UsageFault, match="is one of the images, and would be replaced"):
        label(predictor, folder / "good0.png", folder, existing="replace")


def test_a_call_that_was_interrupted_goes_on(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    """Images that have all their files are left alone, and are still in the annotations of all; others are done."""
    out = tmp_path / "out"
    label(predictor, folder, out, "overlay", "coco")
    whole = json.loads((out / "coco.json").read_text())
    (out / "coco.json").unlink()
    (out / "good1.png").unlink()
    (out / "overlays" / "good2.png").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    counted: list[int] = []
    outcome = label(predictor, folder, out, "overlay", "coco", existing="keep", advance=counted.append)
    assert [path.name for path in outcome.masks] == ["good1.png", "good2.png"]
    assert {path.name for path in outcome.kept} == set(before) - {"good2.png"}
    assert sum(counted) == 10
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert {name for name in after if after[name] != before.get(name)} == {"good1.png", "good2.png"}
    assert runs_by_image(json.loads((out / "coco.json").read_text())) == runs_by_image(whole)


def test_names_that_are_no_text(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    """Bytes of a name that are no UTF-8 cost no annotations, and are read back as they are."""
    odd = folder / os.fsdecode(b"good\xff.png")
    (folder / "good0.png").rename(odd)
    outcome = label(predictor, odd, tmp_path / "out", "coco")
    assert outcome.faults == {}
    (image,) = json.loads((tmp_path / "out" / "coco.json").read_text())["images"]
    assert image["file_name"] == str(odd)


def runs_by_image(coco: dict[str, Any]) -> dict[str, list[Any]]:
    """Return what is annotated of each image, whatever its number."""
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    found: dict[str, list[Any]] = {name: [] for name in names.values()}
    for each in coco["annotations"]:
        found[names[each["image_id"]]].append((each["category_id"], each["segmentation"]))
    return found


def test_the_limit_on_pixels_can_be_moved(predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    """What is decoded whole has to keep to it."""
    outcome = label(predictor, folder, tmp_path / "out", max_pixels=50 * 41)
    assert len(outcome.masks) == 8
    assert all("more than the limit of 2,050" in told for told in outcome.faults.values())


def test_memory_that_runs_out_is_told(
    predictor: Predictor, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images at fault are reported with the way out, and the others of their batch are done."""
    own = predictor.predict

    def predict(images: list[np.ndarray], method: Method) -> list[np.ndarray]:
        if any(image.shape[0] == 42 for image in images):
            raise MemoryError
        return own(images, method)

    monkeypatch.setattr(predictor, "predict", predict)
    outcome = label(predictor, folder, tmp_path / "out", method=Method(batch_size=4))
    assert {path.name for path in outcome.faults} == {"good8.bmp", "good9.webp"}
    assert "out of memory; try --window 512" in outcome.faults[folder / "good8.bmp"]


def test_a_tiff_in_parts_is_the_tiff_as_a_whole(predictor: Predictor, tmp_path: Path) -> None:
    """Read and written in parts, a mask is the one of the image in memory."""
    image = picture(300, 260)
    source = tmp_path / "scan.tif"
    tifffile.imwrite(source, image, photometric="rgb", tile=(64, 64), compression="zlib")
    method = Method(window=(96, 96))
    outcome = label(predictor, source, tmp_path / "out", method=method)
    assert outcome.masks == (tmp_path / "out" / "scan.tif",)
    assert np.array_equal(tifffile.imread(outcome.masks[0]), predictor(image, method))
    # With more than a mask the image is decoded whole.
    whole = label(predictor, source, tmp_path / "whole", "overlay", method=method)
    assert whole.masks == (tmp_path / "whole" / "scan.png",)


MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
import segzoo
from segzoo.inference.method import Method
from segzoo.inference.predict import predict_files

def memory(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

predictor = segzoo.load(sys.argv[1], device="cpu")
method = Method(window=(512, 512), batch_size=1)
predictor(np.zeros((512, 512, 3), np.uint8), method)  # what a window takes, and whatever is loaded for it
whole = memory("VmHWM")
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
before = memory("VmRSS")
outcome = predict_files(predictor, {Path(sys.argv[2]): Path("mask")}, Path(sys.argv[3]), method=method)
assert outcome.masks, outcome.faults
print(memory("VmHWM") - before, max(whole, memory("VmHWM")))
"""


def write_large(path: Path, side: int) -> None:
    """Write a tiled TIFF row of tiles by row of tiles."""
    tile = picture(256, 256)

    def tiles() -> object:
        for number in range((-(-side // 256)) ** 2):
            yield np.roll(tile, number, axis=1)

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(256, 256),
        compression="zlib",
        maxworkers=1,
        metadata=None,
    )


def measure(run: Path, side: int, tmp_path: Path) -> tuple[int, int]:
    """Return what labelling a large TIFF in parts adds to a process's memory, and the process's peak, in MiB."""
    write_large(tmp_path / "large.tif", side)
    words = [str(run), str(tmp_path / "large.tif"), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with tifffile.TiffFile(tmp_path / "out" / "mask.tif") as tiff:
        assert tiff.pages.first.shape == (side, side)
    added, peak = map(int, done.stdout.split())
    return added, peak


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_large_images_take_little_memory(run_folder: Path, tmp_path: Path) -> None:
    """The logits of 2,000 x 2,000 pixels alone would be 80 MB, and half as much with the image: it takes less."""
    added, _ = measure(run_folder, 2000, tmp_path)
    assert added < 160


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_large_scan_takes_less_than_two_gibibytes(run_folder: Path, tmp_path: Path) -> None:
    """12,000 x 12,000 pixels, of which the logits alone would be 2.9 GB, take less than 2 GiB with all libraries."""
    _, peak = measure(run_folder, 12_000, tmp_path)
    assert peak < 2048
