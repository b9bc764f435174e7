"""One network through ncnn, in the guest: ncnn_peer.py FOLDER PARAM WEIGHTS INPUT SHAPE RUNS.

FOLDER holds ncnn's Python module. INPUT holds float values of SHAPE (3x224x224). `-` for WEIGHTS
or INPUT: empty weights, a constant image. getppid() marks the start of each inference for the
counter. Prints the outputs, one a line, then the peak of resident memory in KiB.
"""

import os
import sys
from pathlib import Path

folder, param, weights, source, shape, runs = sys.argv[1:]
sys.path.insert(0, folder)

import ncnn  # noqa: E402

net = ncnn.Net()
net.opt.num_threads = 1
net.opt.use_vulkan_compute = False
net.load_param(param)
net.load_model(ncnn.DataReaderFromEmpty() if weights == "-" else weights)
channels, height, width = map(int, shape.split("x"))
if source == "-":
    image = ncnn.Mat(width, height, channels)
    image.fill(0.01)
else:
    raw = memoryview(Path(source).read_bytes())
    image = ncnn.Mat(raw.cast("f", (channels, height, width))).clone()
output = Path(param).read_text().split("\n")[-2].split()[5]
for _ in range(int(runs)):
    os.getppid()
    with net.create_extractor() as extractor:
        extractor.input("data", image)
        status, out = extractor.extract(output)
        assert status == 0, status
os.getppid()
values = memoryview(out).tolist()
for _ in range(out.dims - 1):  # of a map, rows of channels
    values = [value for row in values for value in row]
print("\n".join(f"{value:.9g}" for value in values))
status_lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status_lines if line.startswith("VmHWM:")))
