"""MobileNetV1 and V2 as ncnn networks, for which times on Cortex-A53 boards are published.

Howard et al., arXiv 1704.04861, table 1; Sandler et al., arXiv 1801.04381, table 2; both at width
1.0 and 224 by 224. The text is ncnn's parameter format; counting needs no weights.
"""

from dataclasses import dataclass, field

MAGIC = "7767517"
RELU, RELU6 = "9=1", "9=3 -23310=2,0.0,6.0"
# The tables of the papers.
V1_BLOCKS = (  # output channels, stride
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
V2_BLOCKS = (  # expansion, output channels, repeats, stride of the first
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


@dataclass
class _Net:
    """A network in ncnn's format that grows at its end; `top` is the output of the last layer."""

    int8: bool = False
    lines: list[str] = field(default_factory=lambda: ["Input data 0 1 data 0=224 1=224 2=3"])
    top: str = "data"
    channels: int = 3
    blobs: int = 1

    def add(self, kind: str, options: str, *more_inputs: str) -> None:
        inputs = [self.top, *more_inputs]
        self.top = f"b{self.blobs}"
        names = " ".join([*inputs, self.top])
        self.lines.append(f"{kind} l{self.blobs} {len(inputs)} 1 {names} {options}")
        self.blobs += 1

    def conv(self, out: int, kernel: int = 1, stride: int = 1, activation: str = "") -> None:
        weights = out * self.channels * kernel * kernel
        # ncnn's int8_scale_term: above 100 a layer hands bytes on to the next one, not floats.
        scale = " 8=102" if self.int8 else ""
        shape = f"0={out} 1={kernel} 3={stride} 4={kernel // 2} 5=1 6={weights}"
        self.add("Convolution", f"{shape}{scale} {activation}".strip())
        self.channels = out

    def depthwise(self, stride: int, activation: str) -> None:
        out = self.channels
        scale = " 8=101" if self.int8 else ""
        shape = f"0={out} 1=3 3={stride} 4=1 5=1 6={out * 9} 7={out}"
        self.add("ConvolutionDepthWise", f"{shape}{scale} {activation}")

    def fork(self) -> str:
        """Split the top in two names, as ncnn demands; return the second name."""
        first, second = f"b{self.blobs}", f"b{self.blobs + 1}"
        self.lines.append(f"Split l{self.blobs} 1 2 {self.top} {first} {second}")
        self.top, self.blobs = first, self.blobs + 2
        return second

    def classify(self) -> None:
        self.add("Pooling", "0=1 4=1")
        scale = " 8=2" if self.int8 else ""
        self.add("InnerProduct", f"0=1000 1=1 2={1000 * self.channels}{scale}")
        self.add("Softmax", "0=0 1=1")

    def text(self) -> str:
        return "\n".join([MAGIC, f"{len(self.lines)} {self.blobs}", *self.lines, ""])


def mobilenet_v1(*, int8: bool = False) -> str:
    net = _Net(int8=int8)
    net.conv(32, kernel=3, stride=2, activation=RELU)
    for out, stride in V1_BLOCKS:
        net.depthwise(stride, RELU)
        net.conv(out, activation=RELU)
    net.classify()
    return net.text()


def mobilenet_v2() -> str:
    net = _Net()
    net.conv(32, kernel=3, stride=2, activation=RELU6)
    for expansion, out, repeats, first_stride in V2_BLOCKS:
        for repeat in range(repeats):
            _inverted_residual(net, expansion, out, 1 if repeat else first_stride)
    net.conv(1280, activation=RELU6)
    net.classify()
    return net.text()


def _inverted_residual(net: _Net, expansion: int, out: int, stride: int) -> None:
    residual = stride == 1 and net.channels == out
    shortcut = net.fork() if residual else ""
    if expansion > 1:
        net.conv(net.channels * expansion, activation=RELU6)
    net.depthwise(stride, RELU6)
    net.conv(out)
    if residual:
        net.add("BinaryOp", "0=0", shortcut)
