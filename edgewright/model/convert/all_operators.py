"""Every operator for which a board's runtime can have a kernel, for all types that this takes.

The table of kernels is asked of ONNX Runtime on this machine, which is of the boards' version. What
their build leaves out (`recipes/onnxruntime-minimal/conandata.yml`) is taken off it.
"""

from edgewright.model.convert.coverage import REGISTRABLE
from edgewright.model.convert.ops import OpConfig
from edgewright.model.convert.ort_tools import read_kernels

# Built for optional types, sparse tensors and, MatMulFpQ4, for what is no minimal build.
LEFT_OUT = {
    "MatMulFpQ4",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SparseToDenseMatMul",
}


def all_operators() -> OpConfig:
    """The op config that takes nothing out of a build. Raises ChildFailed as `read_kernels`."""
    operators = read_kernels()
    return OpConfig(
        operators={
            operator: {}
            for operator in operators
            if operator.domain in REGISTRABLE and operator.name not in LEFT_OUT
        }
    )
