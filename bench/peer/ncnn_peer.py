"""One network of ncnn's, without weights, run in the guest: ncnn_peer.py FOLDER PARAM RUNS.

FOLDER holds ncnn's Python module. getppid() marks the start of each inference for the counter.
"""

import os
import sys
from pathlib import Path

folder, param, runs = sys.argv[1:]
sys.path.insert(0, folder)

import ncnn  # noqa: E402

net = ncnn.Net()
net.opt.num_threads = 1
net.opt.use_vulkan_compute = False
net.load_param(param)
net.load_model(ncnn.DataReaderFromEmpty())
image = ncnn.Mat(224, 224, 3)
image.fill(0.01)
output = Path(param).read_text().split("\n")[-2].split()[5]
for _ in range(int(runs)):
    os.getppid()
    with net.create_extractor() as extractor:
        extractor.input("data", image)
        status, out = extractor.extract(output)
        assert status == 0, status
os.getppid()
print(out.w)
