"""Tensors are checked before they are believed, and an optimizer's file can name nothing but tensors."""

from __future__ import annotations

import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from alphazero.game import load_game
from alphazero.learner import Learner
from alphazero.runs.checkpoint import create_run, load_network
from alphazero.runs.files import RunError
from alphazero.runs.tensors import check_archive, read_optimizer, read_tensors
from games.connect_four import ConnectFour
from tests.networks import trained
from tests.small_checkpoints import CONFIG, assert_the_same, contents, parts, resume, save, sign

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    create_run(folder, CONFIG)
    save(folder, parts(iterations=2), 2)
    return folder


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A checkpoint."""
    return Path(shutil.copytree(made, tmp_path / "run")) / "checkpoints" / "000002"


WEIGHT = "average.module.policy.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors[WEIGHT].view(-1)[:1].fill_(torch.nan), f"{WEIGHT} in .* has values that are no num"),
        (lambda tensors: tensors[WEIGHT].view(-1)[:1].fill_(torch.inf), f"{WEIGHT} in .* has values that are no num"),
        (lambda tensors: tensors.update({WEIGHT: tensors[WEIGHT].double()}), f"{WEIGHT} in .* is torch.float64"),
        (lambda tensors: tensors.update({WEIGHT: tensors[WEIGHT].half()}), f"{WEIGHT} in .* is torch.float16"),
        (lambda tensors: tensors.update({WEIGHT: tensors[WEIGHT][:1]}), f"size mismatch for {WEIGHT} in .*"),
        (lambda tensors: tensors.pop(WEIGHT), f"model.safetensors lacks {WEIGHT}"),
    ],
)
def test_networks_that_cannot_be_are_refused(change: Change, said: str, path: Path) -> None:
    """By whoever continues the run, and by whoever plays with it."""
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, path / "model.safetensors")
    sign(path)
    with pytest.raises(RunError, match=f"{path} does not fit .*{said}.*; name another checkpoint"):
        resume(path.parents[1], parts())
    with pytest.raises(RunError, match=said):
        load_network(path, load_game(CONFIG.game), CONFIG.network)


def test_a_variance_is_not_below_0(tmp_path: Path) -> None:
    tensors = trained("residual", 1).state_dict()
    tensors["stem_norm.running_var"][0] = -1
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"stem_norm\.running_var in model.safetensors has values .* below 0"):
        read_tensors(tmp_path / "model.safetensors", tensors)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, b'\x08\0\0\0\0\0\0\0{"a":{}}', (1 << 40).to_bytes(8, "little")]
)
def test_what_is_no_file_of_tensors_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is no file of tensors, or is damaged"):
        read_tensors(tmp_path / "model.safetensors", {"a": torch.zeros(1)})


def altered(name: str, change: Callable[[Tensor], Tensor]) -> Change:
    def alter(state: dict[str, Any]) -> None:
        state["state"][0][name] = change(state["state"][0][name])

    return alter


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (altered("exp_avg", lambda moment: moment * torch.nan), "exp_avg in optimizer.pt has values"),
        (altered("exp_avg_sq", lambda moment: -moment - 1), "exp_avg_sq in optimizer.pt has values"),
        (altered("exp_avg", Tensor.double), "it names 'torch DoubleStorage'"),
        (altered("exp_avg", lambda moment: moment[:1]), "exp_avg in optimizer.pt is"),
        (altered("step", lambda step: step - 1e9), "step in optimizer.pt has values"),
        (altered("step", float), "holds no optimizer's state"),
        (lambda state: state["state"].update({99: state["state"][0]}), "is of another network"),
        (lambda state: state["state"][0].pop("step"), 'was not made with learner.optimizer = "adamw"'),
        (lambda state: state["param_groups"][0].pop("eps"), 'was not made with learner.optimizer = "adamw"'),
        (lambda state: state["param_groups"][0]["params"].pop(), "is of another network"),
        (lambda state: state["param_groups"].clear(), "holds no optimizer's state"),
        (lambda state: state.update(state=[]), "holds no optimizer's state"),
        (lambda state: state.update(more=torch.zeros(1)), "holds no optimizer's state"),
    ],
)
def test_an_optimizer_that_cannot_be_is_refused(change: Change, said: str, path: Path) -> None:
    state = torch.load(path / "optimizer.pt", weights_only=True)
    change(state)
    torch.save(state, path / "optimizer.pt")
    sign(path)
    with pytest.raises(RunError, match=f"{path} does not fit .*{said}"):
        resume(path.parents[1], parts())


def test_an_optimizer_is_read_as_it_was_written(path: Path) -> None:
    """And stays when its file is gone."""
    made, other = parts(iterations=2), parts()
    resume(path.parents[1], other)
    (path / "optimizer.pt").write_bytes(b"\xff" * 100_000)
    assert_the_same(contents(made), contents(other))


def pickled(path: Path, change: Callable[[bytes], bytes], *, compressed: bool = False) -> None:
    """Writes an archive of torch's with another pickle."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in records if name.endswith("data.pkl"))
    records[name] = change(records[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for record, content in records.items():
            archive.writestr(record, content)


SIZE = (1 << 38).to_bytes(6, "little")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cbuiltins\nbytearray\n\x8a\x06" + SIZE + b"\x85R.",  # 2^38 bytes, which torch's reader would make
        b"\x80\x02ctorch\nTensor\n\x8a\x06" + SIZE + b"\x85R.",
        b"\x80\x04\x8c\x05torch\x8c\x06Tensor\x93\x8a\x06" + SIZE + b"\x85R.",
        b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.",
        b"\x80\x02(i__main__\nname\n.",
        b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little"),
        b"",
        b"not a pickle",
    ],
    ids=["bytearray", "tensor", "stack", "system", "inst", "bytes", "empty", "none"],
)
def test_an_optimizer_names_nothing_but_tensors(content: bytes, path: Path) -> None:
    pickled(path / "optimizer.pt", lambda _: content)
    sign(path)
    tracemalloc.start()
    with pytest.raises(RunError, match=r"optimizer\.pt holds other things than tensors, or is damaged"):
        resume(path.parents[1], parts())
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


