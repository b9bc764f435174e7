"""A program in Python that has images judged by `edge-infer serve`.

    python camera.py /run/edgewright/serve/infer.sock part-0001.png part-0002.png

Needs `edgewright/client.py` beside it, or edgewright itself. It may run on the board, or beside it:

    ssh -N -L board.sock:/run/edgewright/serve/infer.sock root@192.0.2.7 &
    python camera.py board.sock part-0001.png
"""

import sys
import time
from pathlib import Path

try:
    from edgewright.client import BusyError, Client, ServiceError
except ImportError:
    from client import BusyError, Client, ServiceError  # type: ignore[import-not-found,no-redef]

socket, *images = sys.argv[1:]
with Client(socket) as client:
    for image in images:
        while True:
            try:
                answer = client.image(Path(image).read_bytes())
            except BusyError:
                time.sleep(0.1)  # or leave this image out: a line does not stop
                continue
            except ServiceError as error:
                answer = {"class": f"{error.code}: {error}"}
            break
        print(image, answer["class"])
