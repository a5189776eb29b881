"""Images from folders, zips and memory: who is of which class, one form for all, a cache that notices, runs by reference."""

import json
import os
import shutil
import signal
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from cases import is_one_sentence

import bmaml
from bmaml.errors import InputError
from bmaml.images import digits, from_arrays, read_images, split_images
from bmaml.images.decode import Form, decode
from bmaml.methods import maml
from bmaml.models import MLP, CategoricalModel
from bmaml.training.progress import Progress

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("BMAML_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(path, pixels=None, mode=None):
    """Write a picture; a random 6x6 grey one where nothing else is said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (6, 6), dtype=np.uint8) if pixels is None else pixels
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return np.asarray(pixels)


def folder(root, classes=("ant", "bee", "cow"), count=3):
    """A folder of class folders, and its pixels by class."""
    return {name: np.stack([picture(root / name / f"{i}.png") for i in range(count)]) for name in classes}


def zipped(root, path):
    """A zip of a folder, which must not lie in it."""
    assert root not in path.parents
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root.parent))
    return path


def refused(action, tells):
    """The InputError's message, one sentence that holds `tells`."""
    with pytest.raises(InputError) as error:
        action()
    assert is_one_sentence(error.value), error.value
    assert tells in str(error.value), error.value
    return str(error.value)


def pixels_of(images):
    """Pixels by class, the channel axis dropped."""
    return {name: np.asarray(images.pixels[rows])[..., 0] for name, rows in zip(images.classes, images.rows, strict=True)}


def same(found, wanted):
    assert list(found) == list(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_a_folder_and_its_zip_hold_the_same_classes_pixel_for_pixel(tmp_path):
    wanted = folder(tmp_path / "in" / "top")
    (tmp_path / "in" / "top" / "notes.md").write_text("mine")
    (tmp_path / "in" / "top" / ".DS_Store").write_text("theirs")
    found = read_images(tmp_path / "in")
    assert found.shape == (6, 6, 1)
    same(pixels_of(found), wanted)
    same(pixels_of(read_images(zipped(tmp_path / "in", tmp_path / "in.zip"))), wanted)
    assert found.take(["bee"]).classes == ("bee",)
    refused(lambda: found.take(["dog"]), "'dog'")


def omniglot(root):
    """Two halves of two and one alphabets, black ink on white, as the official zips lie in one folder."""
    ink = np.full((105, 105), 255, np.uint8)
    ink[40:60, 20:90] = 0
    for half, alphabets in (("images_background", ("Greek", "Latin")), ("images_evaluation", ("Runes",))):
        for alphabet in alphabets:
            for character in ("character01", "character02"):
                for drawer in ("01", "02"):
                    picture(root / half / alphabet / character / f"0001_{drawer}.png", ink, "1")
        zipped(root / half, root / f"{half}.zip")
        shutil.rmtree(root / half)
    return root


def test_omniglot_is_known_by_its_names_shrunk_and_inverted(tmp_path):
    images = read_images(omniglot(tmp_path / "omniglot"))
    assert images.shape == (28, 28, 1)
    assert images.classes[:3] == ("Greek/character01", "Greek/character02", "Latin/character01")
    assert images.superclasses == ("Greek", "Greek", "Latin", "Latin", "Runes", "Runes")
    assert images.parts == ("background",) * 4 + ("evaluation",) * 2
    one = np.asarray(images.pixels[0])[..., 0]
    assert one[0, 0] == 0, "paper is 0"
    assert one[13, 14] > 250, "ink is 255"
    assert ((one > 20) & (one < 235)).any(), "antialiased"
    train, validation, test = split_images(images, "parts")
    assert (set(train.superclasses), validation, set(test.superclasses)) == ({"Greek", "Latin"}, None, {"Runes"})
    assert images.episodes(2, 1, 1, within=True).bank.superclasses == (2, 2, 2)
    for name in ("vinyals", "omniglot-1200"):
        refused(lambda name=name: split_images(images, name), "1623 characters")


def test_a_grouping_file_says_which_classes_are_held_out_together(tmp_path):
    folder(tmp_path / "fruit", [f"{kind}-{i}" for kind in ("apple", "pear", "plum", "fig") for i in range(2)], 1)
    rows = [f"{kind}-{i},{kind}" for kind in ("apple", "pear", "plum", "fig") for i in range(2)]
    superclasses = tmp_path / "coarse.csv"
    superclasses.write_text("\n".join(["class,coarse", *rows]))
    images = read_images(tmp_path / "fruit", superclasses=superclasses)
    train, _, test = split_images(images, "superclasses", seed=1)
    assert set(train.superclasses) | set(test.superclasses) == {"apple", "pear", "plum", "fig"}
    assert not set(train.superclasses) & set(test.superclasses)
    assert split_images(images, "superclasses", seed=1).test.classes == test.classes
    superclasses.write_text("\n".join(["class,coarse", *rows[1:]]))
    refused(lambda: read_images(tmp_path / "fruit", superclasses=superclasses), "'apple-0'")
    superclasses.write_text("\n".join(["class,coarse", *rows, "fig-1,nut"]))
    refused(lambda: read_images(tmp_path / "fruit", superclasses=superclasses), "'fig-1'")


@pytest.mark.parametrize("form", ["csv", "folders", "lists"])
def test_published_parts_come_as_csvs_as_folders_or_as_lists(tmp_path, form):
    """MiniImagenet's flat folder with CSVs, FC100's folders, CIFAR-FS's lists of classes."""
    parts = {"train": ("a", "b"), "val": ("c",), "test": ("d",)}
    wanted = {}
    for part, classes in parts.items():
        rows = ["filename,label"]
        for name in classes:
            where = {"csv": Path("images"), "folders": Path(part, name), "lists": Path("data", name)}[form]
            wanted[name] = np.stack([picture(tmp_path / where / f"{name}{i}.png") for i in range(2)])
            rows += [f"{name}{i}.png,{name}" for i in range(2)]
        if form == "csv":
            (tmp_path / f"{part}.csv").write_text("\n".join(rows))
        if form == "lists":
            (tmp_path / "splits").mkdir(exist_ok=True)
            (tmp_path / "splits" / f"{part}.txt").write_text("\n".join(classes))
    images = read_images(tmp_path)
    same(dict(sorted(pixels_of(images).items())), wanted)
    train, validation, test = split_images(images, "parts")
    assert (train.classes, validation.classes, test.classes) == (("a", "b"), ("c",), ("d",))


def test_a_class_in_two_parts_and_files_that_splits_do_not_know_are_refused(tmp_path):
    for part in ("train", "test"):
        picture(tmp_path / "in" / part / "cat" / "1.png")
    refused(lambda: read_images(tmp_path / "in"), "'cat'")
    for name in ("a1", "a2"):
        picture(tmp_path / "flat" / "images" / f"{name}.png")
    (tmp_path / "flat" / "train.csv").write_text("filename,label\na1.png,a\n")
    refused(lambda: read_images(tmp_path / "flat"), "a2.png")
    (tmp_path / "flat" / "train.csv").write_text("filename,label\na1.png,a\na2.png,a\na3.png,a\n")
    refused(lambda: read_images(tmp_path / "flat"), "'a3.png'")


def test_grey_stays_grey_alone_and_becomes_colour_beside_colour(tmp_path):
    grey = picture(tmp_path / "in" / "a" / "1.png")
    assert read_images(tmp_path / "in").shape == (6, 6, 1)
    colour = picture(tmp_path / "in" / "b" / "1.png", RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    with pytest.warns(UserWarning, match="other content"):
        both = read_images(tmp_path / "in")
    np.testing.assert_array_equal(both.pixels[0], np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(both.pixels[1], colour)
    luma = read_images(tmp_path / "in", channels=1).pixels[1, ..., 0]
    np.testing.assert_allclose(luma, colour @ [0.299, 0.587, 0.114], atol=1)
    refused(lambda: read_images(tmp_path / "in", channels=2), "channels is 2")


def test_alpha_lies_on_white_sixteen_bits_keep_their_high_byte_and_photographs_stand_upright(tmp_path):
    def png(image, name="x.png", **options):
        image.save(tmp_path / name, **options)
        return (tmp_path / name).read_bytes()

    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (200, 100, 0, 255)
    out = decode("x", png(Image.fromarray(clear)), Form(2, 2, 3))
    np.testing.assert_array_equal(out[0], [[200, 100, 0], [255, 255, 255]])
    deep = np.array([[0, 65535], [256, 512]], np.uint16)
    np.testing.assert_array_equal(decode("x", png(Image.fromarray(deep)), Form(2, 2, 1))[..., 0], [[0, 255], [1, 2]])
    wide = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), (8, 8), 1).repeat(8, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode("x", png(wide, "x.jpg", exif=exif), Form(16, 8, 1))[..., 0]
    np.testing.assert_allclose(turned, np.repeat([[0], [255]], 8, 0).repeat(8, 1), atol=3)


def test_images_are_decoded_once_and_again_when_cache_or_files_have_changed(tmp_path, cache, monkeypatch):
    wanted = folder(tmp_path / "in")
    read_images(tmp_path / "in")
    (array,), (manifest,) = cache.glob("*.npy"), cache.glob("*.json")
    with monkeypatch.context() as patched:
        patched.setattr("bmaml.images.files.decode", lambda *_: pytest.fail("decoded again"))
        patched.setattr("bmaml.images.files.common_form", lambda *_: pytest.fail("read again"))
        found = read_images(tmp_path / "in")
    assert isinstance(found.pixels, np.memmap)
    same(pixels_of(found), wanted)

    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        same(pixels_of(read_images(tmp_path / "in")), wanted)
    array.write_bytes(content[:50])
    with pytest.warns(UserWarning, match="is damaged"):
        same(pixels_of(read_images(tmp_path / "in")), wanted)
    manifest.write_text("{")
    with pytest.warns(UserWarning, match="is damaged"):
        same(pixels_of(read_images(tmp_path / "in")), wanted)

    os.utime(tmp_path / "in" / "ant" / "0.png", (1, 1))
    same(pixels_of(read_images(tmp_path / "in")), wanted)
    wanted["ant"][0] = picture(tmp_path / "in" / "ant" / "0.png")
    with pytest.warns(UserWarning, match="other content"):
        same(pixels_of(read_images(tmp_path / "in")), wanted)
    assert sorted(f.suffix for f in cache.iterdir()) == [".json", ".npy"], "nothing half-written is left"


def test_without_a_place_for_the_cache_images_are_read_all_the_same(tmp_path, monkeypatch):
    wanted = folder(tmp_path / "in")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BMAML_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="cannot be written"):
        same(pixels_of(read_images(tmp_path / "in")), wanted)


def test_arrays_in_memory_keep_their_labels_and_values():
    x = RNG.integers(0, 256, (4, 2, 3), dtype=np.uint8)
    images = from_arrays(x, ["b", "a", "b", "b"], superclasses=[1, 2, 1, 1])
    assert (images.classes, images.sizes, images.superclasses) == (("b", "a"), (3, 1), ("1", "2"))
    np.testing.assert_array_equal(images.pixels[images.rows[0]][..., 0], x[[0, 2, 3]])
    again = from_arrays(x.reshape(4, 6) / 255, [1.0, 0, 1, 1], shape=(2, 3))
    assert again.classes == ("0", "1")
    np.testing.assert_array_equal(again.pixels, images.pixels)
    for action, tells in (
        (lambda: from_arrays(x, [1, 2]), "y has shape (2,)"),
        (lambda: from_arrays(x * 1.0, [1] * 4), "outside 0 to 1"),
        (lambda: from_arrays(np.full((1, 2, 2), np.nan), [1]), "outside 0 to 1"),
        (lambda: from_arrays(x[0], [1, 2]), "shape (2, 3)"),
        (lambda: from_arrays(x, [1, 1, 2, 2], superclasses=[1, 2, 3, 3]), "several superclasses"),
        (lambda: split_images(images, "alphabetical"), "unknown split"),
        (lambda: split_images(images, "parts"), "parts found: none"),
        (lambda: split_images(images, held_out=1.0), "held out is 1.0"),
    ):
        refused(action, tells)


def test_the_digits_need_no_download():
    pytest.importorskip("sklearn")
    found = digits()
    assert (len(found), found.shape, found.classes) == (1797, (8, 8, 1), tuple("0123456789"))
    assert found.episodes(5, 1, 15).inputs == 64


class Stop(Progress):
    """Ctrl-C after the first chunk."""

    def update(self, step, loss, speed):
        signal.raise_signal(signal.SIGINT)


def test_a_saved_run_names_its_images_and_resumes_bit_for_bit(tmp_path, cache):
    """The folder of the run holds no pixel; a cache that is gone is made again; files that changed are refused."""
    folder(tmp_path / "in", ("a", "b", "c", "d"))
    tasks = read_images(tmp_path / "in").take(["a", "b", "d"]).episodes(2, 1, 1)
    method = maml(CategoricalModel(MLP((36, 2))), inner_steps=1)
    plan = bmaml.Plan(20, 2)
    whole = bmaml.train(method, tasks, plan, directory=tmp_path / "whole", save_every=5)
    with pytest.raises(bmaml.Interrupted):
        bmaml.train(method, tasks, plan, directory=tmp_path / "run", save_every=5, progress=Stop())
    assert not (tmp_path / "run" / "arrays.safetensors").exists()
    bank = json.loads((tmp_path / "run" / "run.json").read_text())["parts"]["tasks"]["fields"]["bank"]
    assert bank["read"]["fields"]["classes"] == ["a", "b", "d"]
    shutil.rmtree(cache)
    resumed = bmaml.resume(tmp_path / "run")
    for a, b in zip(jax.tree.leaves(whole.meta), jax.tree.leaves(resumed.meta), strict=True):
        np.testing.assert_array_equal(a, b)
    last = "checkpoint-00000020.safetensors"
    assert (tmp_path / "run" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()

    picture(tmp_path / "in" / "a" / "0.png")
    with pytest.warns(UserWarning, match="other content"):
        refused(lambda: bmaml.resume(tmp_path / "run"), "not those that this run was trained on")
    shutil.move(tmp_path / "in", tmp_path / "elsewhere")
    refused(lambda: bmaml.resume(tmp_path / "run"), "are gone")
    assert bmaml.load(tmp_path / "run").finished, "predicting needs no images"


DATA = Path(os.environ.get("BMAML_DATA", "/nowhere"))


@pytest.mark.costly
@pytest.mark.skipif(not (DATA / "omniglot").is_dir(), reason="BMAML_DATA names no folder that holds omniglot")
def test_the_real_background_set_reads_as_published(tmp_path, cache):
    images = read_images(DATA / "omniglot" / "images_background.zip")
    assert (len(images), len(images.classes), len(set(images.superclasses))) == (19280, 964, 30)
    assert set(images.sizes) == {20}
    train, _, test = split_images(images, "alphabets")
    assert (len(train.classes), len(test.classes)) == (813, 151)
    assert sorted(set(test.superclasses))[0] == "Ojibwe_(Canadian_Aboriginal_Syllabics)"
    mean = images.pixels.mean() / 255
    assert 0.06 < mean < 0.1, "ink is 1 and most of a drawing is paper"
    task = test.episodes(20, 1, 5, rotations=True, within=True).sample(jax.random.key(0))
    assert task.query.x.shape == (100, 784)
