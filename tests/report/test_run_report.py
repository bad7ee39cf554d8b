"""Reports on a small run, whole and with parts of it gone or damaged."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from alphazero.report.run_report import (
    Section,
    learning_section,
    report_sections,
    strength_section,
    write_report,
)
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.files import RunError
from games.trebuchet.game import Aiming
from tests.training_runs import copy_of_whole

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_whole(tmp_path_factory, "small")


@pytest.fixture(scope="module")
def sections(trained: Path) -> list[Section]:
    return report_sections(trained)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copied"))


def by_name(sections: list[Section]) -> dict[str, Section]:
    return {section.name.split("_")[0]: section for section in sections}


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cells(section: Section) -> list[dict[str, str]]:
    assert section.table is not None
    return [dict(zip(section.table.columns, row, strict=True)) for row in section.table.rows]


def test_a_whole_run_has_every_section(sections: list[Section]) -> None:
    assert [section.name for section in sections] == ["run", "strength", "learning", "buffer", "game_000003_0"]
    assert not any(section.missing or section.damaged for section in sections)
    assert [section.name for section in sections if section.figure is None] == ["run"]


def test_the_run_in_a_few_lines(trained: Path, sections: list[Section]) -> None:
    table = by_name(sections)["run"].table
    assert table is not None
    said = dict(table.rows)
    assert said["game"] == "tic_tac_toe (`games.tic_tac_toe:TicTacToe`)"
    assert said["iterations"] == "4 of 4"
    assert said["core-seconds"] == f"{float(metrics(trained)[-1]['time/core_seconds']):,.0f}"
    tensors = load_file(checkpoints(trained)[-1] / "model.safetensors")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learned = {n: t for n, t in tensors.items() if n.startswith("network.") and not n.endswith(statistics)}
    assert said["network"] == f"2 dense layers of 32, {sum(t.numel() for t in learned.values()):,} parameters"


def test_tables_agree_with_the_metrics(trained: Path, sections: list[Section]) -> None:
    recorded = metrics(trained)
    learning = cells(by_name(sections)["learning"])
    assert [row["iter."] for row in learning] == ["0", "1", "2", "3"]
    for shown, row in zip(learning, recorded, strict=True):
        assert shown["loss"] == (f"{float(row['loss/total']):.3f}" if row["loss/total"] else "–")
        assert shown["length"] == f"{float(row['self_play/game_length']):.1f}"
        assert shown["draws"] == f"{100 * float(row['self_play/draws']):.0f}%"
    strength = cells(by_name(sections)["strength"])
    assert [row["iter."] for row in strength] == [r["iteration"] for r in recorded if r["strength/random/points"]]
    last = {tag: 100 * float(text) for tag, text in recorded[-1].items() if text and "random/points" in tag}
    for name, player in (("against random", "strength"), ("network alone against random", "network")):
        points, low, high = (last[f"{player}/random/points{end}"] for end in ("", "_low", "_high"))
        assert strength[-1][name] == f"{points:.1f} ({low:.0f}–{high:.0f})"


def test_a_game_for_one_is_told_in_rewards_and_metres(tmp_path: Path) -> None:
    scalars = {
        "strength/alone/points": -0.009, "strength/alone/points_low": -0.0125, "strength/alone/points_high": -0.0055,
        "strength/alone/miss_median": 0.0025, "strength/alone/miss_95": 1.5,
        "network/alone/points": -0.25, "loss/policy": -9.0, "loss/target_entropy": 0.5, "loss/policy_entropy": -8.0,
    }  # fmt: skip
    (tmp_path / "metrics.csv").write_text(f"iteration,{','.join(scalars)}\n4,{','.join(map(str, scalars.values()))}\n")
    section = strength_section(tmp_path, Aiming(), Section("Strength", "strength"))
    assert "points" not in section.words
    assert cells(section) == [
        {
            "iter.": "4",
            "agent": "-0.009 (-0.0125 to -0.0055)",
            "agent: miss": "0.25 cm, 1.50 m",
            "network alone": "-0.25",
            "network alone: miss": "–",
        }
    ]
    learning = learning_section(tmp_path, Aiming(), Section("Learning", "learning"))
    assert "density" in learning.words
    assert cells(learning) == [{"iter.": "4", "policy": "-9.000", "H network": "-8.000"}]


def test_long_runs_get_a_short_table_that_ends_with_the_last_iteration(copied: Path) -> None:
    (copied / "metrics.csv").write_text("iteration,loss/total\n" + "".join(f"{i},{i}\n" for i in range(101)))
    rows = cells(by_name(report_sections(copied))["learning"])
    assert len(rows) <= 12
    assert [int(row["iter."]) for row in rows][-3:] == [82, 91, 100]


def test_the_analysis_counts_the_samples_of_the_buffer(trained: Path, sections: list[Section]) -> None:
    rows = cells(by_name(sections)["buffer"])
    arrays = np.load(checkpoints(trained)[-1] / "replay.npz")
    assert rows[0]["samples"] == f"{len(arrays['value']):,}"
    assert rows[1]["samples"] == f"{int((arrays['iteration'] == 3).sum()):,}"
    positions = zip(*(arrays[name].tolist() for name in arrays.files if name.startswith("state.")), strict=True)
    assert rows[0]["positions"] == f"{len({str(position) for position in positions}):,}"
    assert rows[0]["positions"] == f"{float(metrics(trained)[-1]['buffer/distinct']):,.0f}"


def test_an_older_network_can_be_measured_on_the_same_buffer(trained: Path, sections: list[Section]) -> None:
    last, older = (cells(by_name(report_sections(trained, iteration=i))["buffer"]) for i in (4, 2))
    assert last == cells(by_name(sections)["buffer"])
    assert [row["samples"] for row in last] == [row["samples"] for row in older]
    assert [row["H target"] for row in last] == [row["H target"] for row in older]
    assert last[0]["policy"] != older[0]["policy"]
    with pytest.raises(RunError, match="has no checkpoint 1; it has 2, 3, 4"):
        report_sections(trained, iteration=1)


def test_games_are_chosen_by_iteration_and_stream(trained: Path) -> None:
    section = by_name(report_sections(trained, game_iteration=1, stream=2))["game"]
    assert section.name == "game_000001_2"
    assert section.text.startswith("tic_tac_toe, self-play: a game that ended in iteration 1, stream 2: ")
    arrays = np.load(trained / "games" / "000001.npz")
    names = ["abc"[action % 3] + "321"[action // 3] for action in arrays["2/action"][0].tolist()]
    moves = re.findall(r"^\d+\. ([xo]) plays (\S+)", section.text, flags=re.MULTILINE)
    assert [(("x", "o")[mover], name) for mover, name in zip(arrays["2/mover"][0], names, strict=True)] == moves
    with pytest.raises(RunError, match="has no game of iteration 9; it has games of iterations 0 to 3"):
        report_sections(trained, game_iteration=9)
    with pytest.raises(RunError, match="no game of stream 3 in iteration 1; there is 0, 1, 2"):
        report_sections(trained, game_iteration=1, stream=3)
    with pytest.raises(RunError, match="no game of stream -1"):
        report_sections(trained, stream=-1)


def test_the_report_links_every_figure_that_it_writes(trained: Path, sections: list[Section], tmp_path: Path) -> None:
    index = write_report(trained, sections, tmp_path / "a" / "b")
    text = index.read_text()
    linked = re.findall(r"!\[.*\]\((.*)\)", text)
    assert linked == ["strength.png", "learning.png", "buffer.png", "game_000003_0.png"]
    assert {path.name for path in index.parent.iterdir()} == {"report.md", *linked}
    assert all((index.parent / name).read_bytes().startswith(PNG_SIGNATURE) for name in linked)
    assert text.startswith("# Report on small\n")
    assert "\n| game | tic_tac_toe" in text
    assert re.search(r"\n1\. [xo] plays ", text)
    plain = write_report(trained, sections, tmp_path / "plain", figures=False)
    assert [path.name for path in plain.parent.iterdir()] == ["report.md"]
    assert "![" not in plain.read_text()


def test_a_report_that_cannot_be_written_says_so(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*taken"):
        write_report(trained, [], tmp_path / "taken")


def test_parts_that_an_old_run_lacks_are_named(copied: Path, tmp_path: Path) -> None:
    (copied / "metrics.csv").unlink()
    shutil.rmtree(copied / "games")
    for path in checkpoints(copied):
        (path / "replay.npz").unlink(missing_ok=True)
    sections = report_sections(copied)
    missing = {section.name: section.missing for section in sections if section.missing}
    assert list(missing) == ["strength", "learning", "buffer", "game"]
    assert not any(section.damaged for section in sections)
    assert "no checkpoint of the run holds its replay buffer" in missing["buffer"]
    said = write_report(copied, sections, tmp_path / "out").read_text()
    assert all(f"Not in this report: {reason}." in said for reason in missing.values())
    with pytest.raises(RunError, match="it has no games at all"):
        report_sections(copied, game_iteration=0)


def test_no_checkpoint_at_all_is_no_reason_to_fail(copied: Path) -> None:
    shutil.rmtree(copied / "checkpoints")
    (copied / "checkpoints").mkdir()
    sections = by_name(report_sections(copied))
    assert sections["buffer"].missing
    assert sections["learning"].table


@pytest.mark.parametrize(
    ("damaged", "damage", "sections"),
    [
        ("checkpoints/000004/replay.npz", lambda content: content[: len(content) // 2], ["buffer"]),
        ("checkpoints/000004/model.safetensors", lambda content: content[:-1], ["buffer"]),
        ("games/000003.npz", lambda content: content.replace(b"\x93NUMPY", b"numbers"), ["game"]),
        ("metrics.csv", lambda content: b"not," + content, ["strength", "learning"]),
    ],
)
def test_damage_is_named_and_spoils_nothing_else(
    copied: Path, damaged: str, damage: Callable[[bytes], bytes], sections: list[str]
) -> None:
    path = copied / damaged
    path.write_bytes(damage(path.read_bytes()))
    found = [section for section in report_sections(copied) if section.damaged]
    assert [section.name for section in found] == sections
    assert all(path.name in section.missing for section in found)


def test_nothing_is_unpickled(copied: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("what was in the file has run",))

    path = max((copied / "games").iterdir())
    with np.load(path, allow_pickle=False) as archive:
        games = dict(archive)
    action = next(name for name in games if name.endswith("/action"))
    np.savez(path, allow_pickle=True, **games | {action: np.array([Trap()], dtype=object)})
    assert f"{action} in {path.name} is object" in by_name(report_sections(copied))["game"].missing


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        report_sections(tmp_path)


def test_reports_leave_the_run_and_the_randomness_alone(copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    report_sections(copied)
    assert torch.rand(1) == expected
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before
