// DynamicQuantizeLinear, after quantize_range.wgsl: y = round(x / scale) + zero in 0 .. 255, scale = (high - low) / 255,
// zero = round(-low / scale). Rounding is half to even; a NaN gives 0.
//
// Bindings: group 0, 0 = x, 1 = ranges, 2 = y (bytes), 3 = scale, 4 = zero (a byte). Parameters: immediate, 16 bytes.
// Workgroup: 64 x 1 x 1, four elements each; a grid wider than one row of workgroups continues in y.

struct QuantizeDynamicParams {
  count: u32,
  ranges: u32,
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(0) var<storage, read_write> quantize_dynamic_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> quantize_dynamic_ranges: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> quantize_dynamic_y: array<u32>;
@group(0) @binding(3) var<storage, read_write> quantize_dynamic_scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> quantize_dynamic_zero: array<u32>;
var<immediate> quantize_dynamic_params: QuantizeDynamicParams;

@compute @workgroup_size(64, 1, 1)
fn quantize_dynamic(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = quantize_dynamic_params;
  let i = id.y * groups.x * 64u + id.x;
  if i * 4u >= p.count {
    return;
  }
  var low = 0.0;
  var high = 0.0;
  for (var r = 0u; r < p.ranges; r += 1u) {
    let range = quantize_dynamic_ranges[r];
    low = math_min(range.x, low);
    high = math_max(range.y, high);
  }
  let scale = select(divide_exact(high - low, 255.0), 1.0, high == low);
  let zero = clamp(math_quantize(divide_exact(-low, scale), 0, 0, 255), 0, 255);
  if i == 0u {
    quantize_dynamic_scale[0] = scale;
    quantize_dynamic_zero[0] = u32(zero);
  }
  var word = 0u;
  for (var e = 0u; e < min(4u, p.count - i * 4u); e += 1u) {
    let x = quantize_dynamic_x[i * 4u + e];
    let q = select(math_quantize(divide_exact(x, scale), zero, 0, 255), 0, math_is_nan(x));
    word |= u32(q) << (e * 8u);
  }
  quantize_dynamic_y[i] = word;
}
