"""Labels and a description inside a .tflite file, the way TensorFlow Lite's tools expect them.

The buffer of the metadata TFLITE_METADATA describes inputs and outputs (metadata_schema.fbs); the
files it names are in the archive behind the model: labels.txt, a line a class in the order of the
scores, and head.json, what this program knows about the head.
"""

import json
from typing import Any, Dict, List, Optional, Sequence

from coral_learn.errors import ClassNameInvalid, ModelFormatError
from coral_learn.tflite_file.draft import Draft
from coral_learn.tflite_file.flatbuffer import FlatBuffer, Ref
from coral_learn.tflite_file.model import TfliteModel
from coral_learn.tflite_file.schema import METADATA, METADATA_IDENTIFIER
from coral_learn.tflite_file.writer import CannotCopy, Options, Writer

ENTRY = "TFLITE_METADATA"
LABELS_FILE, HEAD_FILE = "labels.txt", "head.json"

# Of metadata_schema.fbs: AssociatedFileType and ContentProperties.
_DESCRIPTIONS, _TENSOR_AXIS_LABELS = 1, 2
_FEATURE_PROPERTIES = 1

# A description has a few thousand bytes. One that could keep us busy for minutes counts as broken.
_MAX_DESCRIPTION, _MAX_OUTPUTS = 1 << 18, 16


def add_labels(model: bytes, labels: Sequence[str], description: str = "", head: Optional[dict] = None) -> bytes:
    """The model with labels for its first output inside, instead of the ones it had.

    description : what the model does, for people; "" keeps what is there
    head : written as head.json; None leaves the file away

    What an earlier description says of the model and its inputs stays, with their files.
    Raises `ClassNameInvalid` or `ModelFormatError`.
    """
    draft = Draft(TfliteModel(model))
    set_labels(draft, labels, description, head)
    return draft.write()


def set_labels(draft: Draft, labels: Sequence[str], description: str = "", head: Optional[dict] = None) -> None:
    """The same in a model that is being changed."""
    lines = "".join(label + "\n" for label in check_labels(labels))
    draft.files = _files_of_inputs(draft)
    draft.files[LABELS_FILE] = lines.encode("utf-8")
    if head is not None:
        draft.files[HEAD_FILE] = json.dumps(head, indent=2, sort_keys=True).encode("utf-8")
    _set_entry(draft, _describe(draft, description, head is not None))


def forget_labels(draft: Draft) -> None:
    """Take what is said of the outputs, and their files, out of a model that is being changed."""
    if ENTRY in draft.model.metadata:
        draft.files = _files_of_inputs(draft)
        _set_entry(draft, _describe(draft, "", False, outputs=False))


def read_labels(model: bytes) -> Optional[List[str]]:
    """The labels of the first output, None when the model has none inside. Raises `ModelFormatError`."""
    model = TfliteModel(model)
    name = _labels_file(model)
    content = model.associated_files().get(name) if name is not None else None
    if content is None:
        return None
    try:
        return content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"the labels in {name} are not UTF-8") from error


def read_head(model: bytes) -> Optional[dict]:
    """What head.json in the model says, None when there is none. Raises `ModelFormatError`."""
    content = TfliteModel(model).associated_files().get(HEAD_FILE)
    if content is None:
        return None
    try:
        head = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"the file {HEAD_FILE} in the model is no JSON: {error}") from error
    if not isinstance(head, dict):
        raise ModelFormatError(f"the file {HEAD_FILE} in the model should hold an object")
    return head


def check_labels(labels: Sequence[str]) -> List[str]:
    """Return labels that a file with a line a label can hold, or raise `ClassNameInvalid`."""
    for label in labels:
        if not isinstance(label, str) or label.splitlines() != [label] or not _is_utf8(label):
            raise ClassNameInvalid(f"a label in a model is one line of text, got {label!r}")
    return list(labels)


