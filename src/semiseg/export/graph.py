"""A trained network as one graph, from the bytes of an image to class probabilities, and the files made of it."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import config as fx_config

from semiseg.contracts import as_heads
from semiseg.data.batches import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "image", "probabilities"
SMALLEST = 33  # pixels a side that the networks need
EXAMPLE = (2, 3, 96, 128)  # no two dimensions alike, so that none is taken for another
NO_TRACES = "do_not_emit_stack_traces"
SOURCE_KEYS = ("stack_trace", "source_fn_stack", "torch_fn")  # where a node came from: paths of this machine


class ImageToProbabilities(nn.Module):
    """uint8 RGB [B, 3, H, W] -> class probabilities [B, C, H, W], the mean over the heads: `Trained.probabilities`.

    The normalisation is part of the graph, so that whoever runs the file cannot get it wrong. The softmax is written
    out: ONNX Runtime's own, over the channels, takes as long as all convolutions of the lightweight network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, (torch.tensor(values) * 255).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        logits = as_heads(self.network((image.float() - self.mean) / self.std))
        scores = (logits - logits.amax(dim=2, keepdim=True)).exp()
        return (scores / scores.sum(dim=2, keepdim=True)).mean(dim=0)


def trace(network: nn.Module) -> ExportedProgram:
    """The graph of a network on the CPU in eval mode; batch, height and width stay free."""
    model = ImageToProbabilities(copy.deepcopy(network)).eval()
    model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    _out_of_place(model)
    dynamic = {INPUT: {0: Dim("batch", min=1), 2: Dim("height", min=SMALLEST), 3: Dim("width", min=SMALLEST)}}
    with torch.no_grad(), _no_stack_traces():
        program = torch.export.export(model, (torch.zeros(EXAMPLE, dtype=torch.uint8),), dynamic_shapes=dynamic)
    for node in program.graph.nodes:
        for key in SOURCE_KEYS:
            node.meta.pop(key, None)
    return program


def program_bytes(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """The content of a .pt2 file, which `torch.export.load` reads; the metadata are its extra files."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that share a storage: they are on the CPU
        torch.export.save(program, file, extra_files=dict(metadata))
    return file.getvalue()


def to_onnx(program: ExportedProgram, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The ONNX model of a graph, weights inside."""
    with _quiet(), _no_stack_traces():
        exported = torch.onnx.export(
            program, dynamo=True, external_data=False, input_names=[INPUT], output_names=[OUTPUT], verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    _strip(model)
    set_metadata(model, metadata)
    return model


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Replace the model's metadata."""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes about every node: it is a tenth of a small file and names paths of this machine."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for function in model.functions:
        for part in (function, *function.node):
            del part.metadata_props[:]
            part.ClearField("doc_string")


def _out_of_place(model: nn.Module) -> None:
    """Activations that write over their input give the same graph, after twice the time in the ONNX exporter."""
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def _no_stack_traces() -> Iterator[None]:
    """Without a stack trace of every node, which takes a quarter of the time and is dropped anyway."""
    before = getattr(fx_config, NO_TRACES, False)  # an older torch has no such switch and ignores it
    setattr(fx_config, NO_TRACES, True)
    try:
        yield
    finally:
        setattr(fx_config, NO_TRACES, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress and the deprecation warnings of its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
