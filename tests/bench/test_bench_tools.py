#!/usr/bin/env python3
"""The benches' own arithmetic, by examples that can be worked out by hand, and that the roof can be measured here.
No figure is judged. Exit code 77 where something is missing."""
import os
import shutil
import statistics
import struct
import sys
import tempfile
import types
import unittest
from xml.dom import minidom

import gpu_compare
import gpu_models
import gpu_rows
import model_work
import plots
import roofs


def sample(gbps, disturbed=(), **figures):
  return {"read_gbps": gbps, "disturbed": list(disturbed), "figures": figures, "shares": {}}


class Work(unittest.TestCase):
  def setUp(self):
    # 2 layers, 4 query heads on 2 heads of keys, 8 values each; 1000 bytes of weights
    self.work = model_work.Work(1000, product_macs=300, head_macs=50, layers=2, heads=4, kv_heads=2, head=8)

  def test_a_decode_step_reads_weights_and_keys_and_values(self):
    self.assertEqual(self.work.bytes_per_token(10), 1000 + 2 * 2 * 10 * 2 * 8 * 2)

  def test_a_pass_counts_two_operations_a_multiply_add(self):
    # 3 tokens see 1, 2 and 3 keys in each layer; scores and sums take heads * head each
    self.assertEqual(self.work.operations(3), 2 * (3 * 300 + 50 + 2 * 2 * (1 + 2 + 3) * 4 * 8))

  def test_an_encoder_sees_every_key(self):
    self.work.causal = False
    self.assertEqual(self.work.operations(3, batch=2), 2 * 2 * (3 * 300 + 50 + 2 * 2 * 3 * 3 * 4 * 8))

  def test_a_window_bounds_the_keys_of_its_layers(self):
    self.work.window, self.work.window_layers = 4, 1
    self.assertEqual([self.work.key_positions(n) for n in (3, 10)], [6, 14])

  def test_shares(self):
    case = types.SimpleNamespace(new_tokens=20, prompt_tokens=3, shape=None)
    found = model_work.shares(self.work, case, {"decode_tokens_per_s": 1e6, "prefill_tokens_per_s": 3e6},
                              {"read_gbps": 4.0, "gops": 10.0}, depth=0)
    self.assertAlmostEqual(found["decode_tokens_per_s"], 1e6 * self.work.bytes_per_token(10) * 1e-9 / 4)
    self.assertAlmostEqual(found["prefill_tokens_per_s"], 1e6 * self.work.operations(3) * 1e-9 / 10)


class Samples(unittest.TestCase):
  def test_two_speeds_of_memory_are_two_classes(self):
    members = [sample(g) for g in (30, 52, 31, 50, 33)]
    classes = roofs.split_by_bandwidth(members)
    self.assertEqual([(name, [s["read_gbps"] for s in kept]) for name, kept in classes],
                     [("slow memory", [30, 31, 33]), ("fast memory", [50, 52])])

  def test_near_bandwidths_are_one_class(self):
    self.assertEqual([name for name, _ in roofs.split_by_bandwidth([sample(g) for g in (30, 33, 36)])], ["all"])

  def test_disturbed_samples_are_left_out_while_half_are_clean(self):
    clean, bad = sample(30), sample(30, ["other programs"])
    self.assertEqual(roofs.undisturbed([clean, bad]), [clean])
    self.assertEqual(roofs.undisturbed([clean, bad, bad]), [clean, bad, bad])

  def test_ratios_are_taken_within_a_class(self):
    import compare
    samples = {"tern": [sample(g, decode_tokens_per_s=v) for g, v in ((30, 200), (31, 210), (60, 400))],
               "llama.cpp": [sample(g, decode_tokens_per_s=v) for g, v in ((30, 100), (32, 105), (61, 100))]}
    found = compare.summarize("decode_tokens_per_s", samples)
    self.assertEqual(found["class"], "slow memory")
    self.assertAlmostEqual(found["ratios"]["llama.cpp"], statistics.median((200, 210)) / statistics.median((100, 105)))
    self.assertAlmostEqual(found["classes"]["fast memory"]["ratios"]["llama.cpp"], 4)


class Plots(unittest.TestCase):
  def setUp(self):
    side = {"median": 0.5, "min": 0.4, "max": 0.6, "rounds": 3}
    self.records = [{"case": "a & b", "peers": ["p"], "metrics": {
      "latency_ms": {"ratios": {"p": 2.0}, "shares": {"tern": side, "p": side}}}}, {"case": "c", "error": "none"}]

  def test_they_are_xml_and_show_the_figures(self):
    for draw, figure in ((plots.draw_ratios, "2.00"), (plots.draw_shares, "50 %")):
      texts = [e.firstChild.data for e in minidom.parseString(draw(self.records, "s")).getElementsByTagName("text")]
      self.assertIn("a & b / p", texts)
      self.assertIn(figure, texts)

  def test_a_ratio_of_one_has_no_bar(self):
    self.records[0]["metrics"]["latency_ms"]["ratios"]["p"] = 1.0
    bars = minidom.parseString(plots.draw_ratios(self.records, "s")).getElementsByTagName("rect")
    widths = [float(b.getAttribute("width")) for b in bars if b.getAttribute("height") == f"{plots.BAR:.1f}"]
    self.assertEqual(widths, [0.5])  # the least that is drawn

  def test_nothing_measured_draws_nothing(self):
    self.assertIsNone(plots.draw_shares(self.records[1:], "s"))


