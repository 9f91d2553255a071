"""Where frames come from: a source in its own process, and what keeps that alive."""

from service.camera.options import CameraOptions, Patience
from service.camera.supervisor import Camera, CameraState, Frame

__all__ = ["Camera", "CameraOptions", "CameraState", "Frame", "Patience"]
