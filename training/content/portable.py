"""The default encoders as folders that can be carried to where new items arrive."""

import shutil
from pathlib import Path

from bundle.content.encoders import load_encoder
from bundle.content.specs import SPEC_FILE
from bundle.errors import InputError
from training.content.cache import cache_folder
from training.content.defaults import default_image_encoder, default_text_encoder

TOKENIZER = "tokenizer.json"


def write_default_encoders(out: Path) -> list[Path]:
    """Write `text` and `image` into a folder, each with its model and `encoder.json`.

    Returns:
        The two folders.

    Raises:
        InputError: the extra `train` is not installed, or the folders are there already or cannot
            be written.
    """
    text = default_text_encoder(threads=1)
    image = default_image_encoder(cache_folder(), threads=1)
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
