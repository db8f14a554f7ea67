"""What an app is told of its node: by node.toml, and by nobody else.

A SuperNode would carry these settings from its command line to the app, and whoever answered in
its place could tell the app another folder, another data path, or that it may go on insecurely. So
the SuperNode is told nothing, and the app's own process reads them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flwr.app import Context

from fedenclave.node.configuration import read_configuration


def with_own_settings(context: Context, client_folder: Path) -> Context:
    """Return the context with what node.toml says of this node, and nothing that came with it.

    Raises:
        ConfigurationError: node.toml is missing, or not right.
    """
    return replace(context, node_config=dict(read_configuration(client_folder).app_settings()))


def without_settings(context: Context | None) -> Context | None:
    """Return what the SuperNode keeps of it for the next message: it is told no setting."""
    return None if context is None else replace(context, node_config={})