def test_a_tensor_does_not_reach_beyond_the_file(tmp_path: Path) -> None:
    """Said to have 40,000 numbers where 4 are: torch would show what lies behind them in memory."""
    learner = Learner(ConnectFour(), CONFIG.learner, CONFIG.network, seed=1)
    state = learner.optimizer.state_dict()
    state["state"][0] = {"step": torch.zeros(()), "exp_avg": torch.zeros(4), "exp_avg_sq": torch.zeros(4)}
    torch.save(state, tmp_path / "optimizer.pt")
    pickled(tmp_path / "optimizer.pt", lambda content: content.replace(b"K\x04", b"M\x40\x9c"))  # 40,000
    with pytest.raises(ValueError, match=r"optimizer\.pt holds other things than tensors|exp_avg in optimizer\.pt is"):
        read_optimizer(tmp_path / "optimizer.pt", learner.optimizer)


def test_an_optimizer_that_promises_more_is_refused(path: Path) -> None:
    """A list of records that says the largest of them has a gigabyte."""
    file = path / "optimizer.pt"
    with zipfile.ZipFile(file) as archive:
        there = max(record.file_size for record in archive.infolist()).to_bytes(4, "little")
        start = archive.start_dir
    content = file.read_bytes()
    assert there in content[start:]
    file.write_bytes(content[:start] + content[start:].replace(there, (1 << 30).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="it promises more than it holds"):
        check_archive(file)


def test_a_compressed_optimizer_is_refused(path: Path) -> None:
    check_archive(path / "optimizer.pt")
    pickled(path / "optimizer.pt", bytes, compressed=True)
    with pytest.raises(ValueError, match="it is compressed"):
        check_archive(path / "optimizer.pt")
