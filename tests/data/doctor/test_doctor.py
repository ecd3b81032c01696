"""The doctor finds every fault of data, and nothing else."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.doctor.doctor import Checkup, Listed, Spread, examine_source
from segzoo.data.findings import Finding
from segzoo.data.opening import list_source, open_source
from segzoo.data.scan import scan
from segzoo.data.source import Pixels
from segzoo.recipe.data import CamvidData, ClassEntry, DataSection, FolderData, ShapesData

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests' records out of the user's cache."""
    monkeypatch.setenv("SEGZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def examine(section: DataSection) -> Checkup:
    """Check the data of a section."""
    return examine_source(*list_source(section, seed=0))


def make_scenes(root: Path, count: int) -> None:
    """Write scenes in two splits, with 11 classes and a void of label 11."""
    random = np.random.default_rng(0)
    for split, length in (("train", 3), ("val", count)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(length):
            pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
            save(pixels, root / split / "images" / f"{split}{number:03}.png")
            save(pixels[..., 0] % 12, root / split / "masks" / f"{split}{number:03}.png")


def copy_scenes(root: Path) -> None:
    """Copy CamVid's validation split, and three of the training images."""
    shutil.copytree(CAMVID / "val", root / "val")
    for kind in ("images", "masks"):
        (root / "train" / kind).mkdir(parents=True)
        for path in sorted((CAMVID / "train" / kind).iterdir())[:3]:
            shutil.copy(path, root / "train" / kind)


def save(pixels: object, path: Path) -> None:
    """Write pixels; the suffix need not say in which format."""
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, format="PNG")


def load(path: Path) -> Pixels:
    """Return the values in an image file."""
    with Image.open(path) as image:
        return np.array(image)


def promise(path: Path) -> None:
    """Write a PNG whose header promises 10 gigapixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IEND", b""))
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def animate(path: Path) -> None:
    """Write an animation of two frames."""
    first, second = (Image.fromarray(np.full((9, 9, 3), grey, np.uint8)) for grey in (0, 200))
    first.save(path, format="GIF", save_all=True, append_images=[second])


def put_outside(path: Path) -> None:
    """Give one pixel of a mask the label 254."""
    mask = load(path)
    mask[5, 6] = 254
    save(mask, path)


def plant(root: Path) -> set[tuple[str, str]]:
    """Plant one fault of each kind that indexed masks can have; return the kinds with the files at fault."""
    images, masks = (sorted((root / "val" / kind).iterdir()) for kind in ("images", "masks"))
    # From the second on, so that the first and the last pair are good ones.
    faults: list[tuple[str, Path]] = []

    def fault(kind: str, path: Path, act: Callable[[Path], object]) -> None:
        act(path)
        faults.append((kind, path))

    fault("unreadable", images[1], lambda path: path.write_bytes(path.read_bytes()[:-300]))
    fault("unsupported", images[2], animate)
    fault("too_large", masks[3], promise)
    fault("missing_mask", images[4], lambda _: masks[4].unlink())
    fault("missing_image", masks[5], lambda _: images[5].unlink())
    twin = images[6].with_suffix(".ppm" if images[6].suffix != ".ppm" else ".bmp")
    fault("repeated_name", max(images[6], twin), lambda _: shutil.copy(images[6], twin))
    fault("size_mismatch", masks[7], lambda path: save(load(path)[:-1], path))
    fault("label_outside_classes", masks[8], put_outside)
    fault("binary_mask", masks[9], lambda path: save((load(path) == 1) * 255, path))
    fault("colour_mask", masks[10], lambda path: save(np.dstack([load(path)] * 3), path))
    fault("duplicate", images[12], lambda path: save(load(images[11]), path))
    trained = min((root / "train" / "images").iterdir())
    fault("leak", images[13], lambda path: shutil.copy(trained, path))
    fault("blank_image", images[14], lambda path: save(np.zeros_like(load(path)), path))
    fault("low_values", images[15], lambda path: save(load(path) // 128, path))
    return {(kind, str(path)) for kind, path in faults}


@pytest.mark.parametrize(
    "real", [False, pytest.param(True, marks=pytest.mark.skipif(not CAMVID.is_dir(), reason="needs CamVid"))]
)
def test_planted_faults_are_found_and_nothing_else(tmp_path: Path, real: bool) -> None:
    """Fourteen faults of different kinds among a hundred scenes are found; before, the data is clean."""
    root = tmp_path / "camvid"
    if real:
        copy_scenes(root)
    else:
        make_scenes(root, 24)
    section = CamvidData(root=str(root))
    assert examine(section).findings == ()
    planted = plant(root)
    assert len(planted) == 14
    findings = examine(section).findings
    assert {(listed.finding.kind, listed.finding.file) for listed in findings} == planted
    assert len(findings) == len(planted)
    assert {listed.split for listed in findings} == {"val"}


def test_one_colour_mask_does_not_speak_for_all(tmp_path: Path) -> None:
    """Where the very first of CamVid's masks holds colours, it is at fault, not all the others."""
    make_scenes(tmp_path, 12)
    first = tmp_path / "val/masks/val000.png"
    save(np.dstack([load(first)] * 3), first)
    ((_, finding),) = examine(CamvidData(root=str(tmp_path), splits={"train": "val"})).findings
    assert (finding.kind, finding.file) == ("colour_mask", str(first))


def folder(root: Path, **keys: object) -> FolderData:
    """Return the section of two classes in one split."""
    classes = (ClassEntry(name="a"), ClassEntry(name="b"))
    return FolderData.model_validate({"root": str(root), "classes": classes, "splits": {"train": "train"}, **keys})


def write(root: Path, name: str, image: object, mask: object, split: str = "train") -> None:
    """Write a pair."""
    for kind, pixels in (("images", image), ("masks", mask)):
        (root / split / kind).mkdir(parents=True, exist_ok=True)
        save(pixels, root / split / kind / f"{name}.png")


def colors(seed: int) -> Pixels:
    """Return random colours of 6x8 pixels."""
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)


