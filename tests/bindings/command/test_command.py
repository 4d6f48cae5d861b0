"""The tern command as people and scripts use it: output shapes, exit status, messages."""
import json
import os
import pty
import select
import signal
import subprocess
import time

import numpy as np
import pytest


@pytest.fixture
def tern(command):
  def run(*args, stdin="", status=0):
    done = subprocess.run([command, *map(str, args)], input=stdin if isinstance(stdin, bytes) else stdin.encode(),
                          capture_output=True, timeout=300)
    err = done.stderr.decode()
    assert done.returncode == status, err
    return done.stdout.decode() if status == 0 else err
  return run


def test_help_and_version(tern):
  assert tern("--version").startswith("tern 0.")
  overview = tern("--help")
  assert overview.count("\n  tern ") == 3  # three examples
  for name in ("run", "bench", "exec", "tokenize", "inspect"):
    assert f"  {name} " in overview
    assert "Examples:" in tern(name, "--help")
  for task in ("text-generation", "feature-extraction"):
    assert "--model PATH" in tern("run", task, "--help")


@pytest.mark.parametrize("args, message", [
  ((), ""),
  (("rum",), "unknown command 'rum'; did you mean run?"),
  (("--versoin",), "unknown option"),
  (("run", "text-generatoin"), "did you mean text-generation?"),
  (("run", "--model", "x"), "name the task first"),
  (("run", "text-generation", "--modle", "x", "hi"), "did you mean --model?"),
  (("run", "text-generation", "hi"), "--model PATH is missing"),
  (("run", "text-generation", "--model", "x"), "no INPUT"),
  (("run", "text-generation", "--model"), "--model needs a value"),
  (("run", "text-generation", "--model", "x", "--chat", "--prompt", "hi"), "exclude each other"),
  (("run", "text-generation", "--model", "x", "--chat", "a", "b"), "one INPUT, not 2"),
  (("run", "text-generation", "--model", "x", "--system", "s", "a"), "--system needs --chat"),
  (("run", "text-generation", "--model", "x", "--temperature", "warm", "a"), "needs a number, not 'warm'"),
  (("run", "text-generation", "--model", "x", "--top-p", "2", "a"), "from 0 to 1"),
  (("run", "text-generation", "--model", "x", "--max-new-tokens", "1.5", "a"), "whole number"),
  (("run", "text-generation", "--model", "x", "--prompt-lookup-num-tokens", "65", "a"), "from 0 to 64"),
  (("run", "text-generation", "--model", "x", "--max-matching-ngram-size", "3", "a"), "needs --prompt-lookup-num-tokens"),
  (("run", "text-generation", "--model", "x", "--memory-budget", "2X", "a"), "size such as 512M"),
  (("run", "text-generation", "--model", "x", "--json=1", "a"), "takes no value"),
  (("run", "feature-extraction", "--model", "x", "--pooling", "sum", "a"), "none|mean|cls|last"),
  (("run", "feature-extraction", "--model", "x", "--temperature", "1", "a"), "unknown option '--temperature'"),
  (("tokenize", "--model", "x", "text"), "reads stdin"),
  (("tokenize", "--model", "x", "--device", "cpu"), "unknown option '--device'"),
  (("exec", "--model", "x"), "--out-dir"),
  (("inspect",), "one PATH"),
])
def test_wrong_usage_is_2_and_names_what(tern, args, message):
  assert message in tern(*args, status=2)


def test_failures_are_1_and_name_what(tern, gguf, minilm, tmp_path):
  assert "no file or folder" in tern("inspect", tmp_path / "missing.gguf", status=1)
  assert str(tmp_path) in tern("run", "text-generation", "--model", tmp_path, "hi", status=1)
  for device, word in (("tpu", "'tpu'"), ("vulkan:no such card", "ulkan")):  # Vulkan's own words where it is there
    assert word in tern("run", "text-generation", "--model", gguf, "--device", device, "hi", status=1)
  assert "q4" in tern("run", "text-generation", "--model", gguf, "--dtype", "q4", "hi", status=1)
  assert "fp31" in tern("run", "feature-extraction", "--model", minilm, "--dtype", "fp31", "hi", status=1)
  tern("run", "text-generation", "--model", gguf, "--memory-budget", "10M", "hi", status=1)
  long = tern("run", "text-generation", "--model", gguf, "--context", "64", "word " * 200, status=1)
  assert "64" in long and "201" in long
  damaged = tmp_path / "damaged.gguf"
  damaged.write_bytes(b"GGUF" + b"\xff" * 60)
  assert "damaged.gguf" in tern("inspect", damaged, status=1)


