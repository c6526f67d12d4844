from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from voxelcast.core.errors import DataError, MissingFileError, OptionError, StimulusError, StoreError
from voxelcast.core.progress import Silent
from voxelcast.networks.checkpoints import find_head
from voxelcast.networks.finetune import FinetuneSettings, finetune, load_trainee
from voxelcast.networks.labelled_images import list_image_folder, validate
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import NetworkSettings

CPU = torch.device("cpu")
NETWORK = "torchvision/resnet18"
# Long enough that the order in which threads add up makes no difference to what has been learnt.
SMALL = FinetuneSettings(epochs=6, lr_head=0.01, lr_backbone=0.002, batch=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three colours in noise: what any network learns at once."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir()
        for k in range(9 if name == "red" else 8):
            pixels = rng.integers(0, 120, (40, 48, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


def _train(folder, output, settings=SMALL, name=NETWORK, **options):
    images = list_image_folder(folder)
    trainee = load_trainee(NetworkSettings(name, "fc", "random", 32), images, **options)
    return trainee, finetune(trainee, images, output, settings, device=CPU)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "tuned.pth"
    _, history = _train(folder, output)
    return output, history


def test_learning_lowers_the_loss_and_the_result_can_be_used(folder, trained):
    output, history = trained
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    network = load_network(NETWORK, weights=output, layers=["fc"], input_size=32)
    assert network.card.weights.startswith("file tuned.pth (blake2b ")
    images = list_image_folder(folder)
    found = validate(network, images)
    assert (found.n_images, found.n_classes, found.top5) == (25, 3, 1.0)
    assert found.top1 > 0.6
    # The written map gives the same classes, whatever folders there are.
    mapped = list_image_folder(folder, output.with_name("tuned.pth.classes.json"))
    assert mapped.labels == images.labels
    facts = json.loads(output.with_name("tuned.pth.provenance.json").read_text())
    assert facts["weights_hash"] == network.card.weights_hash
    assert facts["history"] == history
    assert facts["settings"]["epochs"] == 6
    assert not output.with_name("tuned.pth.resume").exists()


class Kill(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bits(folder, trained, tmp_path, monkeypatch):
    output, history = trained
    from voxelcast.networks import finetune as module

    steps_of = module._steps
    done = []

    def until_killed(*arguments):
        if len(done) == 2:
            raise Kill
        done.append(len(done))
        return steps_of(*arguments)

    again = tmp_path / "again.pth"
    with monkeypatch.context() as patch:
        patch.setattr(module, "_steps", until_killed)
        with pytest.raises(Kill):
            _train(folder, again)
    assert not again.exists()
    with pytest.raises(StoreError, match="was left by fine-tuning with other"):
        _train(folder, again, FinetuneSettings(epochs=6, batch=8, seed=1))
    torch.rand(7)  # what else was drawn does not matter
    _, resumed = _train(folder, again)
    assert done == [0, 1]
    assert resumed == history
    first, second = (torch.load(path, weights_only=True)["model"] for path in (output, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(StoreError, match="exists already"):
        _train(folder, again)


@pytest.mark.parametrize(
    "name", ["torchvision/shufflenet_v2_x0_5", pytest.param("barlow_twins/resnet50", marks=pytest.mark.slow)]
)
def test_training_the_head_alone_changes_nothing_else(folder, tmp_path, name):
    images = list_image_folder(folder)
    settings = FinetuneSettings(epochs=2, trainable="head", lr_head=0.05, batch=8)
    before = load_trainee(NetworkSettings(name, "fc", "random", 32), images).module.state_dict()
    before = {key: tensor.clone() for key, tensor in before.items()}
    trainee = load_trainee(NetworkSettings(name, "fc", "random", 32), images)
    finetune(trainee, images, tmp_path / "head.pth", settings, device=CPU)
    changed = {key for key, tensor in trainee.module.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"fc.weight", "fc.bias"}
    network = load_network(name, weights=tmp_path / "head.pth", layers=["fc"], input_size=32)
    prepared = network.prepare(np.zeros((1, 8, 8, 3), np.uint8))
    assert network.activations(prepared)["fc"].shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("torchvision/inception_v3", "fc"),
        ("torchvision/squeezenet1_0", "classifier.1"),
        ("torchvision/mobilenet_v2", "classifier.1"),
        ("torchvision/vit_b_32", "heads.head"),
        ("vonenet/cornets", "model.decoder.linear"),
        ("simclr/r50_1x_sk0", "fc"),
    ],
)
def test_the_head_is_the_layer_that_gives_the_scores(folder, name, head):
    images = list_image_folder(folder)
    trainee = load_trainee(NetworkSettings(name, "fc", "random"), images)
    assert find_head(trainee.module, name) == head
    weight = trainee.module.get_submodule(head).weight
    assert len(weight) == 3
    assert float(weight.detach().std()) == pytest.approx(0.01, rel=0.1)


def test_a_fraction_is_balanced_and_follows_the_seed(folder):
    images = list_image_folder(folder)
    assert images.classes == {"blue": 0, "green": 1, "red": 2}
    part, again, other = (images.fraction(0.5, seed) for seed in (3, 3, 4))
    assert np.bincount(part.labels).tolist() == [4, 4, 4]
    assert part == again
    assert part.stimuli != other.stimuli
    assert set(part.stimuli) < set(images.stimuli)
    assert np.bincount(images.fraction(0.01, 0).labels).tolist() == [1, 1, 1]
    assert images.fraction(1.0, 0) == images


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, MissingFileError, "does not exist"),
        ("{", DataError, "cannot be read as JSON"),
        ('{"red": 0, "green": 1}', DataError, "1 of 3 are not in it (first 'blue')"),
        ('{"red": 0, "green": 1, "blue": 1}', DataError, "got 1 twice"),
        ('{"red": 0, "green": 1, "blue": "2"}', DataError, "must map folder names to class indices"),
        ('["red"]', DataError, "must map folder names to class indices"),
    ],
)
def test_maps_that_do_not_fit_are_refused(folder, tmp_path, content, error, message):
    path = tmp_path / "map.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error) as raised:
        list_image_folder(folder, path)
    assert message in str(raised.value)


def test_folders_that_do_not_fit_are_refused(folder, tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        list_image_folder(tmp_path / "nothing")
    with pytest.raises(DataError, match="one folder of images per class; got none"):
        list_image_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        list_image_folder(tmp_path)
    (tmp_path / "empty" / "a.png").write_text("no picture")
    broken = list_image_folder(tmp_path, None)
    network = load_network(NETWORK, weights="random", layers=["fc"], input_size=64)
    with pytest.raises(StimulusError, match=r"a\.png"):
        validate(network, broken)
    with pytest.raises(DataError, match="tells 1000 classes apart, but there are 3 class folders"):
        validate(network, list_image_folder(folder))


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch": 1},
        {"lr_head": 0.0},
        {"lr_backbone": float("inf")},
        {"weight_decay": -1.0},
        {"trainable": "tail"},
    ],
)
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError):
        FinetuneSettings(**options)