def kinds(checkup: Checkup) -> list[str]:
    """Return the kinds of the findings."""
    return [listed.finding.kind for listed in checkup.findings]


def test_mask_of_0_and_255_is_no_finding_once_255_is_said_to_be_ignored(tmp_path: Path) -> None:
    """Where 255 merely happens to be the ignored label, a black-and-white mask would train nothing but background."""
    write(tmp_path, "a", colors(0), np.eye(6, 8) * 255)
    write(tmp_path, "b", colors(1), np.eye(6, 8))
    (listed,) = examine(folder(tmp_path)).findings
    assert listed.split == "train"
    assert listed.finding.file.endswith("masks/a.png")
    assert listed.finding.kind == "binary_mask"
    assert "mask_mode to 'binary'" in listed.finding.message
    assert examine(folder(tmp_path, ignore_labels=(255,))).findings == ()
    assert kinds(examine(folder(tmp_path, ignore_index=254))) == ["binary_mask"]


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (np.full((6, 8, 3), 7), "blank_image", r"every pixel is \(7, 7, 7\)"),
        (colors(0)[:1, :1], "blank_image", "is it an image at all"),
        (colors(0) // 128, "low_values", "no value is above 1 of 255: save it scaled"),
        (colors(0) // 26, "low_values", "almost black: no value is above 9 of 255"),
    ],
    ids=["one colour", "one pixel", "0 to 1", "dark"],
)
def test_image_that_shows_nothing_is_found(tmp_path: Path, image: Pixels, kind: str, message: str) -> None:
    """An image of one colour, or of next to no light, is told; two of one colour are not told as copies too."""
    write(tmp_path, "a", image, np.zeros(image.shape[:2]))
    write(tmp_path, "b", colors(1), np.eye(6, 8))
    ((_, finding),) = examine(folder(tmp_path)).findings
    assert finding.kind == kind
    assert re.search(message, finding.message)


def test_blank_images_are_not_copies_of_each_other(tmp_path: Path) -> None:
    """Two blank images are blank, which says enough."""
    for name in "ab":
        write(tmp_path, name, np.zeros((6, 8, 3)), np.eye(6, 8))
    assert kinds(examine(folder(tmp_path))) == ["blank_image", "blank_image"]


