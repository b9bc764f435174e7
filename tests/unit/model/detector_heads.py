"""Small networks that end as the usual detectors do, SSD, DETR and RT-DETR; random weights."""

import torch
from torch import Tensor, nn

SIDE = 64
CHANNELS = 16
HEADS = 4
ANCHORS = 4  # of a cell
QUERIES = 20


class Backbone(nn.Sequential):  # type: ignore[misc, name-defined, unused-ignore]
    """(1, 3, SIDE, SIDE) -> (1, CHANNELS, 8, 8)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs in (3, CHANNELS, CHANNELS):
            layers += [nn.Conv2d(inputs, CHANNELS, 3, 2, 1), nn.ReLU()]
        super().__init__(*layers)


class Ssd(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Liu et al., ECCV 2016: offsets from anchors, the background is the first class.

    Outputs as pytorch-ssd exports them: scores (1, n, labels + 1), behind their softmax, and
    boxes (1, n, 4), corners in shares of the input.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.labels = labels
        self.scores = nn.Conv2d(CHANNELS, ANCHORS * (labels + 1), 3, padding=1)
        self.offsets = nn.Conv2d(CHANNELS, ANCHORS * 4, 3, padding=1)
        centre = (torch.arange(8) + 0.5) / 8
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        size = torch.tensor([0.2, 0.3, 0.4, 0.5])
        self.register_buffer(
            "anchors",
            torch.stack([part.flatten()[:, None].expand(-1, ANCHORS) for part in (x, y)], -1),
        )
        self.register_buffer("sizes", size.view(1, ANCHORS, 1).expand(64, -1, 2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(image)
        scores, offsets = (
            head(features).permute(0, 2, 3, 1).reshape(1, 64 * ANCHORS, -1)
            for head in (self.scores, self.offsets)
        )
        anchors, sizes = self.anchors.reshape(1, -1, 2), self.sizes.reshape(1, -1, 2)
        centres = anchors + 0.1 * offsets[..., :2] * sizes
        halves = sizes * torch.exp(0.2 * offsets[..., 2:]) / 2
        return scores.softmax(2), torch.cat([centres - halves, centres + halves], 2)


class Decoder(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Queries that look at the features, as in all descendants of DETR."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.queries = nn.Parameter(torch.randn(1, QUERIES, CHANNELS))
        self.layer = nn.TransformerDecoderLayer(CHANNELS, HEADS, 32, dropout=0.0, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        memory = self.backbone(image).flatten(2).transpose(1, 2)
        looked: Tensor = self.layer(self.queries, memory)
        return looked


class Detr(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Carion et al., ECCV 2020, with the outputs of transformers: logits, pred_boxes.

    The last class is no object; `has_no_object=False` is RT-DETR (Zhao et al., CVPR 2024), whose
    scores are sigmoids, each by itself.
    """

    def __init__(self, labels: int, *, has_no_object: bool = True) -> None:
        super().__init__()
        self.decoder = Decoder()
        self.classes = nn.Linear(CHANNELS, labels + has_no_object)
        self.boxes = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, 4))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        looked = self.decoder(image)
        return self.classes(looked), self.boxes(looked).sigmoid()


class RtDetrDeployed(Detr):
    """RT-DETR with the decoding of its authors' export: labels, boxes in pixels, scores."""

    def __init__(self, labels: int) -> None:
        super().__init__(labels, has_no_object=False)
        self.labels = labels

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override, unused-ignore]
        logits, boxes = super().forward(image)
        low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
        corners = torch.cat([low, high], 2) * SIDE
        scores, places = logits.sigmoid().flatten(1).topk(QUERIES, dim=1)
        rows = (places // self.labels)[..., None].expand(-1, -1, 4)
        return places % self.labels, corners.gather(1, rows), scores


class RtDetrJoint(Detr):
    """RT-DETR as Ultralytics exports it: boxes and scores in one tensor, boxes in shares."""

    def __init__(self, labels: int) -> None:
        super().__init__(labels, has_no_object=False)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override, unused-ignore]
        logits, boxes = super().forward(image)
        return torch.cat([boxes, logits.sigmoid()], 2)