def _is_utf8(label: str) -> bool:
    try:
        label.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Description:
    """The description inside a model, empty when it has none or a broken one."""

    def __init__(self, model: TfliteModel):
        buffer = model.metadata.get(ENTRY)
        self.flat = FlatBuffer(model.buffer(buffer)[:_MAX_DESCRIPTION] if buffer is not None else b"", METADATA)
        try:
            root = self.flat.root(METADATA_IDENTIFIER, "ModelMetadata")
            self.flat.walk(root)
        except ModelFormatError:
            self.found, self.fields, self.graph = False, {}, {}
            return
        self.found, self.fields = True, self.flat.fields(root)
        graphs = self.refs(self.fields, "subgraph_metadata")
        self.graph = self.flat.fields(graphs[0]) if graphs else {}

    def refs(self, fields: Dict[str, Any], name: str) -> List[Ref]:
        return self.flat.refs(fields[name]) if name in fields else []

    def file_names(self, fields: Dict[str, Any], kind: Optional[int] = None) -> List[str]:
        """Names of the files associated with a table."""
        tables = [self.flat.fields(ref) for ref in self.refs(fields, "associated_files")]
        return [
            self.flat.text(table["name"]) if "name" in table else ""
            for table in tables
            if kind in (None, table.get("type", 0))
        ]

    def outputs(self) -> List[Dict[str, Any]]:
        return [self.flat.fields(ref) for ref in self.refs(self.graph, "output_tensor_metadata")[:_MAX_OUTPUTS]]


def _labels_file(model: TfliteModel) -> Optional[str]:
    described = _Description(model)
    for output in described.outputs()[:1]:
        for name in described.file_names(output, _TENSOR_AXIS_LABELS):
            return name
    return None


def _files_of_inputs(draft: Draft) -> Dict[str, bytes]:
    """The files in the archive but for those of outputs and our own."""
    described = _Description(draft.model)
    gone = {LABELS_FILE, HEAD_FILE}.union(*(described.file_names(output) for output in described.outputs()))
    return {name: content for name, content in draft.files.items() if name not in gone}


def _describe(draft: Draft, description: str, head: bool, outputs: bool = True) -> bytes:
    """The metadata's bytes: what was known of the model and its inputs, and what now comes out."""
    described = _Description(draft.model)
    graph = {name: value for name, value in described.graph.items() if not name.startswith("output_")}
    if outputs:
        graph["output_tensor_metadata"] = [_scores()] + [
            {"name": f"output {number}"} for number in range(1, len(draft.outputs))
        ]
    if "input_tensor_metadata" not in graph:
        graph["input_tensor_metadata"] = [{"name": "image"}] + [{} for _ in draft.model.inputs[1:]]
    later = described.refs(described.fields, "subgraph_metadata")[1:]
    fields = dict(described.fields, subgraph_metadata=[graph, *later])
    fields.setdefault("min_parser_version", "1.0.0")
    if description:
        fields["description"] = description
    others: List[Any] = [
        ref
        for ref, name in zip(
            described.refs(described.fields, "associated_files"), described.file_names(described.fields)
        )
        if name != HEAD_FILE
    ]
    if head:
        others.append({"name": HEAD_FILE, "description": "how the last layer was taught", "type": _DESCRIPTIONS})
    fields["associated_files"] = others
    old = described.flat if described.found else None
    try:
        return Writer(METADATA, old, compact=old is not None).write(METADATA_IDENTIFIER, "ModelMetadata", fields)
    except CannotCopy:
        return Writer(METADATA, old).write(METADATA_IDENTIFIER, "ModelMetadata", fields)


def _scores() -> Dict[str, Any]:
    labels = {"name": LABELS_FILE, "description": "a class a line", "type": _TENSOR_AXIS_LABELS}
    content = {"content_properties_type": _FEATURE_PROPERTIES, "content_properties": Options("FeatureProperties", {})}
    return {
        "name": "scores",
        "description": "one score a class, together 1",
        "content": content,
        "associated_files": [labels],
    }


def _set_entry(draft: Draft, content: bytes) -> None:
    """Let the model's metadata entry hold this, whether it had one or not."""
    used = {tensor.buffer_index for graph in draft.model.subgraphs for tensor in graph.tensors}
    for index in range(len(draft.fields["metadata"])):
        table = draft.table("metadata", index)
        if "name" in table and draft.model.flat.text(table["name"]) == ENTRY:
            old, table["buffer"] = table.get("buffer", 0), draft.add_buffer(content)
            if old and old not in used:  # its place is free, so that a model saved again doesn't grow
                draft.fields["buffers"][old] = draft.fields["buffers"].pop()
                table["buffer"] = old
            return
    draft.fields["metadata"].append({"name": ENTRY, "buffer": draft.add_buffer(content)})
