"""Size, latency, memory and mIoU of a run as it is, in ONNX, torch.export and INT8, as a table in Markdown.

    python benchmarks/export.py run=PATH [format=[onnx,torch_export,int8]] [KEY=VALUE of semiseg export ...]

All systems take turns on the same patches of the run's data, so that another load of the machine slows all of them;
the numbers in brackets are the medians of the ratios within a round. `semiseg export` does the work.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import semiseg
from semiseg.errors import SemisegError
from semiseg.export.costs import thread_counts
from semiseg.export.results import table

EVERY_FORMAT = "format=[onnx,torch_export,int8]"


def conditions(found: dict[str, Any]) -> str:
    """On what the table was measured."""
    before, after = found["machine_before"], found["machine_after"]
    height, width = found["systems"][0]["size"]
    return (
        f"{found['model']}, {len(found['classes'])} classes, commit {found['git_commit']}; {height}x{width} patches, "
        f"{found['validation_patches']} for mIoU, {found['calibration_patches']} to calibrate; {before['processors']} "
        f"processors ({before['processor']}), load {before['load']} before and {after['load']} after; "
        f"torch {after['versions']['torch']}, onnxruntime {after['versions']['onnxruntime']}."
    )


def main() -> None:
    """Export into a temporary folder and print the table."""
    given = sys.argv[1:]
    chosen = [] if any(each.startswith("format=") for each in given) else [EVERY_FORMAT]
    with tempfile.TemporaryDirectory() as folder:
        try:
            semiseg(["export", f"out={Path(folder).as_posix()}", *chosen, *given], max(thread_counts()))
        except SemisegError as error:
            sys.exit(str(error))
        found = json.loads((Path(folder) / "export.json").read_text(encoding="utf-8"))
    print(f"{conditions(found)}\n\n{table(found['systems']).markdown()}")


if __name__ == "__main__":
    main()
