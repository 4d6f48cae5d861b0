// gather.wgsl from float16 (kind 0) or bfloat16 (kind 1) to float32; cells are four elements.
@group(0) @binding(0) var<storage, read_write> gather_x: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> gather_y: array<vec4<f32>>;

fn gather_fill(i: u32) {
  gather_y[i] = vec4<f32>(bitcast<f32>(gather_params.fill));
}
fn gather_widened(bits: u32) -> f32 {
  return select(math_f16_to_f32(bits), math_bf16_to_f32(bits), gather_params.kind == 1u);
}
fn gather_copy(i: u32, source: u32) {
  let x = gather_x[source];
  gather_y[i] = vec4<f32>(gather_widened(x.x & 0xffffu), gather_widened(x.x >> 16u), gather_widened(x.y & 0xffffu),
                          gather_widened(x.y >> 16u));
}
