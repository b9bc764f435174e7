"""Networks with random weights, of definitions that libraries bring, as ONNX files.

`python -m edgewright.model.train.definitions REQUEST OUT` is a process of its own: the libraries
take seconds to import, and what they log or print is nobody's answer.
"""

import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgewright.model.judge.pictures import draw_pictures
from edgewright.model.train.export_request import ExportRequest
from edgewright.model.train.segmenter import SmallUNet
from edgewright.model.train.small_yolo import C2f, Conv, SmallYolo

SEED = 0
PICTURES = 32  # that statistics come from
SPREAD = 3.0  # standard deviation of a label's logits
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TransformersOutput(nn.Module):  # type: ignore[misc, unused-ignore]
    """The tensor of a network that answers with a table."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name

    def forward(self, *inputs: Tensor) -> Tensor:
        answer: Tensor = getattr(self.network(*inputs), self.name)
        return answer


class AutoEncoder(nn.Module):  # type: ignore[misc, unused-ignore]
    """Image (1, 3, H, W) -> how badly each pixel is rebuilt (1, 1, H, W), and the worst (1, 1)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(self._halve(3, width), self._halve(width, 2 * width)),
            self._halve(2 * width, 4 * width),
        )
        self.up = nn.Sequential(
            *(self._double(4 * width, 2 * width), self._double(2 * width, width)),
            nn.ConvTranspose2d(width, 3, 2, 2),
        )

    @staticmethod
    def _halve(inputs: int, outputs: int) -> nn.Sequential:
        convolution = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        convolution = nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        difference = (image - self.up(self.down(image))).square().mean(1, keepdim=True)
        return difference, difference.amax((2, 3))


class KeywordSpotter(nn.Module):  # type: ignore[misc, unused-ignore]
    """Spectrogram (1, 1, frames, bands) -> words (1, labels), by depthwise convolutions (Zhang et
    al., Hello Edge, 2017)."""

    def __init__(self, labels: int = 12, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, (10, 4), (2, 2), (5, 1), bias=False)]
        for _ in range(4):
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1, bias=False)]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, labels)

    def forward(self, spectrogram: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(spectrogram).mean((2, 3)))
        return logits


class ColourUNet(SmallUNet):
    """The U-Net of `model.segment`, for colour images."""

    def __init__(self, labels: int = 3) -> None:
        super().__init__(labels)
        first = self.down1[0]
        self.down1[0] = nn.Conv2d(3, first.out_channels, 3, padding=1, bias=False)


class YoloV8Backbone(nn.Module):  # type: ignore[misc, unused-ignore]
    """Images (1, 3, H, W) -> features (1, 256, H / 32, W / 32): the backbone of YOLOv8n, by its
    `yolov8.yaml` at a depth of 1/3 and a width of 1/4."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [Conv(3, 16, 3, 2)]
        inputs = 16
        for width, blocks in ((32, 1), (64, 2), (128, 2), (256, 1)):
            layers += [Conv(inputs, width, 3, 2), C2f(width, blocks)]
            inputs = width
        self.stages = nn.Sequential(*layers)
        self.squeeze, self.join = Conv(256, 128, 1), Conv(512, 256, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, image: Tensor) -> Tensor:
        levels = [self.squeeze(self.stages(image))]
        for _ in range(3):
            levels.append(self.pool(levels[-1]))
        features: Tensor = self.join(torch.cat(levels, 1))
        return features


OURS: Mapping[str, Callable[[], nn.Module]] = {
    "yolo": lambda: SmallYolo(labels=3),
    "unet": ColourUNet,
    "autoencoder": AutoEncoder,
    "keyword_spotter": KeywordSpotter,
    "yolov8n_backbone": YoloV8Backbone,
}


# Classes of transformers with small configurations: what counts is the graph.
_TRANSFORMERS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "segformer": (
        "SegformerForSemanticSegmentation",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 96], "decoder_hidden_size": 64},
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        {
            "hidden_sizes": [64, 80, 96],
            "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320],
            "expand_ratio": 2.0,
        },
    ),
    "bert": (
        "BertForSequenceClassification",
        {
            "vocab_size": 1000,
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 512,
            "num_labels": 4,
            "attn_implementation": "eager",
        },
    ),
    "wav2vec2": (
        "Wav2Vec2ForSequenceClassification",
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "conv_dim": (32, 32, 32),
            "conv_stride": (5, 4, 4),
            "conv_kernel": (10, 8, 8),
            "num_labels": 4,
            "classifier_proj_size": 32,
            "attn_implementation": "eager",
        },
    ),
}


def _transformers(definition: str, labels: int) -> nn.Module:
    import transformers

    name, configuration = _TRANSFORMERS[definition]
    network = getattr(transformers, name)
    config = network.config_class(**({"num_labels": labels or 3} | dict(configuration)))
    return TransformersOutput(network(config), "logits")


class _Idle(type):
    """Anything that timm takes of torchvision: a class whose attributes are classes like it."""

    def __getattr__(cls, name: str) -> "_Idle":
        return _Idle(name, (), {})


class _StandInForTorchvision(MetaPathFinder, Loader):
    """timm imports torchvision for its training pictures alone, and PyPI's torchvision does not
    load beside a CPU build of torch."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        is_torchvision = name.partition(".")[0] == "torchvision"
        return ModuleSpec(name, self, is_package=True) if is_torchvision else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        vars(module)["__getattr__"] = lambda name: _Idle(name, (), {})
        return module

    def exec_module(self, module: types.ModuleType) -> None: ...


