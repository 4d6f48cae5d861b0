"""Cases of com.microsoft operators with ONNX Runtime's results, in the ONNX backend test layout: ms/NAME/{model.onnx,
tolerance.txt,test_data_set_0/*.pb}. Small: the whole folder stays below 300 kB. Needs onnx, onnxruntime, numpy."""

import pathlib
import shutil

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(__file__).parent / "ms"
RNG = np.random.default_rng(7)
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32, np.dtype(np.int64): TensorProto.INT64,
         np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8, np.dtype(bool): TensorProto.BOOL}


def f32(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def case(name, op, inputs, n_outputs=1, constants=(), domain="com.microsoft", rtol=1e-4, atol=1e-5, wanted=None, **attrs):
    """inputs: arrays, or None for an absent one; constants: positions that become initializers; wanted: which outputs."""
    inputs = [None if a is None else np.asarray(a) for a in inputs]
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(inputs)]
    wanted = list(range(n_outputs)) if wanted is None else wanted
    outputs = [f"o{k}" if k in wanted else "" for k in range(n_outputs)]
    node = helper.make_node(op, names, outputs, "n", domain=domain, **attrs)
    fed = [k for k, a in enumerate(inputs) if a is not None and k not in constants]
    graph = helper.make_graph(
        [node], name, [helper.make_tensor_value_info(names[k], TYPES[inputs[k].dtype], inputs[k].shape) for k in fed],
        [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outputs if o],
        [numpy_helper.from_array(inputs[k], names[k]) for k in constants if inputs[k] is not None])
    for o in graph.output:
        o.ClearField("type")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(None, {names[k]: inputs[k] for k in fed})
    folder = OUT / name / "test_data_set_0"
    folder.mkdir(parents=True)
    (OUT / name / "model.onnx").write_bytes(model.SerializeToString())
    (OUT / name / "tolerance.txt").write_text(f"{rtol} {atol}\n")
    for k, i in enumerate(fed):
        (folder / f"input_{k}.pb").write_bytes(numpy_helper.from_array(inputs[i], names[i]).SerializeToString())
    for k, result in enumerate(results):
        (folder / f"output_{k}.pb").write_bytes(numpy_helper.from_array(np.asarray(result), f"o{k}").SerializeToString())


def norms():
    x, skip, g, b, bias = f32(2, 3, 8), f32(2, 3, 8), f32(8), f32(8), f32(8)
    case("simplified", "SimplifiedLayerNormalization", [x, g], domain="", axis=-1, epsilon=1e-5)
    case("skip_simplified", "SkipSimplifiedLayerNormalization", [x, skip, g, bias], 4, wanted=[0, 3], epsilon=1e-6)
    case("skip_simplified_one", "SkipSimplifiedLayerNormalization", [x, skip, g], epsilon=1e-6)
    case("skip_layer", "SkipLayerNormalization", [x, skip, g, b, bias], 4, wanted=[0, 3], epsilon=1e-5)
    case("skip_layer_broadcast", "SkipLayerNormalization", [x, skip[:1], g], epsilon=1e-5)


def activations():
    x, b = f32(3, 16, scale=2), f32(16)
    case("gelu", "Gelu", [x])
    case("quick_gelu", "QuickGelu", [x], alpha=1.702)
    case("bias_gelu", "BiasGelu", [x, b])
    case("fast_gelu", "FastGelu", [x])
    case("fast_gelu_bias", "FastGelu", [x, b])


