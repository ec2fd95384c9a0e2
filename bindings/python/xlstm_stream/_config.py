"""Configurations as plain data: from dataclasses, mappings, YAML text and files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from ._errors import ExportError, Status

# Where null says something other than an absent key.
NULLABLE = {"mlstm_block", "slstm_block", "feedforward", "gate_soft_cap", "output_logit_soft_cap"}
FAMILIES = ("block_stack", "lm", "large", "tirex")


def plain(value: Any) -> Any:
    """Numbers, strings, lists and dicts, as YAML has them, without what the package derives (`_…`)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {k: plain(v) for k, v in value.items() if not k.startswith("_") and (v is not None or k in NULLABLE)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item"):  # a NumPy or PyTorch scalar
        return value.item()
    if hasattr(value, "__iter__"):
        return plain(dict(value) if hasattr(value, "keys") else list(value))
    raise ExportError(f"config: expected numbers, text, lists and maps, got {type(value).__name__}",
                      Status.invalid_config)


def read(what: str, given: Any) -> dict[str, Any]:
    """A dict, a dataclass, YAML text, or the path of a YAML file, as a plain dict."""
    if isinstance(given, (str, os.PathLike)):
        import yaml

        text = os.fspath(given)
        if isinstance(given, os.PathLike) or ("\n" not in text and text.endswith((".yaml", ".yml", ".json"))):
            try:
                with open(text, encoding="utf-8") as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError) as error:
                raise ExportError(f"{what}: expected a file of YAML at {text}, got {error}", Status.not_found) from None
        try:
            given = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ExportError(f"{what}: expected YAML, got {error}", Status.invalid_config) from None
    result = plain(given) if given is not None else None
    if not isinstance(result, dict):
        raise ExportError(f"{what}: expected a map, YAML text or a file of it, got {type(given).__name__}",
                          Status.invalid_config)
    return result


def read_section(what: str, given: Any) -> dict[str, Any]:
    """The same for what may also be a section of a larger file."""
    result = read(what, given)
    return result[what] if isinstance(result.get(what), dict) else result


def family_of(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(family, its fields) of a configuration with `model:` and `config:`, or of bare fields."""
    if "model" in config and "config" in config:
        if config["model"] not in FAMILIES:
            raise ExportError(f"config: model: expected {', '.join(FAMILIES)}, got {config['model']!r}",
                              Status.invalid_config)
        if not isinstance(config["config"], dict):
            raise ExportError(f"config: config: expected a map, got {type(config['config']).__name__}",
                              Status.invalid_config)
        return config["model"], config["config"]
    if "model_config" in config:
        return "tirex", config
    if "num_heads" in config:
        return "large", config
    return ("lm" if "vocab_size" in config else "block_stack"), config