def test_text_generation_json(tern, gguf):
  args = ("run", "text-generation", "--model", gguf, "--max-new-tokens", "5")
  answer = json.loads(tern(*args, "--json", "The capital of France is"))
  assert set(answer) == {"text", "tokens", "finish_reason", "timings"}
  assert "Paris" in answer["text"] and len(answer["tokens"]) == 5 and answer["finish_reason"] == "length"
  assert answer["timings"]["n_new_tokens"] == 5
  assert tern(*args, "--prompt", "The capital of France is") == answer["text"] + "\n"
  assert tern(*args, "-", stdin="The capital of France is") == answer["text"] + "\n"
  assert tern(*args, "--full-text", "The capital of France is") == "The capital of France is" + answer["text"] + "\n"
  both = json.loads(tern(*args, "--json", "The capital of France is", "One two three"))
  assert [both[0]["tokens"], len(both)] == [answer["tokens"], 2]
  stopped = json.loads(tern(*args, "--json", "--stop", "Paris", "The capital of France is"))
  assert stopped["finish_reason"] == "stop" and "Paris" not in stopped["text"]


def test_prompt_lookup(tern, gguf):
  args = ("run", "text-generation", "--model", gguf, "--max-new-tokens", "24", "--json", "--chat",
          "Repeat exactly: red, green, blue, red, green, blue, red, green, blue, red, green, blue")
  plain = json.loads(tern(*args))
  answer = json.loads(tern(*args, "--prompt-lookup-num-tokens", "10", "--max-matching-ngram-size", "3"))
  assert answer["tokens"] == plain["tokens"] and answer["finish_reason"] == plain["finish_reason"]
  assert 0 < answer["timings"]["n_accepted_tokens"] <= answer["timings"]["n_drafted_tokens"]
  assert plain["timings"]["n_drafted_tokens"] == plain["timings"]["n_accepted_tokens"] == 0
  two = tern("run", "text-generation", "--model", gguf, "--prompt-lookup-num-tokens", "4", "a", "b", status=1)
  assert "prompt_lookup_num_tokens" in two and "one prompt" in two
  bench = json.loads(tern("bench", "--model", gguf, "--prompt-tokens", "64", "--new-tokens", "24", "--repeat", "1", "--json",
                          "--prompt-lookup-num-tokens", "10"))
  assert bench["new_tokens"] == 24 and 0 < bench["accepted_tokens"] <= bench["drafted_tokens"]


def test_chat_and_system(tern, gguf):
  args = ("run", "text-generation", "--model", gguf, "--max-new-tokens", "12", "--json")
  plain = json.loads(tern(*args, "--chat", 'Say "hello"\n\\ now'))
  system = json.loads(tern(*args, "--chat", "--system", "You only speak French.", 'Say "hello"\n\\ now'))
  assert plain["timings"]["n_prompt_tokens"] != system["timings"]["n_prompt_tokens"]
  assert plain["text"]


def test_seed_repeats_a_text(tern, gguf):
  args = ("run", "text-generation", "--model", gguf, "--max-new-tokens", "8", "--temperature", "1.2", "--top-k", "40")
  texts = {seed: tern(*args, "--seed", seed, "My favourite") for seed in (1, 2, 3)}
  assert tern(*args, "--seed", 1, "My favourite") == texts[1] and len(set(texts.values())) > 1


