"""The order in which a resumption tries the files of a run."""

from __future__ import annotations

from pathlib import Path

from semiseg.checkpoint_names import best_weights, full_checkpoints, numbered


def test_order_is_by_number_and_the_latest_comes_first(tmp_path: Path) -> None:
    for name in ("checkpoint_900.pth", "checkpoint_10000.pth", "checkpoint_5000.pth", "checkpoint_7.pth.tmp",
                 "checkpoint_x.pth", "best_model_ema.pth", "final_model.pth"):  # fmt: skip
        (tmp_path / name).touch()
    order = ["checkpoint_10000.pth", "checkpoint_5000.pth", "checkpoint_900.pth"]
    assert [path.name for path in numbered(tmp_path)] == order
    assert full_checkpoints(tmp_path) == numbered(tmp_path)
    (tmp_path / "latest_checkpoint.pth").touch()
    assert [path.name for path in full_checkpoints(tmp_path)] == ["latest_checkpoint.pth", *order]
    assert [path.name for path in best_weights(tmp_path)] == ["best_model_ema.pth"]
    assert full_checkpoints(tmp_path / "nowhere") == best_weights(tmp_path / "nowhere") == []
