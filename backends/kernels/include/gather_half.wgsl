// gather.wgsl from float16 (kind 0) or bfloat16 (kind 1) to float32; cells are elements.
@group(0) @binding(0) var<storage, read_write> gather_x: array<u32>;
@group(0) @binding(2) var<storage, read_write> gather_y: array<f32>;

fn gather_fill(i: u32) {
  gather_y[i] = bitcast<f32>(gather_params.fill);
}
fn gather_copy(i: u32, source: u32) {
  let bits = (gather_x[source >> 1u] >> ((source & 1u) * 16u)) & 0xffffu;
  gather_y[i] = select(math_f16_to_f32(bits), math_bf16_to_f32(bits), gather_params.kind == 1u);
}
