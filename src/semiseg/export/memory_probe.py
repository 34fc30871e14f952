"""Prints the peak memory in MiB of the process that loads a model and predicts one batch with it.

    python -P memory_probe.py FILE BATCH HEIGHT WIDTH

A process of its own for each model, which imports nothing that its format does not need: what a device would pay.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import psutil

INTERVAL = 0.002  # seconds between two looks


def predict(path: Path, images: np.ndarray) -> None:
    """One batch by an ONNX file, a program of `torch.export`, or a run."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: images})
        return
    import torch

    with torch.inference_mode():
        if path.suffix == ".pt2":
            torch.export.load(path).module()(torch.from_numpy(images))
        else:
            from semiseg.trained import load_trained

            load_trained(path, torch.device("cpu")).probabilities(torch.from_numpy(images))


def main() -> None:
    path, (batch, height, width) = Path(sys.argv[1]), map(int, sys.argv[2:5])
    process, done, peak = psutil.Process(), threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not done.wait(INTERVAL):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    predict(path, np.zeros((batch, 3, height, width), dtype=np.uint8))
    done.set()
    watcher.join()
    print(max(peak, process.memory_info().rss) / 2**20)


if __name__ == "__main__":
    main()
