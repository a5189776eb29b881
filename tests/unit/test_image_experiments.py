"""Experiments on images: what tasks they train on, how labels are asked for, and the board of classes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import fixed_tasks, is_one_sentence, labelled

from bmaml.distributions import Categorical, CategoricalMixture
from bmaml.errors import InputError
from bmaml.evaluation.evaluate import evaluate
from bmaml.experiments import active_images, particles
from bmaml.experiments.board import standings
from bmaml.experiments.board.arenas import ImageArena
from bmaml.experiments.board.run import Board
from bmaml.experiments.image_tasks import are_drawings, image_classes
from bmaml.experiments.numbers import Numbers
from bmaml.images import from_arrays
from bmaml.inference import acquisitions
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners import MatchingLearner
from bmaml.learners.base import AbstractLearner
from bmaml.learners.predictor import Predictor
from bmaml.plots import active_images as active_plot
from bmaml.plots import leaderboard as board_plot
from bmaml.plots import particles as particles_plot
from bmaml.plots import reliability as reliability_plot
from bmaml.plots import style
from bmaml.tasks import FiniteTasks, PartialTasks

KEY = jax.random.key(0)


def images(classes=6, count=24, seed=0):
    """A spot for each class and noise, 3 x 3 pixels."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(classes), count)
    x = rng.uniform(0, 0.4, (len(label), 9))
    x[np.arange(len(label)), label] += 0.6
    return from_arrays(x.reshape(-1, 3, 3), label)


def test_finitely_many_tasks_come_again_and_again():
    tasks = FiniteTasks(fixed_tasks(count=50), 3, seed=4)
    drawn = jax.jit(jax.vmap(tasks.sample))(jax.random.split(KEY, 40))
    assert len({leaf.tobytes() for leaf in np.asarray(drawn.query.x)}) == 3
    with pytest.raises(ValueError, match="give at least 1"):
        FiniteTasks(tasks, 0)


def test_a_part_of_a_support_is_never_empty_and_never_more():
    source = fixed_tasks(shots=(3, 5), kind=labelled)
    drawn = jax.jit(jax.vmap(PartialTasks(source).sample))(jax.random.split(KEY, 200))
    whole = jax.jit(jax.vmap(lambda key: source.sample(jax.random.split(key, 3)[0])))(jax.random.split(KEY, 200))
    counts = np.asarray(drawn.support.mask.sum(1))
    assert (np.asarray(drawn.support.mask) <= np.asarray(whole.support.mask)).all()
    assert set(counts) == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(drawn.query.x, whole.query.x)


