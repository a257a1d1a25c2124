"""Where a refresh runs the encoders: on the CPU, or on a GPU."""

from dataclasses import replace
from typing import Literal

from bundle.encoders import CPU, CUDA, PROVIDERS, ItemEncoder, UserEncoder
from bundle.errors import InputError
from bundle.loading import Bundle

Device = Literal["auto", "cpu", "cuda"]
WANTED = {"auto": PROVIDERS, "cpu": (CPU,), "cuda": PROVIDERS}


def encoders_on(bundle: Bundle, device: Device, threads: int) -> Bundle:
    """The same bundle, with encoders on a device.

    Args:
        bundle: must outlive what is returned: a store may delete its files when it is forgotten.
        device: `auto` for a GPU where there is one.
        threads: of ONNX Runtime, on the CPU.

    Raises:
        InputError: there is no such device.
    """
    providers = WANTED[device]
    user_encoder = UserEncoder(bundle.directory / "user_encoder.onnx", threads, providers)
    if device == "cuda" and user_encoder.provider != CUDA:
        raise InputError("--device cuda: ONNX Runtime finds no CUDA device")
    item_encoder = ItemEncoder(
        bundle.directory / "item_encoder.onnx", bundle.manifest.modalities, threads, providers
    )
    return replace(bundle, user_encoder=user_encoder, item_encoder=item_encoder)
