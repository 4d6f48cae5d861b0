"""Writes the small ONNX models that the reader's tests and its fuzz target start from: corpus/onnx/*.onnx."""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(__file__).parent / "corpus" / "onnx"
F, I = TensorProto.FLOAT, TensorProto.INT64


def save(name, nodes, inputs, outputs, initializers=(), opset=17, ms=False, ir=8, **graph):
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("com.microsoft", 1)] if ms else [])
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers), **graph)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir, producer_name="tern")
    helper.set_model_props(model, {"character": "abc", "note": "a test"})
    (OUT / f"{name}.onnx").write_bytes(model.SerializeToString())


def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def info(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    x, y = info("x", F, ["batch", 3]), info("y", F, ["batch", 2])
    w = tensor("w", np.arange(6, dtype=np.float32).reshape(3, 2))
    save("linear", [helper.make_node("MatMul", ["x", "w"], ["h"], "first"), helper.make_node("Relu", ["h"], ["y"], "second")], [x], [y], [w])
    # Weights in Constant nodes of every form, Identity, trailing empty inputs, a name-less node, an input without use.
    constants = [
        helper.make_node("Constant", [], ["c0"], value=tensor("", np.float32([1, 2, 3]))),
        helper.make_node("Constant", [], ["c1"], value_float=2.5),
        helper.make_node("Constant", [], ["c2"], value_ints=[1, -1]),
        helper.make_node("Constant", [], ["c3"], value_floats=[0.5, 0.25]),
        helper.make_node("Constant", [], ["c4"], value_int=-7),
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("Clip", ["i", "", "c1"], ["k"]),
        helper.make_node("Add", ["k", "c0"], ["a"]),
        helper.make_node("Reshape", ["a", "c2"], ["y"]),
    ]
    save("constants", constants, [x, info("unused", I, [])], [info("y", F, [1, "-1"])])
    # Typed data fields, and initializers that are listed as inputs (IR 3), with opset 9 attributes.
    typed = [
        helper.make_tensor("f", F, [2], [1.5, -2.0]),
        helper.make_tensor("l", I, [2], [2, 1]),
        helper.make_tensor("h", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("b", TensorProto.BOOL, [2], [True, False]),
        helper.make_tensor("d", TensorProto.DOUBLE, [1], [3.0]),
        helper.make_tensor("q", TensorProto.INT8, [3], [-1, 0, 1]),
        helper.make_tensor("e", F, [0], []),
    ]
    nodes = [helper.make_node("Cast", ["h"], ["h32"], to=F), helper.make_node("Add", ["f", "h32"], ["s"]),
             helper.make_node("Slice", ["s"], ["t"], starts=[0], ends=[1]), helper.make_node("Mul", ["x", "t"], ["y"])]
    save("typed", nodes, [info("x", F, [1]), info("f", F, [2]), info("l", I, [2])], [info("y", F, [1])], typed, opset=9, ir=3)
    # An operator that tern does not have, holding subgraphs that capture outer values and hold another such operator.
    then = helper.make_graph([helper.make_node("Add", ["x", "w"], ["t"]), helper.make_node("Unheard", ["t"], ["u"], domain="com.example")],
                             "then", [], [info("u", F, None)])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["v"])], "else", [], [info("v", F, None)])
    branch = helper.make_node("If", ["c"], ["y"], "branch", then_branch=then, else_branch=other)
    save("subgraphs", [branch], [info("c", TensorProto.BOOL, []), info("x", F, [2])], [info("y", F, [2])], [tensor("w", np.float32([1, 2]))])
    # Nodes out of order, outputs that are inputs, a big reshape chain.
    nodes = [helper.make_node("Add", ["b", "x"], ["y"], "last"), helper.make_node("Neg", ["x"], ["b"], "early")]
    save("unordered", nodes, [info("x", F, [2])], [info("y", F, [2]), info("x", F, [2])])
    gqa = helper.make_node("GroupQueryAttention", ["q", "", "", "pk", "pv", "len", "total", "cos", "sin"], ["y", "k", "v"], "attention",
                           domain="com.microsoft", num_heads=2, kv_num_heads=1, do_rotary=1)
    save("attention", [gqa], [info("q", F, [1, 2, 16]), info("pk", F, [1, 1, "p", 4]), info("pv", F, [1, 1, "p", 4]),
                              info("len", TensorProto.INT32, [1]), info("total", TensorProto.INT32, [])],
         [info("y", F, [1, 2, 8]), info("k", F, None), info("v", F, None)],
         [tensor("cos", np.ones((8, 2), np.float32)), tensor("sin", np.zeros((8, 2), np.float32))], ms=True)
    # External data: only its location is in the file.
    outside = TensorProto(name="w", data_type=F, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../secret.bin")
    save("external_escape", [helper.make_node("Add", ["x", "w"], ["y"])], [info("x", F, [2])], [info("y", F, [2])], [outside])


if __name__ == "__main__":
    main()
