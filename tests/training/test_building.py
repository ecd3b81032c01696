"""What a run is made of: weights of another run by the names of its classes, a first batch that makes sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

import segzoo
from segzoo.errors import DataError, RecipeError, UsageFault
from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, load_recipe, resolve_recipe
from segzoo.runtime.device import choose_device
from segzoo.runtime.distributed import ALONE, World
from segzoo.runtime.launch import Launch
from segzoo.training.building import build_parts, check_cuda_graph, configure, synchronise
from segzoo.training.dry_run import check_run
from segzoo.training.finetune import Run, finetune

SMALL = (
    "data.size=[48,64]",
    "data.image_size=[32,48]",
    'data.counts={"train":4,"val":2}',
    "train.batch_size=4",
    "train.epochs=1",
    "train.threads=1",
)


def small(*changes: str) -> Recipe:
    """Return the quickstart recipe at a size of one step."""
    return load_recipe("quickstart", (*SMALL, *changes))


def starting_from(run: Run, *changes: str) -> Recipe:
    """Return the same recipe on more classes, with the weights of a run."""
    return small("transfer.strategy=finetune", f"model.weights={run.folder}", "data.num_classes=5", *changes)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run on three classes."""
    return finetune(small("data.num_classes=3"), out=tmp_path_factory.mktemp("runs") / "first", device="cpu")