class TwoMinds(AbstractPosterior):
    """Two functions: they agree on the first input, contradict each other on the second, and do not know of the third."""

    def predict(self, x):
        each = jnp.log(jnp.maximum(self.sample_functions(x, key=KEY, count=2), 1e-12))
        return CategoricalMixture(jnp.zeros(2), Categorical(each))

    def sample_functions(self, x, *, key, count=1):
        pair = jnp.array([[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]])
        return jnp.tile(pair, (count // 2, 1, 1))


def test_information_is_what_draws_of_the_function_disagree_about():
    x = jnp.zeros((3, 1))
    found = acquisitions.information(TwoMinds(), x, key=KEY)
    np.testing.assert_allclose(found, [0.0, np.log(2), 0.0], atol=1e-5)
    np.testing.assert_allclose(acquisitions.entropy(TwoMinds(), x, key=KEY)[1:], np.log(2), atol=1e-5)


def test_asking_where_unsure_finds_the_classes_sooner():
    """Attention to the support is even on a class not seen: entropy asks for it, random for one of the seen ones as often."""
    tasks = images().episodes(6, 10, 10)
    learner = MatchingLearner(6, 30.0, 20.0)
    meta = learner.init(KEY)
    each = {by: active_images.curves(learner, meta, tasks, "one image", by, 30) for by in ("entropy", "random")}
    assert {curve.shape for curve in each.values()} == {(30, 25)}
    np.testing.assert_allclose(each["entropy"][:, 0], each["random"][:, 0])
    # After six labels of six classes: all of them by entropy, about four by chance.
    assert each["entropy"][:, 5].mean() > 0.95
    assert each["random"][:, 5].mean() < 0.8
    (count, labels, share, gap, *_), *_ = active_images._needed(each["entropy"], each["random"], 1)
    assert (count, share) == (10, labels / 10)
    assert labels <= 7
    assert gap >= 0
    assert active_images._needed(each["random"], each["random"], 1)[0][1] <= 10


class Counts(AbstractLearner):
    """Says class 0 where it is given as many rows as it was told to expect."""

    def init(self, key):
        return jnp.asarray(0.0)

    def adapt(self, meta, support, *, key):
        return Even(jnp.where(support.mask.sum() == meta, 5.0, 0.0))


class Even(AbstractPosterior):
    """All classes alike but the first."""

    first: jax.Array

    def predict(self, x):
        return Categorical(jnp.zeros((len(x), 3)).at[:, 0].set(self.first))

    def sample_functions(self, x, *, key, count=1):
        return jnp.zeros((count, len(x), 3))


def test_shots_of_episodes_are_rows_of_each_class():
    tasks = images().episodes(3, (1, 4), 2)
    for shots in (1, 4):
        found = evaluate(Predictor(Counts(), jnp.asarray(3.0 * shots)), tasks, shots=(1, 4), count=4, queries=2, batch=4)
        # An answer that is sure is wrong about two classes of three: its NLL is far above that of even odds.
        sure = {given: found.get("nll", given).mean > np.log(3) + 0.1 for given in (1, 4)}
        assert sure == {1: shots == 1, 4: shots == 4}


def test_a_board_of_images_ranks_draws_and_keeps_its_classes_apart(tmp_path):
    source = images(8)
    arena = ImageArena("spots", (1, 2), 3, source.take(source.classes[:5]), source.take(source.classes[5:]))
    entries = Board(arena, ("protonet",), (0,), 3, 6).run(tmp_path)
    numbers, times = standings.standings(entries)
    assert (
        numbers.values("mean", metric="accuracy_rejecting", shots=1)[0] >= numbers.values("mean", metric="accuracy", shots=1)[0]
    )
    text = standings.to_markdown(numbers, times, "bmaml leaderboard spots")
    assert "expected calibration error" in text
    assert "(!)" not in text
    bins, answered = standings.reliabilities(entries), standings.rejections(numbers)
    assert abs(sum(bins.values("share", shots=1)) - 1) < 1e-6
    assert answered.values("answered", shots=2) == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
    style.save(reliability_plot.draw(bins, answered), tmp_path / "reliability.png")
    style.save(board_plot.draw(numbers), tmp_path / "board.png")
    assert (tmp_path / "reliability.png").stat().st_size > 0


def test_pictures_of_images_are_drawn_from_their_numbers(tmp_path):
    value, rows = (0.5, 0.4, 0.6), []
    for name in particles.METHODS:
        for metric in ("accuracy", "nll", "calibration"):
            rows += [("particles", seed, name, m, None, metric, *value) for m in (1, 5) for seed in (0, 1)]
            rows += [("tasks", seed, name, 5, n, metric, *value) for n in (10, None) for seed in (0, 1)]
    style.save(particles_plot.draw(Numbers(particles.COLUMNS, rows)), tmp_path / "bmaml-2.png")
    # While trainings run, some are still to come.
    style.save(particles_plot.draw(Numbers(particles.COLUMNS, rows[:-9])), tmp_path / "bmaml-2.png")
    rows = []
    for start in active_images.STARTS:
        rows += [(seed, "ridge", start, by, n, *value) for by in active_images.COMPARED for n in (5, 6) for seed in (0, 1)]
    style.save(active_plot.draw(Numbers(active_images.COLUMNS, rows)), tmp_path / "active-images.png")
    assert {path.name for path in tmp_path.iterdir()} == {"bmaml-2.png", "active-images.png"}


@pytest.mark.parametrize("name", ["omniglot", "folder"])
def test_what_is_not_there_is_asked_for(name):
    with pytest.raises(InputError) as error:
        image_classes(name)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("published", [True, False])
def test_a_folder_trains_and_tests_as_its_files_say(tmp_path, published):
    """miniImagenet lies in one folder, with a CSV of files and labels for each part; other folders say nothing."""
    image = pytest.importorskip("PIL.Image")
    kinds = {"n01": "train", "n02": "train", "n03": "test", "n04": "test"}
    for part in {"train", "test"} if published else ():
        rows = [f"{kind}{i}.png,{kind}" for kind, its in kinds.items() if its == part for i in range(2)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["filename,label", *rows]))
    for name in (f"{kind}{i}.png" for kind in kinds for i in range(2)):
        place = tmp_path / "images" / name if published else tmp_path / name[:3] / name
        place.parent.mkdir(exist_ok=True)
        image.new("RGB", (5, 4), "red").save(place)
    split = image_classes("folder", tmp_path)
    assert split.train.shape == (84, 84, 3)
    assert sorted((*split.train.classes, *split.test.classes)) == sorted(kinds)
    if published:
        assert split.test.classes == ("n03", "n04")


def test_photographs_are_held_out_by_superclass_at_a_size_of_ones_own_and_are_not_turned(tmp_path):
    image = pytest.importorskip("PIL.Image")
    kinds = {"gala": "apple", "elstar": "apple", "leek": "onion", "shallot": "onion", "lime": "citrus", "lemon": "citrus"}
    for kind in kinds:
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(2):
            image.new("RGB", (5, 4), (40 * i, 200, 90)).save(tmp_path / "photos" / kind / f"{i}.png")
    table = tmp_path / "kinds.csv"
    table.write_text("\n".join(["class,superclass", *(f"{kind},{above}" for kind, above in kinds.items())]))
    split = image_classes("folder", tmp_path / "photos", size=6, superclasses=table)
    assert split.train.shape == (6, 6, 3)
    assert not {kinds[name] for name in split.train.classes} & {kinds[name] for name in split.test.classes}
    assert not are_drawings(split.train)
    assert are_drawings(images())


@pytest.mark.parametrize(("name", "given"), [("digits", {"size": 28}), ("omniglot", {"superclasses": Path("kinds.csv")})])
def test_what_images_do_not_take_is_refused(name, given):
    with pytest.raises(InputError, match="leave") as error:
        image_classes(name, Path("images.zip"), **given)
    assert is_one_sentence(error.value)
