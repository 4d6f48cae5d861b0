enable subgroups;
// Linear of 2 to linear_rows (4 or 8) rows with weights of 4 to 8 bits, in whole numbers (numerics FAST): what
// linear_dot.wgsl is for one row, and each row has the bits that it gives. linear_round.wgsl has rounded the rows
// before (and read a norm's scale); weights are read and unpacked once for all of them.
//
// Formula, bindings, parameters: include/linear.wgsl, but for binding 0 = what linear_round.wgsl writes. Workgroup:
// 128 x 1 x 1, two columns per subgroup (x of the grid, at least enough for the largest subgroups; columns beyond its
// width continue in y), whose invocations take blocks in turn and store a row each. Subgroups have 8 invocations or
// more. Weights of the next block are asked for before those of one are used.

override linear_rows: u32 = 4u;

@group(0) @binding(0) var<storage, read_write> linear_rounded_x: array<vec4<u32>>;

// A block of two columns, unpacked.
struct LinearPair {
  p0: LinearPacked,
  p1: LinearPacked,
  first0: vec4<u32>,
  second0: vec4<u32>,
  first1: vec4<u32>,
  second1: vec4<u32>,
}

// What block b adds to a row's sums.
fn linear_pair(w: LinearPair, row: u32, b: u32) -> vec2<f32> {
  let blocks = linear.blocks;
  let at = min(row, linear.rows - 1u) * blocks * 5u + b;
  let upper0 = linear_rounded_x[at];
  let upper1 = linear_rounded_x[at + blocks];
  let lower0 = linear_rounded_x[at + 2u * blocks];
  let lower1 = linear_rounded_x[at + 3u * blocks];
  let scales = bitcast<vec4<f32>>(linear_rounded_x[at + 4u * blocks]);
  return vec2<f32>(linear_part(w.p0, w.first0, w.second0, upper0, upper1, lower0, lower1, scales),
                   linear_part(w.p1, w.first1, w.second1, upper0, upper1, lower0, lower1, scales));
}

@compute @workgroup_size(128, 1, 1)
fn linear_dot_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                   @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
                   @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let column = ((group.y * groups.x + group.x) * subgroups + subgroup) * 2u;
  let blocks = linear.blocks;
  let last = linear.columns - 1u;
  let block0 = min(column, last) * blocks;
  let block1 = min(column + 1u, last) * blocks;
  var sum0 = vec2<f32>();
  var sum1 = vec2<f32>();
  var sum2 = vec2<f32>();
  var sum3 = vec2<f32>();
  var sum4 = vec2<f32>();
  var sum5 = vec2<f32>();
  var sum6 = vec2<f32>();
  var sum7 = vec2<f32>();
  var next0 = linear_fetch(block0 + min(lane, blocks - 1u));
  var next1 = linear_fetch(block1 + min(lane, blocks - 1u));
  for (var b = lane; b < blocks; b += size) {
    let p0 = next0;
    let p1 = next1;
    let next = min(b + size, blocks - 1u);
    next0 = linear_fetch(block0 + next);
    next1 = linear_fetch(block1 + next);
    let w = LinearPair(p0, p1, linear_bytes(p0, 0u), linear_bytes(p0, 1u), linear_bytes(p1, 0u), linear_bytes(p1, 1u));
    sum0 += linear_pair(w, 0u, b);
    sum1 += linear_pair(w, 1u, b);
    sum2 += linear_pair(w, 2u, b);
    sum3 += linear_pair(w, 3u, b);
    if linear_rows > 4u {
      sum4 += linear_pair(w, 4u, b);
      sum5 += linear_pair(w, 5u, b);
      sum6 += linear_pair(w, 6u, b);
      sum7 += linear_pair(w, 7u, b);
    }
  }
  sum0 = subgroupAdd(sum0);
  sum1 = subgroupAdd(sum1);
  sum2 = subgroupAdd(sum2);
  sum3 = subgroupAdd(sum3);
  var sum = select(select(sum0, sum1, lane == 1u), select(sum2, sum3, lane == 3u), lane >= 2u);
  if linear_rows > 4u {
    sum4 = subgroupAdd(sum4);
    sum5 = subgroupAdd(sum5);
    sum6 = subgroupAdd(sum6);
    sum7 = subgroupAdd(sum7);
    let more = select(select(sum4, sum5, lane == 5u), select(sum6, sum7, lane == 7u), lane >= 6u);
    sum = select(sum, more, lane >= 4u);
  }
  if lane < linear.rows {
    let inverse = bitcast<f32>(linear_rounded_x[(lane * 5u + 4u) * blocks].w);
    linear_store2(lane, column, sum * inverse);
  }
}