def test_interrupt_stops_the_text_and_says_so(command, gguf):
  run = subprocess.Popen([command, "run", "text-generation", "--model", str(gguf), "--ignore-eos", "--max-new-tokens",
                          "3000", "Once upon a time"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  first = run.stdout.read1(100)
  begin = time.monotonic()
  run.send_signal(signal.SIGINT)
  rest, err = run.communicate(timeout=60)
  assert first and run.returncode == 130 and b"cancelled" in err and rest.endswith(b"\n")
  assert time.monotonic() - begin < 5


def test_progress_is_shown_on_a_terminal_alone(command, gguf):
  main, terminal = pty.openpty()
  run = subprocess.Popen([command, "run", "text-generation", "--model", str(gguf), "--max-new-tokens", "2", "Hi"],
                         stdout=subprocess.PIPE, stderr=terminal)
  os.close(terminal)
  out, _ = run.communicate(timeout=120)
  seen = b""
  while select.select([main], [], [], 0.5)[0]:
    try:
      seen += os.read(main, 4096)
    except OSError:
      break
  os.close(main)
  assert b"\rloading: " in seen and seen.rstrip(b" ").endswith(b"\r") and b"loading" not in out
  quiet = subprocess.run([command, "run", "text-generation", "--model", str(gguf), "--max-new-tokens", "2", "Hi"],
                         capture_output=True, timeout=120)
  assert quiet.stderr == b"" and quiet.stdout == out


def test_tokenize(tern, gguf):
  text = "Hello world\n\n  zwei  Zeilen 🙂\n"
  ids = tern("tokenize", "--model", gguf, stdin=text)
  assert ids.count("\n") == 3 and ids.splitlines()[1] == ""
  assert tern("tokenize", "--model", gguf, "--decode", stdin=ids) == text
  as_json = tern("tokenize", "--model", gguf, "--json", stdin=text)
  assert [json.loads(line) for line in as_json.splitlines()] == [[int(i) for i in l.split()] for l in ids.splitlines()]
  assert "not a list of token ids" in tern("tokenize", "--model", gguf, "--decode", stdin="12 x", status=1)
  assert tern("tokenize", "--model", gguf, stdin=b"a\xff\x00b")  # any bytes


def test_special_tokens_of_tokenize(tern, minilm):
  assert tern("tokenize", "--model", minilm, stdin="hello") == "101 7592 102\n"
  assert tern("tokenize", "--model", minilm, "--no-special", stdin="hello") == "7592\n"
  assert tern("tokenize", "--model", minilm, "--no-special", "--decode", stdin="101 7592 102") == "hello\n"


def test_feature_extraction(tern, minilm):
  args = ("run", "feature-extraction", "--model", minilm, "--dtype", "fp32", "--normalize")
  texts = ["a cat", "a kitten", "a tax law"]
  vectors = np.array(json.loads(tern(*args, *texts)))
  assert vectors.shape == (3, 384)
  np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
  np.testing.assert_allclose(json.loads(tern(*args, "-", stdin="\n".join(texts) + "\n")), vectors, atol=1e-6)
  table = tern(*args, "--similarity", *texts)
  shown = np.array([[float(x) for x in line.split()[:3]] for line in table.splitlines()])
  np.testing.assert_allclose(shown, vectors @ vectors.T, atol=2e-4)
  np.testing.assert_allclose(json.loads(tern(*args, "--similarity", "--json", *texts)), vectors @ vectors.T, atol=1e-4)
  words = np.array(json.loads(tern(*args, "--pooling", "none", "a cat")))
  assert words.shape == (1, 4, 384)


def test_bench(tern, gguf, minilm):
  for device in ("cpu", "cpu,cpu"):
    lines = tern("bench", "--model", gguf, "--prompt-tokens", 24, "--new-tokens", 4, "--repeat", 2, "--device", device,
                 "--json").splitlines()
    assert len(lines) == device.count(",") + 1
    for line in lines:
      found = json.loads(line)
      assert found["prompt_tokens"] == 24 and found["new_tokens"] == 4
      for key in ("load_ms", "first_token_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "peak_rss_bytes",
                  "weight_bytes"):
        assert found[key] > 0, key
  args = ("bench", "--model", minilm, "--dtype", "fp32", "--repeat", 3)
  latency = json.loads(tern(*args, "--input", "input_ids=2x16:int64", "--json"))["latency_ms"]
  assert 0 < latency["min"] <= latency["median"] <= latency["max"]
  assert "latency" in tern(*args, "--prompt-tokens", 8)
  assert "no such input" in tern(*args, "--input", "foo=1:int64", status=2)
  assert "unknown type" in tern(*args, "--input", "input_ids=1x4:int65", status=2)
  assert "need --profile" in tern(*args, "--roof-gbps", 10, status=2)


def test_bench_profile(tern, gguf):
  """Bytes and operations follow from the shapes: of SmolLM2's products, 134.5 million multiply-adds a token."""
  args = ("bench", "--model", gguf, "--prompt-tokens", 16, "--new-tokens", 2, "--repeat", 1, "--profile")
  found = json.loads(tern(*args, "--roof-gbps", 10, "--roof-gops", 1000, "--json"))
  kernels = {k["kernel"]: k for s in found["profile"]["segments"] for k in s["kernels"]}
  layers, head = kernels["Linear (q4_1)"], kernels["Linear (q8_0)"]
  assert (layers["count"], layers["operations"]) == (210, 2 * 106168320)
  assert (head["count"], head["operations"]) == (1, 2 * 28311552)
  rows = 6 * 576 + 1536 + 2 * (576 + 192 + 1536) + 576  # what the seven products of a layer read and write
  assert layers["bytes"] == 106168320 // 32 * 20 + 30 * 4 * rows
  assert all(k["ns"] >= 0 for k in kernels.values()) and layers["ns"] > 0
  shares = {k["kernel"]: k["share"] for k in found["roof"]["kernels"]}
  for kernel in (layers, head):
    share = max(kernel["bytes"] / kernel["ns"] / 10, kernel["operations"] / kernel["ns"] / 1000)
    assert shares[kernel["kernel"]] == pytest.approx(share, rel=1e-3)
  table = tern(*args)
  assert "Linear (q4_1)" in table and "no roof was given" in table


def test_inspect(tern, gguf, minilm):
  found = json.loads(tern("inspect", gguf, "--json"))
  assert found["format"] == "gguf" and found["architecture"] == "llama"
  assert found["memory"]["peak_bytes"] > found["memory"]["kv_bytes"] > 0
  table = tern("inspect", minilm, "--dtype", "q8")
  assert "MatMul" in table and "input_ids int64 [?,?]" in table and "int8" in table


def test_inspect_devices(tern, tmp_path):
  """Which devices of the build lack an operator does not depend on which are open."""
  onnx = pytest.importorskip("onnx")
  helper, kind = onnx.helper, onnx.TensorProto
  graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Shrink", ["b"], ["c"])], "g",
                            [helper.make_tensor_value_info("a", kind.FLOAT, [2, 3])],
                            [helper.make_tensor_value_info("c", kind.FLOAT, [2, 3])])
  path = tmp_path / "two.onnx"
  onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
  found = json.loads(tern("inspect", path, "--json"))
  lacking = {op["name"]: op["reference_only_on"] for op in found["operators"]}
  assert lacking["Relu"] == []
  assert found["devices"][0]["name"] == "cpu" and found["devices"][0]["description"]
  vulkan = "vulkan" in tern("run", "feature-extraction", "--model", path, "--device", "nonsense", "x", status=1)
  assert ("vulkan" in lacking["Shrink"]) == vulkan


@pytest.fixture
def elementwise(tmp_path):
  onnx = pytest.importorskip("onnx")
  helper, kind = onnx.helper, onnx.TensorProto.FLOAT
  graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["out/sum"])], "g",
                            [helper.make_tensor_value_info(n, kind, ["r", "c"]) for n in "ab"],
                            [helper.make_tensor_value_info("out/sum", kind, ["r", "c"])])
  path = tmp_path / "add.onnx"
  onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
  return path


