"""tern.Session and tern.Model: numpy in and out, against numpy's own results."""
import gc
import pathlib

import numpy as np
import pytest
import tern

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


def graph_bytes(nodes, inputs, outputs, initializers=(), opset=17):
  def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)
  graph = helper.make_graph(nodes, "g", [value(*i) for i in inputs], [value(*o) for o in outputs],
                            [onnx.numpy_helper.from_array(a, n) for n, a in initializers])
  return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


@pytest.fixture
def linear():
  nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
  return graph_bytes(nodes, [("x", TensorProto.FLOAT, ["n", 3])],
                     [("y", TensorProto.FLOAT, ["n", 4]), ("z", TensorProto.FLOAT, ["n", 4])], [("w", WEIGHT)])


def test_runs_from_bytes_and_from_a_path(linear, tmp_path):
  path = tmp_path / "model.onnx"
  path.write_bytes(linear)
  x = np.linspace(-3, 2, 15, dtype=np.float32).reshape(5, 3)
  for source in (linear, bytearray(linear), path, str(path)):
    with tern.Session(source) as session:
      outputs = session.run({"x": x})
    assert list(outputs) == ["y", "z"]
    np.testing.assert_allclose(outputs["y"], x @ WEIGHT, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["z"], np.maximum(x @ WEIGHT, 0), rtol=1e-5, atol=1e-6)


def test_describes_inputs_and_outputs(linear):
  session = tern.Session(linear)
  assert session.inputs == [tern.IOInfo("x", "float32", (None, 3))]
  assert [o.name for o in session.outputs] == ["y", "z"]
  assert session.model.description["format"] == "onnx"
  assert session.model.weight_bytes == WEIGHT.nbytes


def test_a_session_with_its_own_cache_lists_what_it_takes():
  tiny = pathlib.Path(__file__).resolve().parents[2] / "models/tiny/tiny_llama.gguf"
  model = tern.Model(tiny)
  session = tern.Session(model, kv_cache=True, context_length=16)
  assert [i.name for i in session.inputs] == ["input_ids"] and [o.name for o in session.outputs] == ["logits"]
  whole = tern.Session(model)
  assert [i.name for i in whole.inputs] == ["input_ids", "attention_mask", "position_ids"] + [
    f"past_key_values.{layer}.{kind}" for layer in (0, 1) for kind in ("key", "value")]
  assert whole.inputs == model.inputs and whole.outputs == model.outputs
  found = session.run({"input_ids": [[1, 17, 5]]})  # without names: all that it gives
  assert list(found) == ["logits"] and session.kv_length == 3


def test_gives_the_outputs_that_are_named(linear):
  session = tern.Session(linear)
  assert list(session.run({"x": np.zeros((1, 3), np.float32)}, ["z"])) == ["z"]
  with pytest.raises(tern.TernError) as error:
    session.run({"x": np.zeros((1, 3), np.float32)}, ["nothing"])
  assert error.value.status == "NOT_FOUND" and "nothing" in error.value.message


def test_takes_strided_arrays_and_lists(linear):
  session = tern.Session(linear)
  x = np.arange(12, dtype=np.float32).reshape(3, 4)
  np.testing.assert_allclose(session.run({"x": x.T})["y"], x.T @ WEIGHT, rtol=1e-5)
  np.testing.assert_allclose(session.run({"x": [[1, 2, 3]]})["y"], np.float32([[1, 2, 3]]) @ WEIGHT, rtol=1e-5)


def test_outputs_outlive_session_and_model(linear):
  session = tern.Session(linear)
  x = np.ones((64, 3), np.float32)
  kept = session.run({"x": x})["y"]
  session.close()
  del session
  gc.collect()
  np.testing.assert_allclose(kept, x @ WEIGHT, rtol=1e-5)
  kept[0, 0] = 1.0  # writable memory of its own


def test_runs_do_not_leak(linear):
  runtime = tern.Runtime()
  session = tern.Session(linear, runtime=runtime)
  x = np.ones((256, 3), np.float32)
  session.run({"x": x})
  before = runtime.memory[0]
  for _ in range(50):
    session.run({"x": x})
  assert runtime.memory[0] == before
  session.close()
  session.model.close()
  del session
  gc.collect()
  assert runtime.memory[0] < before


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "int8", "uint8", "float16", "bool"])
def test_dtypes_pass_through(dtype):
  kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
  model = graph_bytes([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, [2, 2])], [("y", kind, [2, 2])])
  x = np.array([[0, 1], [1, 0]]).astype(dtype)
  y = tern.Session(model).run({"x": x})["y"]
  assert y.dtype == x.dtype
  np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("inputs, status, part", [
  ({}, "INVALID_ARGUMENT", "'x'"),
  ({"x": np.zeros((1, 3), np.int64)}, "SHAPE_MISMATCH", "int64"),
  ({"x": np.zeros((1, 5), np.float32)}, "SHAPE_MISMATCH", "5"),
  ({"x": np.zeros((1, 3), np.float32), "q": np.zeros(1, np.float32)}, "NOT_FOUND", "'q'"),
])
def test_wrong_inputs_are_named(linear, inputs, status, part):
  with pytest.raises(tern.TernError) as error:
    tern.Session(linear).run(inputs)
  assert error.value.status == status and part in error.value.message


def test_numpy_types_that_tern_lacks_are_refused(linear):
  with pytest.raises(TypeError, match="'x' has dtype complex64"):
    tern.Session(linear).run({"x": np.zeros((1, 3), np.complex64)})


def test_open_failures(tmp_path):
  with pytest.raises(tern.TernError) as error:
    tern.Session(tmp_path / "missing.onnx")
  assert error.value.status == "NOT_FOUND" and "missing.onnx" in error.value.message
  for damaged in (b"", b"\x00" * 64, b"GGUF\x03\x00\x00\x00"):
    with pytest.raises(tern.TernError):
      tern.Session(damaged)


def test_unknown_device_is_refused(linear):
  with pytest.raises(tern.TernError) as error:
    tern.Session(linear, device="abacus")
  assert error.value.status == "NO_DEVICE" and "abacus" in error.value.message


def test_plan_is_known_before_a_run_and_a_budget_is_kept(linear):
  x = np.zeros((100000, 3), np.float32)
  plan = tern.Session(linear).plan({"x": x})
  assert plan.peak_bytes >= 2 * 100000 * 4 * 4 * 0.9
  small = tern.Session(linear, memory_budget=100000)
  with pytest.raises(tern.TernError) as error:
    small.run({"x": x})
  assert error.value.status == "OUT_OF_BUDGET"


def test_a_closed_session_says_so(linear):
  session = tern.Session(linear)
  session.close()
  session.close()
  with pytest.raises(tern.TernError, match="closed"):
    session.run({"x": np.zeros((1, 3), np.float32)})


def test_one_model_serves_many_sessions(linear):
  import threading
  model = tern.Model(linear)
  wrong = []

  def work(seed):
    session = tern.Session(model)
    x = np.random.default_rng(seed).standard_normal((17, 3)).astype(np.float32)
    for _ in range(20):
      if not np.allclose(session.run({"x": x})["y"], x @ WEIGHT, rtol=1e-4, atol=1e-5):
        wrong.append(seed)
  threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong


def test_progress_is_told_and_its_exception_comes_back(linear):
  phases = []
  tern.Model(linear, progress=lambda phase, done, total: phases.append(phase))
  assert phases

  def fail(*_):
    raise KeyError("stop")
  with pytest.raises(KeyError):
    tern.Model(linear, progress=fail)
