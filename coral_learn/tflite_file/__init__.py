"""Reading, checking and editing .tflite files, without running them."""

from coral_learn.tflite_file.append import Layer, append_layer
from coral_learn.tflite_file.compiled import least_runtime
from coral_learn.tflite_file.cut import LastLayer, cut, find_last_layer
from coral_learn.tflite_file.imprinting_tail import ImprintingTail, find_imprinting_tail, replace_classes
from coral_learn.tflite_file.metadata import add_labels, read_head, read_labels
from coral_learn.tflite_file.model import TfliteModel
from coral_learn.tflite_file.tail import begin_at

__all__ = [
    "ImprintingTail",
    "LastLayer",
    "Layer",
    "TfliteModel",
    "add_labels",
    "append_layer",
    "begin_at",
    "cut",
    "find_imprinting_tail",
    "find_last_layer",
    "least_runtime",
    "read_head",
    "read_labels",
    "replace_classes",
]