def test_exec(tern, elementwise, tmp_path):
  a, b = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([[10, 20, 30]])
  np.save(tmp_path / "a.npy", a)
  np.save(tmp_path / "b.npy", b)
  inputs = ("--in", f"a={tmp_path}/a.npy", "--in", f"b={tmp_path}/b.npy", "--out-dir", tmp_path / "out")
  assert "out_sum.npy float32 [2,3]" in tern("exec", "--model", elementwise, *inputs)
  np.testing.assert_array_equal(np.load(tmp_path / "out/out_sum.npy"), a + b)
  assert "missing" in tern("exec", "--model", elementwise, *inputs[:2], *inputs[4:], status=1)
  assert "no such input" in tern("exec", "--model", elementwise, "--in", "q=x.npy", *inputs[4:], status=2)


@pytest.mark.parametrize("damage, message", [
  (lambda path, a: path.write_bytes(b"no npy"), "not a .npy file"),
  (lambda path, a: np.save(path, np.asfortranarray(a)), "Fortran order"),
  (lambda path, a: np.save(path, a.astype(">f4")), "'>f4' is not supported"),
  (lambda path, a: np.save(path, a.astype(complex)), "'<c16' is not supported"),
  (lambda path, a: path.write_bytes(path.read_bytes()[:-4]), "its shape needs 24 bytes, there are 20"),
  (lambda path, a: path.write_bytes(path.read_bytes()[:40]), "ends in its header"),
  (lambda path, a: path.write_bytes(b"\x93NUMPY\x09\x00" + path.read_bytes()[8:]), "version 9"),
  (lambda path, a: path.write_bytes(path.read_bytes().replace(b"(2, 3)", b"(2, x)")), "tuple of numbers"),
  (lambda path, a: path.unlink(), "cannot be opened"),
])
def test_damaged_npy_files_are_named(tern, elementwise, tmp_path, damage, message):
  a = np.float32([[1, 2, 3], [4, 5, 6]])
  path = tmp_path / "a.npy"
  np.save(path, a)
  damage(path, a)
  error = tern("exec", "--model", elementwise, "--in", f"a={path}", "--in", f"b={path}", "--out-dir", tmp_path / "o",
               status=1)
  assert message in error and "a.npy" in error


def test_npy_truncated_anywhere_is_an_error(tern, elementwise, tmp_path):
  path = tmp_path / "a.npy"
  np.save(path, np.float32([[1, 2, 3]]))
  whole = path.read_bytes()
  for size in range(len(whole)):
    path.write_bytes(whole[:size])
    tern("exec", "--model", elementwise, "--in", f"a={path}", "--in", f"b={path}", "--out-dir", tmp_path / "o", status=1)
