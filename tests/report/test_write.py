"""The files of a report that takes the place of another."""

from __future__ import annotations

from pathlib import Path

from semiseg.report.write import Drawn, remove_stale


def test_figures_of_the_report_before_go_and_all_else_stays(tmp_path: Path) -> None:
    names = ("figures/curve.png", "figures/ladder.png", "figures/data-1/curve.png", "figures/own.png", "photo.png")
    for name in names:
        for file in (tmp_path / name, (tmp_path / name).with_suffix(".svg")):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    linked = [f"![A (b)]({name})" for name in (*names[:3], "../photo.png", "figures/../photo.png")]
    (tmp_path / "report.md").write_text("\n\n".join(["# Comparison", *linked]), encoding="utf-8")
    curve = tmp_path / "figures" / "curve.png"
    remove_stale([[Drawn("Curve", "", curve, curve.with_suffix(".svg"))]], tmp_path)
    left = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png")}
    assert left == {"figures/curve.png", "figures/own.png", "photo.png"}
    assert (tmp_path / "figures" / "curve.svg").is_file() and not (tmp_path / "figures" / "ladder.svg").exists()
    remove_stale([], tmp_path / "nothing-yet")
