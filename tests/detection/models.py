"""A detector's model whose faces are known: red cells."""

from __future__ import annotations

from pathlib import Path


def write_red_model(path: Path, names: tuple[str, ...] = ("cls", "obj", "bbox", "kps")) -> Path:
    """An ONNX model of YuNet's form that sees a face in each cell of 32 x 32 pixels as surely as the cell is red.

    Input BGR; centre, corners and landmarks all lie at the cell's upper left corner, the box has sides of 32 pixels.
    """
    from numpy import array, float32, int64, ndarray
    from onnx import TensorProto, helper, numpy_helper, save

    constants: dict[str, ndarray] = {
        "red": array([2], int64),
        "flat": array([1, -1, 1], int64),
        "full": array([1 / 255], float32),
    }
    constants["none"] = array([0], float32)
    nodes, outputs = [], []
    for stride in (8, 16, 32):
        pooled = helper.make_node("AveragePool", ["x"], [f"p{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        nodes += [
            pooled,
            helper.make_node("Gather", [f"p{stride}", "red"], [f"r{stride}"], axis=1),
            helper.make_node("Reshape", [f"r{stride}", "flat"], [f"s{stride}"]),
            helper.make_node("Mul", [f"s{stride}", "full" if stride == 32 else "none"], [f"{names[0]}_{stride}"]),
            helper.make_node("Identity", [f"{names[0]}_{stride}"], [f"{names[1]}_{stride}"]),
            helper.make_node("Mul", [f"s{stride}", "none"], [f"z{stride}"]),
            helper.make_node("Concat", [f"z{stride}"] * 4, [f"{names[2]}_{stride}"], axis=2),
            helper.make_node("Concat", [f"z{stride}"] * 10, [f"{names[3]}_{stride}"], axis=2),
        ]
        outputs += [f"{name}_{stride}" for name in names]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
