"""Read the agreed first model from a file of named arrays or a model file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.floats import all_finite
from fedenclave.protocol.model import MAGIC, Model
from fedenclave.protocol.tensors import pack, schema_of


def read_first_model(path: Path) -> Model:
    """Return the model in an `.npz` (arrays by name, no pickles) or `.fem` file.

    Raises:
        ConfigurationError: it cannot be read, or holds something that cannot be averaged.
    """
    try:
        data = path.read_bytes()
        model = Model.from_bytes(data) if data[: len(MAGIC)] == MAGIC else _from_archive(data)
        if not all_finite(model.schema, model.payload):
            raise ValueError("it holds a NaN or an infinity")
        return model
    except OSError as error:
        raise ConfigurationError(
            f"cannot read model {path}: {error.strerror or error}", hint="is the path right?"
        ) from error
    except (
        ValueError,
        AttributeError,
        EOFError,
        MemoryError,
        zipfile.BadZipFile,
        MalformedMessage,
    ) as error:
        raise ConfigurationError(
            f"{path} is not a usable model: {error}",
            hint="save it with numpy.savez(path, **arrays), floats or integers",
        ) from error


def _from_archive(data: bytes) -> Model:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError("it is neither an .npz archive nor a model file")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    schema = schema_of(arrays)
    return Model(schema=schema, payload=bytes(pack(schema, arrays)))
