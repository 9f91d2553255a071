"""The JSON that views share, as JSON Schemas with a name each."""

from typing import Any, Dict, Sequence

from coral_learn.heads import ImprintingHead
from coral_learn.image import MEDIA_TYPES
from coral_learn.training import INCREMENTAL
from coral_learn.training.doctor.finding import ADVICE, ERROR, WARNING
from coral_learn.training.options import CHOICES, RANGES, SoftmaxOptions
from service.camera.supervisor import LOST, NONE, ONLINE, STARTING
from service.capturing import LONGEST_INTERVAL, MOST_FRAMES
from service.doctor.check import STATES
from service.extraction import supervisor as extraction
from service.http.description import Media, Parameter, Schema
from service.http.reading import MAX_SIZE
from service.jobs.options import ACTIVATE, HELD_OUT, LONGEST_SEARCH, TRAINABLE
from service.review import NOVEL, UNCERTAIN
from service.store.classes import MAX_NAME
from service.store.examples import LONGEST_ID
from service.store.jobs import ENDED, QUEUED, RUNNING

TEXT: Schema = {"type": "string"}
YES_OR_NO: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
SECONDS: Schema = {"type": "number", "description": "seconds since 1970"}
ANYTHING: Schema = {"type": "object"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def text(description: str, **more: Any) -> Schema:
    """The schema of a described text."""
    return dict(TEXT, description=description, **more)


def ref(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """A schema, or null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return dict(schema, type=[schema["type"], "null"])
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema, **more: Any) -> Schema:
    """A list of what a schema says."""
    return {"type": "array", "items": schema, **more}


def record(**fields: Schema) -> Schema:
    """An object with all of these fields."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def with_optional(schema: Schema, **fields: Schema) -> Schema:
    """A record that may have more fields."""
    return dict(schema, properties={**schema["properties"], **fields})


def only(schema: Schema) -> Schema:
    """A record without any other fields."""
    return dict(schema, additionalProperties=False)


def also(name: str, **fields: Schema) -> Schema:
    """The record of this name with further fields."""
    return {"allOf": [ref(name), record(**fields)]}


def page_of(name: str) -> Schema:
    """A page of a list."""
    return record(items=list_of(ref(name)), page=COUNT, size=COUNT, total=COUNT)


CLASS_NAME = text(
    f"1 to {MAX_NAME} printable characters without a slash", minLength=1, maxLength=MAX_NAME, pattern="^[^/]+$"
)
OWN_TEXT = dict(TEXT, minLength=1, maxLength=LONGEST_ID)
STEP = {"type": "integer", "description": "its number in the journal"}
STEP_OR_NULL = or_null(dict(STEP, description="its number in the journal, null when nothing changed"))
CLASS_OR_UNKNOWN = or_null(text("the best class, null when none fits or nothing is learnt"))
LIVE_OR_NUMBER = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "live"}]}
HEAD = text("kind of head")

TIMES = {
    "type": "object",
    "description": "milliseconds",
    "properties": dict.fromkeys(("decode", "embed", "head", "total"), NUMBER),
}


def _options() -> Dict[str, Schema]:
    """What may be said of a softmax head."""
    defaults, found = SoftmaxOptions(), {}
    for name, (lowest, highest) in RANGES.items():
        default = getattr(defaults, name)
        kind = "integer" if isinstance(default, int) else "number"
        found[name] = {"type": kind, "minimum": lowest, "maximum": highest, "default": default}
    for name, allowed in CHOICES.items():
        found[name] = {"type": "string", "enum": list(allowed), "default": getattr(defaults, name)}
    return dict(found, balance=dict(YES_OR_NO, default=defaults.balance))