class GpuModels(unittest.TestCase):
  def test_a_head_comes_back_and_every_weight_is_there(self):
    tokens = gpu_models.text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + gpu_models.text("a") * 2
    records = {"general.architecture": gpu_models.record("general.architecture", "llama"),
               "llama.rope.freq_base": gpu_models.record("llama.rope.freq_base", 10000.0),
               "tokenizer.ggml.tokens": tokens}
    tensors = [("a", (64, 3), gpu_models.Q4_1), ("b", (64,), gpu_models.F32), ("c", (32, 5), gpu_models.Q8_0),
               ("d", (96, 2), gpu_models.Q4_0)]
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, "x.gguf")
      gpu_models.write_gguf(path, gpu_models.Head(records, tensors, 2, 0))
      with open(path, "rb") as f:
        data = f.read()
    head = gpu_models.read_head(data)
    self.assertEqual((head.records, head.tensors, head.vocabulary), (records, tensors, 2))
    begin = -(-head.size // 32) * 32
    self.assertEqual(len(data) - begin, 128 + 256 + 192 + 128)  # 6 blocks of 20, 64 floats, 5 of 34, 6 of 18
    self.assertEqual(struct.unpack_from("<2f", data, begin + 128), (1.0, 1.0))
    scale, minimum = struct.unpack_from("<2e", data, begin)
    self.assertAlmostEqual(minimum, -8 * scale, places=3)

  def test_work_is_counted_from_the_shapes(self):
    work = gpu_models.work_of(gpu_models.head_of_1b(gpu_models.Head({}, [], 49152, 0)))
    layer = 2048 * (2 * 2048 + 2 * 512 + 3 * 8192)
    self.assertEqual(work.product_macs, 16 * layer)
    self.assertEqual(work.weight_bytes, (16 * layer + 2048 * 49152) * 18 // 32 + 33 * 2048 * 4)
    self.assertEqual(work.bytes_per_token(10) - work.bytes_per_token(0), 2 * 16 * 10 * 8 * 64 * 2)

  def test_matrices_of_an_onnx_file_are_found_and_filled(self):
    raw = b"\x4a\x10" + bytes(16)  # field 9, 16 bytes: a float16 matrix of 2 x 4
    matrix = b"\x08\x02\x08\x04\x10\x0a" + raw
    vector = b"\x08\x08\x10\x0a" + raw
    graph = b"".join(b"\x2a" + bytes([len(t)]) + t for t in (vector, matrix))
    data = bytearray(b"\x08\x07" + b"\x3a" + bytes([len(graph)]) + graph)
    found = gpu_models.onnx_matrices(data)
    self.assertEqual(found, [[len(data) - 16, 16, 2, 10]])
    gpu_models.fill_onnx(data, found)
    self.assertLessEqual(max(map(abs, struct.unpack_from("<8e", data, len(data) - 16))), 1.23)  # sqrt(3 / 2)
    self.assertEqual(gpu_models.blank_onnx(data, found)[-16:], bytes(16))


class GpuTable(unittest.TestCase):
  def test_a_side_that_fails_is_named_and_not_asked_again(self):
    asked = []

    def peer():
      asked.append(1)
      raise gpu_rows.Failure("no server; log: x")
    machine = types.SimpleNamespace(args=types.SimpleNamespace(rounds=3))
    results = gpu_rows.Results({"device": "d", "date": "t", "commit": "c", "peer": "p", "rounds": 3, "seconds": 1},
                               lambda _: None)
    less, more = results.row("first token", "ms", False), results.row("decode", "tokens/s", True)
    gpu_rows.alternate(machine, results, [less], {gpu_rows.TERN: lambda: [2.0], gpu_rows.PEER: lambda: [5.0]})
    gpu_rows.alternate(machine, results, [more], {gpu_rows.TERN: lambda: [7.0], gpu_rows.PEER: peer})
    self.assertEqual((less["ratio"], len(asked)), (2.5, 1))
    table = gpu_compare.markdown(results)
    self.assertIn("| first token | ms | 2.0 (2.0-2.0) | 5.0 (5.0-5.0) | 2.50 | - |", table)
    self.assertIn("| decode | tokens/s | 7.0 (7.0-7.0) | not measured: no server; log: x | - | - |", table)


class Roof(unittest.TestCase):
  def test_the_roof_is_measured(self):
    with roofs.Roofs(2) as roof:
      peaks = roof.peaks()
      self.assertGreater(min(rate for by_name in peaks.values() for both in by_name.values() for rate in both), 0)
      self.assertIn("f32", peaks)
      self.assertGreater(roof.read(1 << 22)["gbps"], 0)
      watched = roof.watched(lambda: {"latency_ms": 1})
      self.assertEqual(watched["figures"], {"latency_ms": 1})
      self.assertGreater(watched["read_gbps"], 0)


if __name__ == "__main__":
  if not shutil.which(os.environ.get("CC", "cc")) or not os.path.exists("/proc/stat"):
    print("skipped: no C compiler, or no Linux")
    sys.exit(77)
  unittest.main()
