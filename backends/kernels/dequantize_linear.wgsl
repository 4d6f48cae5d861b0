// DequantizeLinear: y = (x - zero) scale, x of 8 bits or int32; one scale and zero, or one per element of an axis.
//
// Bindings: group 0, 0 = x, 1 = y, 2 = scale, 3 = zero. Parameters: immediate, 32 bytes. Workgroup: 64 x 1 x 1, one
// element each; a grid wider than one row of workgroups continues in y.

struct DequantizeLinearParams {
  count: u32,
  inner: u32,     // elements from one index of the axis to the next
  dim: u32,       // of the axis; 1: one scale
  flags: u32,     // 1: signed; 2: zero is there; 4: int32
  pad0: u32,
  pad1: u32,
  pad2: u32,
  pad3: u32,
}

@group(0) @binding(0) var<storage, read_write> dequantize_linear_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> dequantize_linear_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> dequantize_linear_scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> dequantize_linear_zero: array<u32>;
var<immediate> dequantize_linear_params: DequantizeLinearParams;

@compute @workgroup_size(64, 1, 1)
fn dequantize_linear(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = dequantize_linear_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let s = i / p.inner % p.dim;
  let is_signed = (p.flags & 1u) != 0u;
  var zero = 0;
  var x = 0;
  if (p.flags & 4u) != 0u {
    x = bitcast<i32>(dequantize_linear_x[i]);
    if (p.flags & 2u) != 0u {
      zero = bitcast<i32>(dequantize_linear_zero[s]);
    }
  } else {
    x = byte_of(dequantize_linear_x[i >> 2u], i, is_signed);
    if (p.flags & 2u) != 0u {
      zero = byte_of(dequantize_linear_zero[s >> 2u], s, is_signed);
    }
  }
  dequantize_linear_y[i] = f32(x - zero) * dequantize_linear_scale[s];
}
