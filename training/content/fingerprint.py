"""What an encoder of content is, for the cache of its vectors."""

import hashlib

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from bundle.content.onnx import ContentEncoder
from bundle.errors import InputError

_RECIPE = b"1"
"""To be raised when the code between content and vector changes: it invalidates caches."""


def encoder_fingerprint(encoder: ContentEncoder) -> str:
    """sha256 hex of everything that decides about a vector: files and description.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.sha256(_RECIPE)
    digest.update(encoder.spec.model_dump_json(exclude={"model", "tokenizer"}).encode())
    model = encoder.model
    try:
        graph = onnx.load(str(model), "protobuf", load_external_data=False).graph
        # Weights above 2 GiB lie in files of their own, which the model's bytes only name.
        weights = {
            model.parent / ExternalDataInfo(tensor).location
            for tensor in graph.initializer
            if uses_external_data(tensor)
        }
        for path in (model, *encoder.parts, *sorted(weights)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