TRAINING = {
    "type": "object",
    "properties": {
        "head": {"type": "string", "enum": list(TRAINABLE), "default": ImprintingHead.kind},
        "activate": {"type": "string", "enum": list(ACTIVATE), "default": ACTIVATE[0]},
        "held_out": {"type": "number", "minimum": 0, "maximum": 0.5, "default": HELD_OUT},
        "search_seconds": {"type": "number", "minimum": 0, "maximum": LONGEST_SEARCH, "default": 0},
        **_options(),
    },
    "additionalProperties": False,
    "description": "from epochs on the options are those of a softmax head; for others they are refused, save seed",
}

COMPONENTS: Dict[str, Schema] = {
    "Problem": with_optional(
        record(
            type=TEXT,
            title=TEXT,
            status={"type": "integer", "minimum": 400, "maximum": 599},
            detail=text("what was wrong, what is allowed, and what came"),
            code=text("a stable word for programs"),
        ),
        request_id=text("in the daemon's log as well"),
        errors=list_of(
            with_optional(record(field=TEXT, detail=TEXT), code=TEXT), description="by field, where there are several"
        ),
    ),
    "Class": record(
        name=TEXT,
        examples=COUNT,
        pretrained=YES_OR_NO,
        enabled=dict(YES_OR_NO, description="whether it is taught and answered"),
    ),
    "ModelTag": with_optional(record(version=LIVE_OR_NUMBER, head=HEAD), revision=dict(COUNT, description="of live")),
    "Unseen": record(
        examples=dict(COUNT, description="how many the answering model was not taught"), classes=list_of(TEXT)
    ),
    "Model": with_optional(
        record(
            version=LIVE_OR_NUMBER,
            head=HEAD,
            created=or_null(SECONDS),
            classes=COUNT,
            examples=COUNT,
            accuracy=or_null(dict(SHARE, description="on held-out examples")),
            active=YES_OR_NO,
        ),
        revision=dict(COUNT, description="of live"),
    ),
    "Figures": with_optional(
        record(
            examples=dict(COUNT, description="how many stand behind the figures"),
            accuracy=or_null(SHARE),
            mean_class_accuracy=or_null(SHARE),
            calibration_error=or_null(SHARE),
            refused=or_null(dict(SHARE, description="taken for none of the classes")),
            classes=list_of(TEXT),
            answers=list_of(or_null(TEXT)),
            confusion=list_of(list_of(COUNT), description="a row a class, a column an answer"),
        ),
        pictures=list_of(
            record(
                **{"example": TEXT, "class": TEXT, "answer": or_null(TEXT)},
                deleted=dict(YES_OR_NO, description="since"),
            ),
            description="the examples behind the counts, the first ones of many alike",
        ),
        not_listed=dict(COUNT, description="how many of them pictures leaves out"),
        not_measured=dict(
            COUNT, description="examples left out of all this: their class has nothing but their capture"
        ),
    ),
    "Finding": record(
        code=text("a stable word for programs"),
        severity={"type": "string", "enum": [ERROR, WARNING, ADVICE]},
        text=TEXT,
        remedy=TEXT,
        classes=list_of(TEXT),
        examples=list_of(TEXT, description="ids of those concerned"),
        present=list_of(or_null(TEXT), description="the class that each of them is in by now, null where it is gone"),
    ),
    "Report": with_optional(
        record(
            head=HEAD,
            calibration=ANYTHING,
            findings=or_null(list_of(ref("Finding"), description="null while a live model is being looked through")),
        ),
        revision=dict(COUNT, description="of live, that all this was found of"),
        left_out=dict(ref("Figures"), description="of live, each example left out in turn, with its capture"),
        held_out=dict(ref("Figures"), description="of a version, on examples set aside"),
        options=ANYTHING,
        choice=or_null(ANYTHING),
        search=or_null(ANYTHING),
        examples=ANYTHING,
        disabled=ANYTHING,
        measured_on=ANYTHING,
        history=list_of(ANYTHING),
        baseline=ANYTHING,
    ),
    "Prediction": {"type": "object", "properties": {"class": TEXT, "score": SHARE}, "required": ["class", "score"]},
    "Answer": with_optional(
        record(
            **{"class": CLASS_OR_UNKNOWN},
            score=SHARE,
            predictions=list_of(ref("Prediction")),
            model=ref("ModelTag"),
            device=text("what computed it: edgetpu or cpu"),
            timing_ms=TIMES,
        ),
        nearest=list_of(
            record(**{"example": TEXT, "class": TEXT, "similarity": NUMBER}), description="with ?explain=true"
        ),
    ),
    "Example": record(
        **{"id": TEXT, "class": TEXT, "sha256": SHA256},
        format={"type": "string", "enum": list(MEDIA_TYPES)},
        width=COUNT,
        height=COUNT,
        bytes=COUNT,
        source=text("upload, camera or import"),
        capture=or_null(text("frames taken together share it")),
        client_id=or_null(text("the client's own name for it")),
        created=SECONDS,
    ),
    "Lesson": record(
        **{"class": TEXT},
        accepted=list_of(
            record(id=TEXT, sha256=SHA256, width=COUNT, height=COUNT, duplicate=YES_OR_NO, warnings=list_of(TEXT))
        ),
        class_examples=COUNT,
        model=ref("ModelTag"),
        accuracy=record(before=or_null(SHARE), after=or_null(SHARE)),
        step=STEP_OR_NULL,
    ),
    "Taught": also(
        "Lesson",
        rejected=list_of(
            record(filename=TEXT, code=TEXT, detail=TEXT, status=dict(COUNT, description="it would have had alone"))
        ),
    ),
    "Captured": also(
        "Lesson",
        capture=text("what its frames share"),
        frames=dict(COUNT, description="taken"),
        near_duplicates=dict(COUNT, description="of them, dropped"),
        missed=or_null(text("why fewer were taken than asked for")),
    ),
    "ReviewFrame": record(
        **{
            "id": TEXT,
            "captured": SECONDS,
            "reason": {"type": "string", "enum": [UNCERTAIN, NOVEL]},
            "class": CLASS_OR_UNKNOWN,
        },
        score=SHARE,
        predictions=list_of(ref("Prediction")),
        width=COUNT,
        height=COUNT,
        bytes=dict(COUNT, description="on the disk, with its facts"),
    ),
    "Job": record(
        id=TEXT,
        kind=text("what it does: train, import, extractor, reembed"),
        state={"type": "string", "enum": [QUEUED, RUNNING, *ENDED]},
        waiting_for=or_null(text("why a queued job does not begin yet")),
        options=ANYTHING,
        progress=SHARE,
        metrics=dict(ANYTHING, description="loss, accuracy and so on, as far as it has come"),
        model=or_null(record(version=or_null(COUNT), activated=YES_OR_NO, reason=TEXT)),
        error=or_null(dict(ANYTHING, description="why it failed, as a problem")),
        created=SECONDS,
        started=or_null(SECONDS),
        finished=or_null(SECONDS),
    ),
    "Step": record(
        step=STEP,
        action=text("what was done"),
        details=dict(ANYTHING, description="to whom; steps of one capture have the same `capture`"),
        created=SECONDS,
    ),
    "Setting": record(
        name=TEXT,
        value={"type": ["string", "number", "boolean"]},
        default={"type": ["string", "number", "boolean"]},
        help=TEXT,
        changeable=dict(YES_OR_NO, description="while the daemon runs"),
        fixed_by=or_null(text("what gave its value, so that it can't be changed: a flag, the environment")),
        origin=text("where its value comes from"),
        kind={"type": "string", "enum": ["text", "number", "integer", "yes_or_no"]},
        lowest=or_null(NUMBER),
        highest=or_null(NUMBER),
        choices=or_null(list_of({"type": ["string", "number"]})),
    ),
    "Status": record(
        version=TEXT,
        device=or_null(text("edgetpu or cpu")),
        device_reason=TEXT,
        degraded=YES_OR_NO,
        extractor=with_optional(
            record(
                state={"type": "string", "enum": [extraction.STARTING, extraction.READY, extraction.LOST]},
                reason=TEXT,
                starts=COUNT,
                losses=COUNT,
                recovery_s=or_null({"type": "number", "description": "seconds the last loss took"}),
                stand_in=dict(YES_OR_NO, description="the CPU, for an Edge TPU that is lost"),
                to_embed=dict(COUNT, description="stored pictures that a job is to embed, or embeds"),
                instead_of=or_null(text("the model that is set, where another one answers; empty for the bundled one")),
            ),
            name=TEXT,
            digest=TEXT,
            runtime=TEXT,
            embedding_size=COUNT,
            input=record(width=COUNT, height=COUNT),
        ),
        incomplete=or_null(text("what answers lack while stored pictures wait to be embedded")),
        model=also("ModelTag", unseen=ref("Unseen")),
        counts=record(
            classes=COUNT,
            enabled=dict(COUNT, description="classes that are taught and answered"),
            examples=COUNT,
            watching=COUNT,
            frames=COUNT,
            waiting=COUNT,
            review=dict(COUNT, description="frames that wait for a look"),
        ),
        temperature={
            "type": "object",
            "description": "degrees Celsius by sensor, of those there are",
            "additionalProperties": {"type": "number"},
        },
        slowed_down=or_null(text("why the camera is slowed down")),
        camera=record(
            state={"type": "string", "enum": [NONE, STARTING, ONLINE, LOST]},
            reason=TEXT,
            source=or_null(TEXT),
            since={"type": "number", "description": "when it came to be so, in seconds since 1970"},
            kind=or_null(text("v4l2, rtsp, http, video, folder, or drawn: pictures in the place of a camera")),
            restarts=dict(COUNT, description="processes started after the first"),
            width=or_null(COUNT),
            height=or_null(COUNT),
            fps=or_null({"type": "number", "description": "frames a second of the source, as seen"}),
            broken=dict(COUNT, description="pictures that were damaged"),
        ),
    ),
    "Diagnosis": record(
        ok=dict(YES_OR_NO, description="whether no check failed"),
        checks=list_of(
            record(
                name=TEXT,
                state={"type": "string", "enum": list(STATES)},
                found=text("what is there"),
                meaning=text("what that means"),
                remedy=text("what to do about it; empty where there is nothing to do"),
            )
        ),
    ),
    "ProtocolError": record(error=TEXT, code=text("a stable word for programs; the protocol itself has none")),
    "Tensor": with_optional(
        record(name=TEXT, datatype={"type": "string", "enum": ["BYTES", "UINT8", "FP32"]}, shape=list_of(COUNT)),
        data={"type": "array", "description": "its elements, unless they follow as bytes"},
        parameters=dict(ANYTHING, description="binary_data_size : how many bytes follow"),
    ),
    "TensorMetadata": record(name=TEXT, datatype=TEXT, shape=list_of({"type": "integer", "minimum": -1})),
    "ModelMetadata": record(
        name=TEXT,
        versions=list_of(TEXT, description="the one that answers now"),
        platform=TEXT,
        inputs=list_of(ref("TensorMetadata")),
        outputs=list_of(ref("TensorMetadata")),
    ),
    "InferAnswer": with_optional(
        record(
            model_name=TEXT,
            model_version=TEXT,
            parameters=dict(ANYTHING, description="which model and device answered"),
            outputs=list_of(ref("Tensor")),
        ),
        id=TEXT,
    ),
    "InferInput": with_optional(
        record(
            name={"type": "string", "enum": ["image", "pixels"]},
            datatype={"type": "string", "enum": ["BYTES", "UINT8"]},
            shape=list_of(dict(COUNT, minimum=1), minItems=1, maxItems=4),
        ),
        data={"type": "array", "description": "base64 texts of image, numbers of pixels, unless they follow as bytes"},
        parameters=dict(ANYTHING, description="binary_data_size : how many bytes follow"),
    ),
}

