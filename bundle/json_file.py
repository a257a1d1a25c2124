"""JSON files that people write, validated by a pydantic model."""

from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from bundle.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read_json_file(path: Path, model: type[Model]) -> Model:
    """Read a file.

    Raises:
        InputError: it cannot be read, is not JSON, or a field is missing, unknown or out of range;
            names the file and the field.
    """
    try:
        return model.model_validate(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {field + ': ' if field else ''}{first['msg']}") from error