def products():
    case("fused_matmul", "FusedMatMul", [f32(2, 5, 3), f32(2, 5, 4)], transA=1, alpha=0.5)
    case("fused_matmul_b", "FusedMatMul", [f32(2, 3, 5), f32(4, 5)], transB=1)
    for bits in (2, 4, 8):
        for block, k in ((16, 32), (32, 80)):
            n, blocks = 5, -(-k // block)
            q = RNG.integers(0, 256, (n, blocks, block * bits // 8), dtype=np.uint8)
            z = RNG.integers(0, 256, (n, -(-blocks * bits // 8)), dtype=np.uint8)
            s, bias = f32(n, blocks, scale=0.1), f32(n)
            tail = dict(K=k, N=n, bits=bits, block_size=block, rtol=2e-3, atol=2e-3)
            for suffix, inputs in (("", [q, s]), ("_zero", [q, s, z]), ("_bias", [q, s, None, None, bias])):
                try:
                    case(f"nbits_{bits}_{block}{suffix}", "MatMulNBits", [f32(2, 3, k)] + inputs, constants=range(1, 6)[: len(inputs)], **tail)
                except Exception as error:  # what this ONNX Runtime's CPU kernel refuses has no oracle
                    shutil.rmtree(OUT / f"nbits_{bits}_{block}{suffix}", ignore_errors=True)
                    print(f"nbits_{bits}_{block}{suffix}: {str(error)[:100]}")
    for kind in (0, 1):
        n, k, block = 6, 32, 16
        q = RNG.integers(0, 256, n * k // 2, dtype=np.uint8)
        case(f"bnb4_{kind}", "MatMulBnb4", [f32(3, k), q, f32(n * k // block)], constants=[1, 2], K=k, N=n, block_size=block, quant_type=kind)
    # 7 bits: ONNX Runtime's kernel for AVX2 saturates sums of two full-range products.
    a, b = f32(2, 3, 16), RNG.integers(-64, 64, (16, 6)).astype(np.int8)
    case("dynamic_quantize_matmul", "DynamicQuantizeMatMul", [a, b, np.float32(0.02), np.int8(3), f32(6)], constants=[1, 2, 3, 4], rtol=1e-3, atol=1e-3)
    qa = RNG.integers(0, 256, (3, 16), dtype=np.uint8)
    case("matmul_integer_to_float", "MatMulIntegerToFloat", [qa, b, np.float32(0.1), f32(6, scale=0.05), np.uint8(120), np.zeros(6, np.int8), f32(6)],
         constants=[1, 3, 4, 5, 6], rtol=1e-4, atol=1e-4)
    table = RNG.integers(0, 256, (7, 16), dtype=np.uint8)
    ids = np.array([[0, 6], [3, 3]], dtype=np.int64)
    case("gather_block", "GatherBlockQuantized", [table, ids, f32(7, 2)], constants=[0, 2], bits=4, block_size=16, gather_axis=0, quantize_axis=1)
    case("gather_block_zero", "GatherBlockQuantized", [table, ids, f32(7, 2), RNG.integers(0, 256, (7, 1), dtype=np.uint8)], constants=[0, 2, 3],
         bits=4, block_size=16, gather_axis=0, quantize_axis=1)


def rotary_tables(positions, half):
    angles = np.outer(np.arange(positions), 1.0 / 100.0 ** (np.arange(half) / half))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotary():
    cos, sin = rotary_tables(16, 4)
    ids = np.array([[3, 4, 5], [0, 1, 2]], dtype=np.int64)
    for interleaved in (0, 1):
        case(f"rotary_{interleaved}", "RotaryEmbedding", [f32(2, 3, 16), ids, cos, sin], interleaved=interleaved)
    case("rotary_offset", "RotaryEmbedding", [f32(2, 3, 16), np.array([5], dtype=np.int64), cos, sin])
    case("rotary_heads_first", "RotaryEmbedding", [f32(2, 2, 3, 8), ids, cos, sin])
    case("rotary_partial", "RotaryEmbedding", [f32(2, 3, 32), ids, cos, sin], num_heads=2, rotary_embedding_dim=8)


def attention():
    heads, kv, d, batch = 4, 2, 16, 2
    cos, sin = rotary_tables(32, d // 2)
    i32 = lambda *v: np.array(v, dtype=np.int32)
    total = lambda v: np.array(v, dtype=np.int32)
    for name, rows, past, extra, packed in (
            ("prompt", 3, 0, {}, False), ("prompt_rotary", 3, 0, {"do_rotary": 1}, False), ("packed", 4, 0, {"do_rotary": 1}, True),
            ("decode", 1, 5, {"do_rotary": 1}, False), ("decode_packed", 1, 5, {"do_rotary": 1, "rotary_interleaved": 1}, True),
            ("window", 1, 6, {"local_window_size": 3}, False), ("window_prompt", 6, 0, {"local_window_size": 3, "do_rotary": 1}, False),
            ("softcap", 2, 0, {"softcap": 5.0}, False), ("scale", 2, 0, {"scale": 0.3}, False)):
        q = f32(batch, rows, (heads + 2 * kv if packed else heads) * d)
        k, v = (None, None) if packed else (f32(batch, rows, kv * d), f32(batch, rows, kv * d))
        pk, pv = f32(batch, kv, past, d), f32(batch, kv, past, d)
        tables = [cos, sin] if extra.get("do_rotary") else []
        case(f"gqa_{name}", "GroupQueryAttention", [q, k, v, pk, pv, i32(*[past + rows - 1] * batch), total(past + rows)] + tables, 3,
             constants=[6], num_heads=heads, kv_num_heads=kv, **extra)
    q, k, v = f32(2, 1, heads * d), f32(2, 1, kv * d), f32(2, 1, kv * d)
    case("gqa_lengths", "GroupQueryAttention", [q, k, v, f32(2, kv, 6, d), f32(2, kv, 6, d), i32(6, 3), total(7), cos, sin], 3, constants=[6],
         num_heads=heads, kv_num_heads=kv, do_rotary=1)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=np.int32)
    q, k, v = f32(2, 3, 32), f32(2, 5, 32), f32(2, 5, 32)
    case("mha", "MultiHeadAttention", [q, k, v], num_heads=4)
    case("mha_bias_mask", "MultiHeadAttention", [q, k, v, f32(96), mask], num_heads=4)
    case("mha_attention_bias", "MultiHeadAttention", [q, k, v, None, None, f32(1, 4, 3, 5)], num_heads=4, scale=0.2)
    case("mha_past", "MultiHeadAttention", [f32(2, 2, 32), f32(2, 2, 32), f32(2, 2, 32), None, None, None, f32(2, 4, 3, 8), f32(2, 4, 3, 8)], 3, num_heads=4)
    case("mha_causal", "MultiHeadAttention", [f32(2, 3, 32), f32(2, 3, 32), f32(2, 3, 32)], num_heads=4, unidirectional=1)
    case("mha_cross", "MultiHeadAttention", [q, f32(2, 4, 5, 8), f32(2, 4, 5, 8)], num_heads=4)
    x, w, b = f32(2, 3, 16), f32(16, 48, scale=0.3), f32(48)
    case("attention", "Attention", [x, w, b], num_heads=2, constants=[1, 2])
    case("attention_mask", "Attention", [x, w, b, mask[:, :3]], num_heads=2, constants=[1, 2])
    case("attention_lengths", "Attention", [x, w, b, i32(3, 2)], num_heads=2, constants=[1, 2])
    case("attention_causal_past", "Attention", [x, w, b, None, f32(2, 2, 2, 4, 8)], 2, num_heads=2, unidirectional=1, constants=[1, 2])


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    norms(), activations(), products(), rotary(), attention()
    size = sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file())
    print(f"{len(list(OUT.iterdir()))} cases, {size} bytes, ONNX Runtime {ort.__version__}, onnx {onnx.__version__}")


if __name__ == "__main__":
    main()
