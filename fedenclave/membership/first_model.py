"""Read the agreed first model from a file of named arrays or a model file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.model import MAGIC, Model
from fedenclave.protocol.tensors import pack, schema_of


def read_first_model(path: Path) -> Model:
    """Return the model in an `.npz` (arrays by name, no pickles) or `.fem` file.

    Raises:
        ConfigurationError: it cannot be read, or holds something that cannot be averaged.
    """
    try:
        data = path.read_bytes()
        if data[: len(MAGIC)] == MAGIC:
            return Model.from_bytes(data)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        schema = schema_of(arrays)
        return Model(schema=schema, payload=bytes(pack(schema, arrays)))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read model {path}: {error.strerror or error}", hint="is the path right?"
        ) from error
    except (ValueError, AttributeError, EOFError, zipfile.BadZipFile, MalformedMessage) as error:
        raise ConfigurationError(
            f"{path} is not a usable model: {error}",
            hint="save it with numpy.savez(path, **arrays), float32 or float16",
        ) from error
