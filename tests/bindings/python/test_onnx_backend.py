"""tern.onnx_backend runs the node tests that the onnx package brings (their expected outputs are onnx's own)."""
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
import tern.onnx_backend as backend  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

# One of a family is enough here: tests/conformance runs the whole collection.
NAMES = ["test_add", "test_add_bcast", "test_matmul_2d", "test_softmax_axis_1", "test_gather_0", "test_transpose_default",
         "test_concat_2d_axis_0", "test_relu"]


@pytest.mark.parametrize("name", NAMES)
def test_node(name):
  case = next((c for c in load_model_tests(kind="node") if c.name == name), None)
  if case is None:
    pytest.skip(f"this onnx package has no {name}")
  if case.model is None:
    pytest.skip("this onnx package keeps its cases in files")
  inputs, outputs = case.data_sets[0]
  found_outputs = backend.prepare(case.model, "CPU").run(inputs)
  assert len(found_outputs) == len(outputs)
  for found, wanted in zip(found_outputs, outputs):
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=case.rtol, atol=case.atol)


def test_devices():
  assert backend.supports_device("CPU") and not backend.supports_device("CUDA")


def test_run_node():
  node = onnx.helper.make_node("Add", ["a", "b"], ["c"])
  a, b = np.float32([1, 2]), np.float32([10, 20])
  np.testing.assert_array_equal(backend.run_node(node, [a, b])[0], a + b)
