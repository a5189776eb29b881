"""Images that cannot be used are refused in one sentence that names them; nothing is run, unpacked or left half-written."""

import io
import os
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest
from cases import is_one_sentence, sentence

from bmaml.errors import InputError
from bmaml.images import read_images

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("BMAML_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(side=6, mode="L", kind="PNG"):
    """The bytes of a random picture."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A folder of two classes of three images, to which a test adds something bad."""
    for name in ("ant", "bee"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "in" / name / f"{i}.png").write_bytes(png())
    return tmp_path / "in"


def refused(action, *tells):
    """Whether an action raises an InputError of one sentence that holds all of `tells`."""
    with pytest.raises(InputError) as error:
        action()
    assert is_one_sentence(error.value), error.value
    for part in tells:
        assert part in str(error.value), error.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_named_and_no_cache_is_left(folder, cache, kind):
    content = png(24, kind=kind)
    for i in range(3):
        for name in ("ant", "bee"):
            (folder / name / f"{i}.png").write_bytes(png(24))
    (folder / "bee" / "7.png").write_bytes(content[: len(content) * 2 // 3])
    refused(lambda: read_images(folder), "bee/7.png", "truncated")
    assert not list(cache.iterdir())


@pytest.mark.parametrize("content", [b"", b"I am no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)], ids=["empty", "text", "head"])
def test_what_is_no_image_is_named(folder, content):
    (folder / "ant" / "9.png").write_bytes(content)
    refused(lambda: read_images(folder), "ant/9.png")


def test_a_picture_that_claims_to_be_huge_is_refused(folder):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    (folder / "ant" / "9.png").write_bytes(bomb)
    refused(lambda: read_images(folder, size=8), "ant/9.png", "larger than")


@pytest.mark.parametrize("shape", [(1, 40_000), (8200, 8200)], ids=["narrow", "large"])
def test_pixels_are_counted_before_any_is_decoded(folder, shape, monkeypatch):
    Image.new("1", shape).save(folder / "ant" / "9.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    refused(lambda: read_images(folder, size=8), "ant/9.png is larger than")


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "PCX"])
def test_a_format_that_is_not_on_the_list_is_not_opened_by_another_name(folder, kind, monkeypatch):
    """Pillow would start Ghostscript for an EPS, whatever its name."""
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    Image.new("L", (6, 6)).save(folder / "ant" / "9.png", kind)
    refused(lambda: read_images(folder), "ant/9.png", "unknown format")


def test_links_to_what_is_no_plain_file_are_refused(folder):
    os.mkfifo(folder.parent / "pipe")
    for target in ("/dev/zero", folder.parent / "pipe", folder.parent / "none", folder.parent):
        (folder / "ant" / "9.png").symlink_to(target)
        read = folder / "ant" / "9.png"
        if target != folder.parent:  # a folder of that name would be a folder of images
            refused(lambda: read_images(folder), f"{read} cannot be read")
        read.unlink()
    (folder / "more.zip").symlink_to("/dev/zero")
    refused(lambda: read_images(folder), "more.zip is not a zip that can be read (it is a device")
    refused(lambda: read_images(folder.parent / "pipe"), "it is a pipe")


def test_file_names_that_are_no_text_are_read_all_the_same(folder, tmp_path):
    """Linux allows any bytes in a name."""
    (folder / "ant").rename(folder / os.fsdecode(b"\xff\xfe"))
    (folder / "bee" / "0.png").rename(folder / "bee" / os.fsdecode(b"\xe9.png"))
    for _ in range(2):  # decoded, and from the cache
        assert read_images(folder).classes == ("bee", os.fsdecode(b"\xff\xfe"))


def test_mixed_sizes_are_named_and_a_size_makes_them_one(folder):
    (folder / "bee" / "9.png").write_bytes(png(8))
    refused(lambda: read_images(folder), "bee/9.png is 8x8", "6x6", "give a size")
    assert read_images(folder, size=(4, 5)).shape == (4, 5, 1)
    refused(lambda: read_images(folder, size=(4, 5, 6)), "size is (4, 5, 6)")


def test_floating_point_pixels_are_named(folder):
    out = io.BytesIO()
    Image.fromarray(np.ones((6, 6), np.float32)).save(out, "TIFF")
    (folder / "ant" / "9.tif").write_bytes(out.getvalue())
    refused(lambda: read_images(folder), "ant/9.tif", "8 or 16 bits")


def test_classes_with_too_few_images_and_ways_with_too_few_classes_are_named(folder):
    (folder / "bee" / "2.png").unlink()
    images = read_images(folder)
    refused(lambda: images.episodes(2, 1, 2), "class 'bee' has 2 images", "takes 1 + 2")
    refused(lambda: images.episodes(3, 1, 1), "way is 3", "2 classes")


def test_empty_missing_and_untidy_folders_are_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    refused(lambda: read_images(tmp_path / "empty"), "holds no images")
    refused(lambda: read_images(tmp_path / "none"), "there is no")
    (folder / "loose.png").write_bytes(png())
    refused(lambda: read_images(folder), "loose.png", "outside the class folders")
    (folder / "loose.png").rename(folder / "ant" / "photo.heic")
    refused(lambda: read_images(folder), "photo.heic", "PNG or JPEG")


class Hostile:
    """What unpickling would run."""

    def __reduce__(self):
        return (exec, ("import sys; sys.modules['bmaml_was_fooled'] = sys",))


@pytest.mark.parametrize("name", ["mini-imagenet-cache-train.pkl", "cache.pickle", "model.pt"])
def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path, folder, name):
    import pickle

    content = pickle.dumps({"image_data": np.zeros((2, 3)), "class_dict": Hostile()})
    (folder / name).write_bytes(content)
    (tmp_path / name).write_bytes(content)
    for path in (folder, tmp_path / name):
        refused(lambda path=path: read_images(path), name, "pickle")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr(f"ant/{name}", content)
    refused(lambda: read_images(tmp_path / "in.zip"), "pickle")
    assert "bmaml_was_fooled" not in sys.modules


@pytest.mark.parametrize("name", ["../evil.png", "ant/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:\\evil.png"])
def test_a_zip_that_points_outside_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("ant/1.png", png())
        archive.writestr(name, png())
    refused(lambda: read_images(tmp_path / "in.zip"), "points outside")
    assert [f.name for f in tmp_path.iterdir()] == ["in.zip"]


def test_damaged_zips_are_named(tmp_path):
    path = tmp_path / "in.zip"
    path.write_bytes(b"PK no zip")
    refused(lambda: read_images(path), "in.zip is not a zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ant/1.png", "ant/2.png", "bee/1.png"):
            archive.writestr(name, png(12))
    content = path.read_bytes()
    changed = bytearray(content)
    changed[60] ^= 255
    path.write_bytes(changed)
    refused(lambda: read_images(path), "ant/1.png", "cannot be read")
    rng, refusals = np.random.default_rng(0), 0
    for _ in range(100):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=8):
            changed[place] = rng.integers(256)
        path.write_bytes(changed[: rng.integers(len(content))] if rng.random() < 0.3 else changed)
        refusals += sentence(lambda: read_images(path)) is not None
    assert refusals > 50
