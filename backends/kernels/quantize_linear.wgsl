// QuantizeLinear to 8 bits: y = round(x / scale) + zero, held in the type's range; one scale and zero, or one per
// element of an axis. Rounding is half to even.
//
// Bindings: group 0, 0 = x, 1 = y (bytes), 2 = scale, 3 = zero (bytes). Parameters: immediate, 32 bytes. Workgroup: 64 x
// 1 x 1, four elements each; a grid wider than one row of workgroups continues in y.

struct QuantizeLinearParams {
  count: u32,
  inner: u32,     // elements from one index of the axis to the next
  dim: u32,       // of the axis; 1: one scale
  flags: u32,     // 1: signed; 2: zero is there
  pad0: u32,
  pad1: u32,
  pad2: u32,
  pad3: u32,
}

@group(0) @binding(0) var<storage, read_write> quantize_linear_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> quantize_linear_y: array<u32>;
@group(0) @binding(2) var<storage, read_write> quantize_linear_scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> quantize_linear_zero: array<u32>;
var<immediate> quantize_linear_params: QuantizeLinearParams;

@compute @workgroup_size(64, 1, 1)
fn quantize_linear(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = quantize_linear_params;
  let i = id.y * groups.x * 64u + id.x;
  if i * 4u >= p.count {
    return;
  }
  let is_signed = (p.flags & 1u) != 0u;
  let low = select(0, -128, is_signed);
  var word = 0u;
  for (var e = 0u; e < min(4u, p.count - i * 4u); e += 1u) {
    let at = i * 4u + e;
    let s = at / p.inner % p.dim;
    var zero = 0;
    if (p.flags & 2u) != 0u {
      zero = byte_of(quantize_linear_zero[s >> 2u], s, is_signed);
    }
    let q = math_quantize(divide_exact(quantize_linear_x[at], quantize_linear_scale[s]), zero, low, low + 255);
    word |= (bitcast<u32>(q) & 255u) << (e * 8u);
  }
  quantize_linear_y[i] = word;
}
