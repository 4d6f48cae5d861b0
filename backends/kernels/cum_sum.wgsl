// CumSum along an axis: one invocation walks a line. Floats are summed with the rounding error carried along
// (Neumaier), integers wrap.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). flags: 1 exclusive, 2 reverse; type: 0 float32, 1 int32,
// 2 int64. Workgroup: 64 x 1 x 1; a wide dispatch continues in y. Comes after include/int64.wgsl.

struct CumSumParams {
  lines: u32,
  n: u32,
  inner: u32,
  flags: u32,
  dtype: u32,
}

@group(0) @binding(0) var<storage, read_write> cum_sum_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> cum_sum_y: array<u32>;
var<immediate> cum_sum_params: CumSumParams;

@compute @workgroup_size(64, 1, 1)
fn cum_sum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = cum_sum_params;
  let line = id.y * groups.x * 64u + id.x;
  if line >= p.lines {
    return;
  }
  let base = line / p.inner * p.n * p.inner + line % p.inner;
  let exclusive = (p.flags & 1u) != 0u;
  var sum = 0.0;
  var carried = 0.0;
  var whole = vec2<u32>(0u, 0u);
  for (var j = 0u; j < p.n; j += 1u) {
    let at = base + select(j, p.n - 1u - j, (p.flags & 2u) != 0u) * p.inner;
    let before = sum + carried;
    let whole_before = whole;
    if p.dtype == 0u {
      let v = bitcast<f32>(cum_sum_x[at]);
      let next = sum + v;
      carried += select((v - next) + sum, (sum - next) + v, math_abs(sum) >= math_abs(v));
      sum = next;
      cum_sum_y[at] = bitcast<u32>(select(sum + carried, before, exclusive));
    } else if p.dtype == 1u {
      whole.x += cum_sum_x[at];
      cum_sum_y[at] = select(whole.x, whole_before.x, exclusive);
    } else {
      whole = i64_add(whole, vec2<u32>(cum_sum_x[2u * at], cum_sum_x[2u * at + 1u]));
      let y = select(whole, whole_before, exclusive);
      cum_sum_y[2u * at] = y.x;
      cum_sum_y[2u * at + 1u] = y.y;
    }
  }
}