def test_networks_that_do_not_classify_images_are_refused(folder):
    images = list_image_folder(folder)
    with pytest.raises(OptionError, match="takes clips and cannot be fine-tuned"):
        load_trainee(NetworkSettings("torchvision/r3d_18", "fc", "random"), images)
    with pytest.raises(OptionError, match="does not classify images one by one"):
        validate(load_network("voxelcast/motion_energy", weights=None, layers=["all"]), images)


@pytest.fixture(scope="module")
def crops(real_data, tmp_path_factory):
    """Six pictures as classes: 100 crops of the left half of each to learn from, 20 of the right half to be named."""
    root, rng = tmp_path_factory.mktemp("crops"), np.random.default_rng(0)
    for path in sorted((real_data / "pictures").iterdir()):
        picture = Image.open(path).convert("RGB").resize((192, 192))
        for part, n, first in (("learn", 100, 0), ("name", 20, 96)):
            folder = root / part / path.stem
            folder.mkdir(parents=True)
            for k in range(n):
                left, top = first + int(rng.integers(33)), int(rng.integers(128))
                picture.crop((left, top, left + 64, top + 64)).save(folder / f"{k}.png")
    return root


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, message):
        self.said.append(message)


MOBILENET = "mobilenet_v2_1.0_224_coral_tv.pth"
HEAD = {"trainable": "head", "batch": 6}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fraction", "name", "weights", "options", "learns"),
    [
        (0.01, "torchvision/mobilenet_v2", MOBILENET, {**HEAD, "epochs": 15, "lr_head": 0.1}, True),
        (0.1, "torchvision/mobilenet_v2", MOBILENET, {**HEAD, "epochs": 5, "lr_head": 0.03}, True),
        (0.1, NETWORK, "random", {"epochs": 10, "batch": 12, "lr_head": 0.02, "lr_backbone": 0.01}, True),
        # Its batch norms were folded into the convolutions: as those learn, no activation is left.
        (0.1, "torchvision/mobilenet_v2", MOBILENET, {"epochs": 2, "batch": 6, "lr_head": 0.03}, False),
    ],
    ids=["1 %, head", "10 %, head", "10 %, all", "folded"],
)
def test_a_fraction_of_the_labels_is_enough_to_name_what_was_not_seen(
    crops, real_data, tmp_path, fraction, name, weights, options, learns
):
    size: dict = {"input_size": 64, "mean": (0.5,) * 3, "std": (0.5,) * 3} if name != NETWORK else {"input_size": 32}
    file = "random" if weights == "random" else real_data / "weights" / weights
    part = list_image_folder(crops / "learn").fraction(fraction, 0)
    assert len(part) == 600 * fraction
    trainee = load_trainee(NetworkSettings(name, "fc", file, **size), part)
    progress, output = Notes(), tmp_path / "tuned.pth"
    history = finetune(trainee, part, output, FinetuneSettings(**options), device=CPU, progress=progress)
    assert any("nothing was learnt: top-1 is no better than" in said for said in progress.said) != learns
    if not learns:
        assert history[-1]["loss"] == pytest.approx(np.log(6), abs=0.05)
        return
    tuned = load_network(name, weights=output, layers=["all"], **size)
    found = validate(tuned, list_image_folder(crops / "name"))
    assert (found.n_images, found.n_classes) == (120, 6)
    assert found.top1 > 1 / 6 + 5 * (1 / 6 * 5 / 6 / 120) ** 0.5