def test_same_picture_in_another_file_format_is_a_copy(tmp_path: Path) -> None:
    """Copies are told by what they show, each with the first one, and with its mask where that differs."""
    for name in "abc":
        write(tmp_path, name, colors(0), np.eye(6, 8))
    save(np.zeros((6, 8)), tmp_path / "train/masks/c.png")
    Image.fromarray(colors(0)).save(tmp_path / "train/images/b.png", format="BMP")
    first = tmp_path / "train/images/a.png"
    assert [str(listed.finding) for listed in examine(folder(tmp_path)).findings] == [
        f"{tmp_path / 'train/images/b.png'}: the same picture as {first}",
        f"{tmp_path / 'train/images/c.png'}: the same picture as {first}, with another mask",
    ]


def test_same_file_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    """A recipe whose splits overlap is told so."""
    write(tmp_path, "a", colors(0), np.eye(6, 8))
    checkup = examine(folder(tmp_path, splits={"train": "train", "val": "train"}))
    (listed,) = checkup.findings
    file = str(tmp_path / "train/images/a.png")
    assert listed == Listed("val", Finding("leak", file, "it is in the split 'train' too"))
    assert {split: facts.samples for split, facts in checkup.splits.items()} == {"train": 1, "val": 1}


def test_split_of_a_file_without_partner_is_known_by_its_folder(tmp_path: Path) -> None:
    """A file that is in no pair belongs to the split beside whose files it lies, and to none in a folder of its own."""
    write(tmp_path, "a", colors(0), np.eye(6, 8))
    (tmp_path / "train/images/more").mkdir()
    for name in ("alone", "more/alone"):
        save(colors(1), tmp_path / f"train/images/{name}.png")
    assert {(Path(found.finding.file).parent.name, found.split) for found in examine(folder(tmp_path)).findings} == {
        ("images", "train"),
        ("more", None),
    }


def test_facts_agree_with_counting_by_hand(tmp_path: Path) -> None:
    """Sizes, shares, means and deviations are those of a split's pixels; of faulty samples only the number is known."""
    images = [np.random.default_rng(seed).integers(0, 256, (4 + seed, 8, 3), np.uint8) for seed in range(3)]
    masks = [np.zeros((4, 8)), np.full((5, 8), 255), np.ones((6, 8))]
    masks[0][0, :3] = 255
    for name, image, mask in zip("abc", images, masks, strict=True):
        write(tmp_path, name, image, mask)
    write(tmp_path, "d", colors(5), np.full((6, 8), 9))
    checkup = examine(folder(tmp_path, ignore_labels=(255,)))
    facts = checkup.splits["train"]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    assert facts.samples == 4
    assert (facts.heights, facts.widths) == (Spread(4, 5, 6), Spread(8, 8, 8))
    assert facts.class_pixels == (29, 48)
    assert facts.class_presence == (29, 48)
    assert facts.ignored_pixels == 43
    assert facts.ignored_share == pytest.approx(43 / 120)
    assert facts.void == 1
    assert facts.mean == pytest.approx(pixels.mean(axis=0))
    assert facts.std == pytest.approx(pixels.std(axis=0))
    assert dict(checkup.outside) == {9: 1}
    assert kinds(checkup) == ["label_outside_classes"]


def test_scan_after_a_check_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the doctor has read is known to the scan of the same splits."""
    write(tmp_path, "a", colors(0), np.eye(6, 8))
    section = folder(tmp_path)
    examine(section)
    monkeypatch.setattr("segzoo.data.formats.files.read_image", lambda *_, **__: pytest.fail("read again"))
    report = scan(open_source(section, seed=0), ["train"], num_classes=2)
    assert report.class_pixels == {"train": (42, 6)}


def test_drawn_scenes_are_clean() -> None:
    """Data without files can be checked too."""
    checkup = examine(ShapesData(counts={"train": 3, "val": 2}))
    assert checkup.findings == ()
    assert checkup.splits["train"].heights == Spread(96, 96, 96)


def test_progress_counts_every_sample(tmp_path: Path) -> None:
    """The bar is told the number of samples, and moves once for each, faulty ones too."""
    for name, label in (("a", 1), ("b", 9)):
        write(tmp_path, name, colors(label), np.full((6, 8), label))
    told: list[object] = []

    def watch(task: str, total: int) -> Callable[[], None]:
        told.append((task, total))
        return lambda: told.append("one")

    examine_source(*list_source(folder(tmp_path), seed=0), watch=watch)
    assert told == [("reading", 2), "one", "one"]
