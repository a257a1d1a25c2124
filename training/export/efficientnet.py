"""ONNX export of EfficientNet-Lite0 from its PyTorch weights.

Imports torch; `training.content.default_encoders` imports it only if the cache has no export yet.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from bundle.errors import DRepMRecError
from bundle.onnx_runtime import open_session
from training.export.onnx_export import export_onnx

TOLERANCE = 1e-4
"""Largest accepted difference of a feature between torch and ONNX Runtime; features are 0…6."""


class PooledFeatures(nn.Module):
    """EfficientNet without its classifier: [B, 3, size, size] → [B, 1280], values 0…6."""

    def __init__(self, size: int, weights: Path) -> None:
        super().__init__()
        self.net: Any = EfficientNet.from_name("efficientnet-lite0", image_size=size)
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Mean of the last feature map over all positions."""
        features: Tensor = self.net.extract_features(image)
        return features.mean(dim=(2, 3))


def export_efficientnet(weights: Path, size: int, model: Path) -> float:
    """Write the network to `model` and compare ONNX Runtime with torch on a batch of noise.

    Args:
        weights: PyTorch weights.
        size: side of the pictures in pixels.
        model: the `.onnx` file to write.

    Returns:
        The largest absolute difference of a feature.

    Raises:
        DRepMRecError: the difference exceeds TOLERANCE.
    """
    net = PooledFeatures(size, weights)
    noise = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    batch = {"image": {0: torch.export.Dim("batch")}}
    model.write_bytes(export_onnx(net, (noise,), ["image"], "features", batch))

    two = noise[:2]  # another batch size than in the export
    session = open_session(model, 1, ("CPUExecutionProvider",))
    (features,) = session.run(None, {"image": two.numpy()})
    with torch.inference_mode():
        difference = float(np.abs(net(two).numpy() - features).max())
    if not difference <= TOLERANCE:
        raise DRepMRecError(f"{model}: differs from torch by {difference:.2g} (> {TOLERANCE:.0e})")
    return difference
