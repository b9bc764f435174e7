"""ONNX Runtime's exceptions, under the names and in the place that its own package has."""


class Fail(Exception):
    """ORT_FAIL."""


class InvalidArgument(Exception):
    """ORT_INVALID_ARGUMENT."""


class NoSuchFile(Exception):
    """ORT_NO_SUCHFILE."""


class NoModel(Exception):
    """ORT_NO_MODEL."""


class EngineError(Exception):
    """ORT_ENGINE_ERROR."""


class RuntimeException(Exception):
    """ORT_RUNTIME_EXCEPTION."""


class InvalidProtobuf(Exception):
    """ORT_INVALID_PROTOBUF."""


class ModelLoaded(Exception):
    """ORT_MODEL_LOADED."""


class NotImplemented(Exception):
    """ORT_NOT_IMPLEMENTED."""


class InvalidGraph(Exception):
    """ORT_INVALID_GRAPH."""


class EPFail(Exception):
    """ORT_EP_FAIL."""
