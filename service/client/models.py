"""Calls about models."""

from typing import Any, Dict, List, Optional, Union

from service.client.bodies import PathLike
from service.client.calls import Calls
from service.client.download import download
from service.client.transport import path_of


class Models(Calls):
    """The live model and the versions."""

    def models(self) -> List[Dict[str, Any]]:
        """Every model: the live one, then the versions, newest first."""
        return list(self._transport.pages("/v1/models"))

    def model(self, version: Union[int, str]) -> Dict[str, Any]:
        """One model. version : its number, or "live"."""
        return self._transport.json("GET", path_of("models", version))

    def activate(self, version: Union[int, str], head: Optional[str] = None) -> Dict[str, Any]:
        """Let a model answer from now on. head : of the live model."""
        return self._transport.json(
            "POST", path_of("models", version, "activate"), {} if head is None else {"head": head}
        )

    def delete_model(self, version: int) -> Dict[str, Any]:
        """Remove a version with its files, for good. Refused for the one that answers."""
        return self._transport.json("DELETE", path_of("models", version))

    def report(self, version: Union[int, str]) -> Dict[str, Any]:
        """What training found: accuracy, confusion matrix, loss curve, findings."""
        return self._transport.json("GET", path_of("models", version, "report"))

    def labels(self, version: Union[int, str]) -> List[str]:
        """The classes a model can answer, in the order of its scores."""
        return self._transport.ask("GET", path_of("models", version, "labels.txt")).decode("utf-8").splitlines()

    def download_model(self, version: Union[int, str], path: PathLike, quantized: bool = False) -> int:
        """Write a model to a .tflite file, whole or not at all; returns its size in bytes.

        quantized : with an int8 head, a quarter of the size. Raises `OSError` when the file can't be written.
        """
        return download(
            self._transport, path_of("models", version, "model.tflite"), path, {"quantized": quantized or None}
        )
