// Smallest and largest of parts of x, first step of DynamicQuantizeLinear: 0 is always between them.
//
// Bindings: group 0, 0 = x, 1 = ranges, one (low, high) per workgroup. Parameters: immediate, 16 bytes. Workgroup: 64 x
// 1 x 1; workgroup g of n takes elements g 64 + t, in steps of 64 n.

struct QuantizeRangeParams {
  count: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(0) var<storage, read_write> quantize_range_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> quantize_range_out: array<vec2<f32>>;
var<immediate> quantize_range_params: QuantizeRangeParams;
var<workgroup> quantize_range_partial: array<vec2<f32>, 64>;

@compute @workgroup_size(64, 1, 1)
fn quantize_range(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>,
                  @builtin(num_workgroups) groups: vec3<u32>) {
  var low = 0.0;
  var high = 0.0;
  for (var i = group.x * 64u + t; i < quantize_range_params.count; i += groups.x * 64u) {
    let x = quantize_range_x[i];
    low = math_min(x, low);
    high = math_max(x, high);
  }
  quantize_range_partial[t] = vec2<f32>(low, high);
  workgroupBarrier();
  if t == 0u {
    for (var i = 1u; i < 64u; i += 1u) {
      let other = quantize_range_partial[i];
      low = math_min(other.x, low);
      high = math_max(other.y, high);
    }
    quantize_range_out[group.x] = vec2<f32>(low, high);
  }
}