def test_classes_of_another_run_are_kept_by_name(first: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The head has the rows of the common classes, everything else is the first run's as it was."""
    given = load_file(first.model / "model.safetensors")

    with caplog.at_level("INFO", logger="segzoo.training.building"):
        parts, _ = build_parts(resolve_recipe(starting_from(first), default_registry()), choose_device("cpu"))

    assert parts.names == ["background", "disk", "square", "triangle", "ring"]
    assert "head: 3 of 5 classes kept by name (new: triangle, ring)" in caplog.text
    for name, tensor in parts.model.state_dict().items():
        shared = tensor[:3] if tensor.shape != given[name].shape else tensor
        assert torch.equal(shared, given[name])


def test_the_record_names_the_weights(first: Run, tmp_path: Path) -> None:
    """run.json and model.json say where a run's weights come from, or that they were random."""
    second = finetune(starting_from(first), out=tmp_path / "second", device="cpu")

    for run, source in ((first, None), (second, f"weights from {first.model}")):
        assert run.record is not None
        assert run.record.weights == source
        described = json.loads((run.model / "model.json").read_text(encoding="utf-8"))
        assert described["provenance"]["pretrained"] == source


def test_a_run_is_enough_to_use_its_model(first: Run) -> None:
    """``create_model`` with a run as weights gives the trained model."""
    model = segzoo.create_model("fast_scnn", num_classes=3, weights=str(first.folder))
    given = load_file(first.model / "model.safetensors")
    assert all(torch.equal(tensor, given[name]) for name, tensor in model.state_dict().items())


def test_a_run_whose_weights_are_damaged_is_told_and_nothing_is_written(first: Run, tmp_path: Path) -> None:
    """Exit 2 with the file's name, and no run directory."""
    damaged = tmp_path / "damaged/model"
    damaged.mkdir(parents=True)
    (damaged / "model.json").write_bytes((first.model / "model.json").read_bytes())
    (damaged / "model.safetensors").write_bytes((first.model / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(UsageFault, match=r"model\.safetensors is damaged"):
        finetune(starting_from(Run(damaged.parent)), out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_first_batch_of_night_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """What augmentation leaves is what is looked at: darkened to nothing, it is warned of, and still trained on."""
    darken = {"name": "RandomBrightnessContrast", "brightness_limit": [-1, -1], "contrast_limit": [0, 0], "p": 1}

    parts, _ = build_parts(
        resolve_recipe(small(f"augment={json.dumps([darken])}"), default_registry()), choose_device("cpu")
    )

    assert "the first batch is almost black: no value is above 0 of 255" in caplog.text
    assert {channel.max for channel in parts.built.first_batch.channels} == {-2.1179, -2.03571, -1.80444}


def test_labels_that_augmentation_invents_are_refused(tmp_path: Path) -> None:
    """They end the run before it begins, and leave no directory."""
    shift = {"name": "Affine", "translate_percent": [0.5, 0.5], "fill_mask": 77, "p": 1}
    with pytest.raises(DataError, match=r"holds the labels 77 after augmentation; the classes are 0 to 4"):
        finetune(small(f"augment={json.dumps([shift])}"), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_fetches_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that nobody could reach does not stop it: only its name is checked."""
    monkeypatch.setattr("segzoo.weights.sources.fetch_description", lambda *_: pytest.fail("the hub was asked"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    recipe = small("transfer.strategy=finetune", "model.weights=hf-hub:owner/name")
    assert check_run(resolve_recipe(recipe, default_registry())) > 1_000_000


def test_synchronised_batch_norms_keep_what_is_in_them() -> None:
    """Parameters, names and timm's activations stay, so that the network is the same."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(BatchNormAct2d(3))).eval()
    image = torch.randn(2, 3, 4, 4)
    before, parameters, names = model(image), list(model.parameters()), list(model.state_dict())

    model = synchronise(model)

    assert [isinstance(module, nn.SyncBatchNorm) for module in (model[0], model[1][0])] == [True, True]
    assert all(kept is given for kept, given in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(image), before)
    assert before.min() >= 0


def test_settings_that_are_odd_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Fewer images than a step, and half precision on a CPU, are worth a word."""
    recipe = resolve_recipe(small("train.batch_size=5000", "train.precision=bf16"), default_registry())
    build_parts(recipe, choose_device("cpu"))
    assert "the 4 training images are fewer than a step of train.batch_size 5000" in caplog.text
    assert "train.precision 'bf16' is slow on most CPUs" in caplog.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("train.epochs=2", "transfer.unfreeze_encoder_at=3"), "unfreeze_encoder_at 3 comes after the last epoch, 2"),
        (("train.epochs=9", "train.max_steps=1", "transfer.unfreeze_encoder_at=2"), "after the last epoch, 1"),
        (("train.epochs=9", "train.max_steps=2", "transfer.unfreeze_encoder_at=2"), None),
    ],
)
def test_an_encoder_that_never_trains_is_told(
    changes: tuple[str, ...], told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """An epoch that the run does not reach thaws nothing; one that it reaches has no warning."""
    build_parts(resolve_recipe(small("transfer.strategy=finetune", *changes), default_registry()), choose_device("cpu"))
    assert ("comes after the last epoch" in caplog.text) is (told is not None)
    assert (told or "") in caplog.text


def test_a_dry_run_counts_class_weights() -> None:
    """The classes are known without the data; the message names the path."""
    weights = 'loss=[{"name":"cross_entropy","class_weights":[1,2,3]}]'
    with pytest.raises(RecipeError, match=r"loss\.0\.class_weights has 3 numbers, but the data has 5 classes"):
        check_run(resolve_recipe(small("data.num_classes=5", weights), default_registry()))


def test_a_graph_needs_one_process_on_a_gpu() -> None:
    """The message names the key and the way out; without the key everything is allowed."""
    recipe = small("train.cuda_graph=true")
    two = World(Launch(size=2))
    with pytest.raises(UsageFault, match=r"train.cuda_graph true needs a CUDA device, but the run trains on cpu"):
        build_parts(resolve_recipe(recipe, default_registry()), choose_device("cpu"))
    with pytest.raises(RecipeError, match="records the step of one process, but 2 processes train"):
        check_cuda_graph(recipe, torch.device("cuda", 0), two)
    check_cuda_graph(recipe, torch.device("cuda", 0), ALONE)
    check_cuda_graph(small(), torch.device("cpu"), two)


def test_each_run_chooses_how_matrix_products_round() -> None:
    """A run is not bound by what an earlier one of this process chose, nor by torch's newer setting."""
    for precision in ("medium", "high", "highest"):
        configure(small(f"train.float32_matmul_precision={precision}"), torch.device("cpu"))
        assert torch.get_float32_matmul_precision() == precision
        before = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cuda.matmul.fp32_precision = before
    configure(small("train.float32_matmul_precision=high"), torch.device("cpu"))
    configure(small(), torch.device("cpu"))
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.slow
def test_a_compiled_run_is_scored_as_it_was_trained(tmp_path: Path) -> None:
    """Another process of scoring compiles the same program: every number is that of the training."""
    from segzoo.inference.evaluation import evaluate

    recipe = small("train.compile=true", "train.epochs=2", 'data.counts={"train":4,"val":5}')
    run = finetune(recipe, out=tmp_path / "run", device="cpu")
    torch._dynamo.reset()
    scores = evaluate(run.folder, device="cpu")
    best = max(run.metrics, key=lambda row: row["mean_iou"])
    assert scores.metrics["mean_iou"] == best["mean_iou"]
    assert scores.loss == best["val_loss"]
