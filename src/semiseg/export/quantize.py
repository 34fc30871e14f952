"""A float32 ONNX model to INT8, by static quantisation calibrated on real patches."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from semiseg.export.graph import INPUT, set_metadata
from semiseg.export.packages import require

if TYPE_CHECKING:
    import onnx

PERCENTILE = 99.99  # of a tensor's values that its range holds; the few beyond are clipped


class CalibrationImages:
    """Images one at a time, as ONNX Runtime asks for them; its histograms then hold one image's tensors, not all."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = images
        self._left = iter(images)

    def __len__(self) -> int:
        return len(self.images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self.images[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {INPUT: image[None].numpy()}


def quantize(model: onnx.ModelProto, images: Sequence[Tensor], metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model with its convolutions in INT8: bytes in, signed weights per channel (U8S8, the fast pair on CPUs).

    `images` are uint8 [3, H, W]. The first convolution and the last of each head stay float32: they hold next to no
    weights, and the classes depend on them most. Weights take 7 of their 8 bits, because processors without VNNI add
    two products in 16 bits, which 8-bit weights overflow; without it one pixel in fourteen changes its class there.
    """
    require("onnxruntime")
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet():
        whole, folded, result = (Path(folder) / f"{name}.onnx" for name in ("whole", "folded", "int8"))
        onnx.save(model, whole)  # given the model itself, pre-processing moves its weights to files that get lost
        quant_pre_process(whole, folded, skip_symbolic_shape=True)
        quantization.quantize_static(
            folded,
            result,
            CalibrationImages(images),  # pyright: ignore[reportArgumentType]  (a reader by its methods)
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_first_and_last_convolutions(onnx.load(folded)),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1},
        )
        quantized = onnx.load(result)
    del quantized.graph.value_info[:]  # shapes of single tensors, which ONNX Runtime finds by itself
    set_metadata(quantized, metadata)
    return quantized


def _first_and_last_convolutions(model: onnx.ModelProto) -> list[str]:
    """The one that all others come after, and those that no other comes after."""
    found, leading = [], set()  # `leading`: tensors of which another convolution is computed
    for node in reversed(model.graph.node):  # which stand in the order of their computation
        leads = not leading.isdisjoint(node.output)
        if node.op_type == "Conv" and not leads:
            found.append(node.name)
        if node.op_type == "Conv" or leads:
            leading.update(node.input)
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    return list(dict.fromkeys([*names[:1], *found]))


@contextlib.contextmanager
def _quiet():
    """ONNX Runtime prints its progress and warns of a step (pre-processing) that was done."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