def define(request: ExportRequest) -> nn.Module:
    """The network with weights that repeat."""
    torch.manual_seed(SEED)
    network: nn.Module
    if request.library == "timm":
        sys.meta_path.insert(0, _StandInForTorchvision())
        timm = import_module("timm")  # of a wheel's folder, as the other one: not installed
        # Attention as operators: a fused kernel is nothing that ONNX has.
        timm.layers.set_fused_attn(False)
        network = timm.create_model(request.definition, num_classes=request.labels)
    elif request.library == "transformers":
        network = _transformers(request.definition, request.labels)
    elif request.library == "efficientnet_lite_pytorch":
        lite = import_module("efficientnet_lite_pytorch")
        network = lite.EfficientNet.from_name(request.definition)
    else:
        network = OURS[request.definition]()
    if request.weights:
        network.load_state_dict(torch.load(request.weights, weights_only=True))
        return network.eval()
    with torch.inference_mode():
        _settle(network, request)
    return network.eval()


def _settle(network: nn.Module, request: ExportRequest) -> None:
    """Give random weights the statistics that training would: norms of what they get, logits that
    differ from picture to picture. Without them an answer says little of an error."""
    inputs = _inputs(request)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean over all of them
    network.train()
    for values in inputs:
        network(*values)
    network.eval()
    heads = [m for m in network.modules() if _width(m) == request.labels > 0]
    if not heads:
        return
    logits = torch.cat([network(*values).flatten(1) for values in inputs])
    if logits.shape[1] != request.labels:
        return  # maps, not labels
    scale = SPREAD / logits.std(0).clamp(min=1e-6)
    head = heads[-1]
    head.weight *= scale.reshape(-1, *[1] * (head.weight.ndim - 1))
    if head.bias is not None:
        head.bias.copy_((head.bias - logits.mean(0)) * scale)


def _width(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return int(module.out_features)
    return int(module.out_channels) if isinstance(module, nn.Conv2d) else -1


def _inputs(request: ExportRequest) -> list[tuple[Tensor, ...]]:
    """What the network is settled on."""
    random = np.random.default_rng(SEED)
    if request.highest:
        return [
            tuple(torch.from_numpy(random.integers(0, request.highest, s)) for s in request.shapes)
            for _ in range(PICTURES)
        ]
    (shape, *_) = request.shapes
    if len(shape) == 4 and shape[1] == 3:
        pictures = np.stack(draw_pictures(PICTURES, max(shape[2:])))[:, : shape[2], : shape[3]]
        values = (pictures / 255 - np.array(MEAN)) / np.array(STD)
        images = torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))
        # A norm of one value has no spread; our own detector takes one image alone.
        return [(part,) for part in images.split(1 if request.library == "edgewright" else 2)]
    return [
        tuple(torch.from_numpy(random.standard_normal(s, np.float32)) for s in request.shapes)
        for _ in range(PICTURES)
    ]


def export_network(network: nn.Module, request: ExportRequest, out: Path) -> None:
    """Write the network as its exporter does by default: with the newer one the weights lie in a
    file of their own."""
    dtype = torch.int64 if request.highest else torch.float32
    example = tuple(torch.zeros(shape, dtype=dtype) for shape in request.shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes become constants: they should
        torch.onnx.export(
            network,
            example,
            str(out),
            opset_version=request.opset,
            dynamo=request.exporter == "dynamo",
            input_names=["image" if example[0].ndim == 4 else "input"],
            external_data=request.exporter == "dynamo",
        )


def main(arguments: Sequence[str]) -> None:
    text, out = arguments
    request = ExportRequest.model_validate_json(text)
    export_network(define(request), request, Path(out))


if __name__ == "__main__":
    main(sys.argv[1:])