INFER_REQUEST = Media(
    with_optional(
        record(inputs=list_of(ref("InferInput"), minItems=1, maxItems=1)),
        id=TEXT,
        parameters=with_optional(record(), binary_data_output=YES_OR_NO),
        outputs=list_of(
            with_optional(
                record(name={"type": "string", "enum": ["label", "score", "scores", "labels"]}),
                parameters=with_optional(record(), binary_data=YES_OR_NO),
            )
        ),
    ),
    ("application/json", "application/octet-stream"),
)
ACTIVE = record(model=ref("ModelTag"), unseen=ref("Unseen"))
CAPTURE_BODY = only(
    with_optional(
        record(**{"class": CLASS_NAME}),
        count={"type": "integer", "minimum": 1, "maximum": MOST_FRAMES, "default": 1},
        interval_s={"type": "number", "minimum": 0, "maximum": LONGEST_INTERVAL, "default": 0.2},
        capture=dict(OWN_TEXT, description="of an earlier one that goes on"),
        create=dict(YES_OR_NO, default=True, description="make the class when it is missing; else that is a 404"),
    )
)
MOST_STEPS = 1000  # that are undone at once
UNDO_BODY: Schema = {
    "anyOf": [
        only({"type": "object", "properties": {"step": or_null(COUNT)}}),
        only(record(steps=list_of(COUNT, minItems=1, maxItems=MOST_STEPS))),
    ]
}
NAME_BODY = only(record(name=CLASS_NAME))
CLASS_CHANGE: Schema = {"anyOf": [NAME_BODY, only(record(enabled=YES_OR_NO))]}
CLASS_BODY = only(record(**{"class": CLASS_NAME}))
HEAD_BODY = Media(
    {
        "type": "object",
        "properties": {"head": or_null({"type": "string", "enum": list(INCREMENTAL)})},
        "additionalProperties": False,
        "description": "head : of the live model; a numbered version takes an empty object",
    },
    required=False,
)

