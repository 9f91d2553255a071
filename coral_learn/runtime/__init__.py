"""Running a .tflite file: one interface, one file a way to run it."""

from coral_learn.runtime.base import Runtime, TensorSpec
from coral_learn.runtime.choose import Choice, choose_runtime

__all__ = ["Choice", "Runtime", "TensorSpec", "choose_runtime"]