@pytest.mark.parametrize(
    ("name", "weights", "options"),
    [
        ("torchvision/mobilenet_v2", "mobilenet_v2_1.0_224_coral_tv.pth", {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ("torchvision/squeezenet1_0", "squeezenet1_0_deepcompression_tv.pth", {"input_size": 227}),
    ],
)
def test_validation_of_trained_networks_on_known_pictures(real_data, tmp_path, name, weights, options):
    labels = (real_data / "weights" / "imagenet_labels.txt").read_text().splitlines()[1:]  # the first is "background"
    classes = {}
    for picture, wanted in (
        ("parrot.jpg", "macaw"),
        ("cat.bmp", "Egyptian cat"),
        ("hot_dog.jpg", "hotdog, hot dog, red hot"),
        ("bird.bmp", "chickadee"),
        ("sunflower.bmp", "bookcase"),  # a wrong label: no network names it so
    ):
        folder = picture.split(".")[0]
        (tmp_path / "images" / folder).mkdir(parents=True)
        (tmp_path / "images" / folder / picture).write_bytes((real_data / "pictures" / picture).read_bytes())
        classes[folder] = labels.index(wanted)
    (tmp_path / "map.json").write_text(json.dumps(classes))
    images = list_image_folder(tmp_path / "images", tmp_path / "map.json")
    network = load_network(name, weights=real_data / "weights" / weights, layers=["classifier"], **options)
    found = validate(network, images, batch=2)
    assert (found.top1, found.top5, found.n_images, found.n_classes) == (0.8, 0.8, 5, 1000)