PICTURE_TYPES = tuple(MEDIA_TYPES.values())
PICTURES = Media(
    {
        "type": "object",
        "properties": {"file": list_of({"type": "string", "contentMediaType": "image/*", "format": "binary"})},
        "required": ["file"],
    },
    ("multipart/form-data", *PICTURE_TYPES, "application/octet-stream"),
)
# What a picture may be refused with.
PICTURE_PROBLEMS: Dict[int, Any] = {
    400: ("image_broken", "bad_request"),
    413: "image_too_large",
    415: ("image_format_unsupported", "unsupported_media_type"),
    422: ("image_too_small", "image_unusable", "invalid"),
    503: ("extractor_unavailable", "extractor_busy", "extractor_failed"),
}

JOB_QUEUED = Media(ref("Job"), headers={"Location": "the job's address"})

PAGING = (
    Parameter("page", dict(COUNT, maximum=10**9, default=0), "which page, from 0"),
    Parameter("size", dict(COUNT, minimum=1, maximum=MAX_SIZE, default=20), "how many on a page"),
)

PATH = {
    "name": dict(CLASS_NAME, description="a class"),
    "example": text("an example's id"),
    "frame": text("the id of a frame that was kept for review"),
    "job": text("a job's id"),
    "version": text("a version's number, or live"),
    "model": text("coral-learn for whatever answers now, or live for the model that learns as examples come"),
}


def file_answers(types: Sequence[str]) -> Dict[int, Any]:
    """The answers where a file, a part of it, or a newer one may be asked for."""
    whole = Media(None, tuple(types), {"ETag": "changes with the content"})
    return {200: whole, 206: whole, 304: None, 412: "precondition_failed", 416: "range_not_satisfiable"}


def flag(name: str, description: str) -> Parameter:
    """A yes or no in the query."""
    return Parameter(name, dict(YES_OR_NO, default=False), description)
