"""The memory that training takes is known, and judged, before it starts."""

import jax
import jax.numpy as jnp
import pytest
from cases import MODEL, fixed_tasks, is_one_sentence, preset

import bmaml
from bmaml import cli
from bmaml.cli.options import TYPED
from bmaml.errors import InputError
from bmaml.methods.base import Method
from bmaml.rl import PolicyMethod
from bmaml.training import memory
from bmaml.training.meta_step import batch_gradient, draw_batch, init_state, step_keys
from bmaml.training.plan import Plan


def test_arguments_results_and_temporaries_are_counted():
    program = jax.jit(lambda x: jnp.sort(x @ x.T)[:, :10]).lower(jnp.zeros((300, 40))).compile()
    known = 4 * (300 * 40 + 300 * 10)
    assert known + 4 * 300 * 300 <= memory.needed_bytes(program) <= known + 6 * 4 * 300 * 300


def test_what_is_free_is_a_part_of_the_machine():
    free = memory.free_bytes()
    assert free is None or 2**20 < free < 2**45


@pytest.mark.parametrize(
    ("line", "top", "names"),
    [
        ("0::/job/step", "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:cpu,memory:/job/step",
            "sys/fs/cgroup/memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_limits_of_control_groups_hold_for_what_is_inside(tmp_path, line, top, names):
    """A limit of the group above counts, `max` is none, and pages of files that can be dropped are free."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"1:cpuset:/other\n{line}\n")
    limit, used, droppable = names
    for place, most, taken, files in (("job/step", "max", 10, 0), ("job", "1000", 400, 150), ("", "5000", 600, 0)):
        group = tmp_path / top / place
        group.mkdir(parents=True, exist_ok=True)
        (group / limit).write_text(f"{most}\n")
        (group / used).write_text(f"{taken}\n")
        (group / "memory.stat").write_text(f"anon 5\n{droppable} {files}\n")
    assert memory.group_rooms(tmp_path) == [750, 4400]
    assert memory.group_rooms(tmp_path / "elsewhere") == []


def test_groups_need_less():
    method, plan = preset("maml"), Plan(batch=8)
    source = fixed_tasks(rows=400, queries=300)
    batch = jax.eval_shape(lambda: draw_batch(source, step_keys(0, 0, plan.batch)))

    def needed(groups):
        gradient = jax.jit(lambda meta, batch: batch_gradient(method, meta, batch, groups))
        return memory.needed_bytes(gradient.lower(init_state(method, plan).meta, batch).compile())

    assert needed(8) < needed(1)


def test_a_run_without_room_is_refused_before_it_starts_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    with pytest.raises(memory.NoRoomError, match=r"accumulation_steps=4") as caught:
        bmaml.train(preset("maml"), fixed_tasks(), Plan(steps=2, batch=4), directory=tmp_path / "run")
    assert is_one_sentence(str(caught.value).replace(" MB", "").replace(" GB", ""))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "method", "named"),
    [
        ("train sinusoid", Method, "--batch, --particles, --inner-steps or --queries"),
        ("train navigation", PolicyMethod, "--batch, --trajectories, --particles or --inner-steps"),
        ("fit t.csv", Method, "--particles"),
    ],
)
def test_too_little_memory_names_options_that_take_it_and_that_the_command_has(monkeypatch, command, method, named):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    TYPED.set(f"bmaml {command}")
    with pytest.raises(memory.NoRoomError) as caught:
        memory.check_start(jax.ShapeDtypeStruct((10**6,), jnp.float32), Plan(batch=4), method.SIZES)
    assert cli._typed(caught.value).endswith(f"are free: give {named} a smaller value.")
    assert named.split(",")[0].split(" ")[0] in cli._no_memory()
    assert ("--trajectories" in cli._no_memory()) == command.startswith("train")


def test_particles_and_points_that_no_machine_holds_are_refused_before_they_are_made():
    with pytest.raises(memory.NoRoomError, match=r"would take \d\d\d.* GB of memory"):
        bmaml.train(bmaml.methods.bmaml(MODEL, particles=10**9), fixed_tasks(), Plan(steps=2, batch=4))
    learner = preset("maml").learner
    predictor = bmaml.Predictor(learner, learner.init(jax.random.key(0)))
    with pytest.raises(memory.NoRoomError, match=r"scoring would take \d+.* GB of memory .*: use fewer shots"):
        bmaml.evaluate(predictor, bmaml.tasks.Sinusoids(), shots=10**9, count=2)
    with pytest.raises(InputError, match="give a whole number below 2147483648"):
        bmaml.methods.bmaml(MODEL, particles=10**10)
