enable subgroups;
// Linear of 2 to linear_rows (4 or 8) rows with weights of 4 to 8 bits, in whole numbers (numerics FAST): what
// linear_dot.wgsl is for one row, and each row has the bits that it gives. Weights are read and unpacked once for all
// rows.
//
// Formula, bindings, parameters: include/linear.wgsl, but for binding 0 = rounded rows (include/linear_round.wgsl). Workgroup:
// 128 x 1 x 1, two columns per subgroup (x of the grid, at least enough for the largest subgroups; columns beyond its
// width continue in y), whose invocations take blocks in turn and store a row each. Subgroups have 8 invocations or
// more. Weights of the next block are asked for before those of one are used.

override linear_rows: u32 = 4u;

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
  let x = linear_fetch_x(min(row, linear.rows - 1u), b);
  return vec2<f32>(linear_part(w.p0, w.first0, w.second0, x), linear_part(w.p1, w.first1, w.second1, x));
}

// Each invocation's row's linear_inverse. What all of them need is asked for together.
fn linear_inverses(lane: u32, size: u32) -> f32 {
  let last = linear.rows - 1u;
  let s0 = linear_fetch_squares(0u, lane);
  let s1 = linear_fetch_squares(min(1u, last), lane);
  let s2 = linear_fetch_squares(min(2u, last), lane);
  let s3 = linear_fetch_squares(min(3u, last), lane);
  let i0 = linear_inverse(0u, s0, lane, size);
  let i1 = linear_inverse(min(1u, last), s1, lane, size);
  let i2 = linear_inverse(min(2u, last), s2, lane, size);
  let i3 = linear_inverse(min(3u, last), s3, lane, size);
  let low = select(select(i0, i1, lane == 1u), select(i2, i3, lane == 3u), lane >= 2u);
  if linear_rows <= 4u {
    return low;
  }
  let s4 = linear_fetch_squares(min(4u, last), lane);
  let s5 = linear_fetch_squares(min(5u, last), lane);
  let s6 = linear_fetch_squares(min(6u, last), lane);
  let s7 = linear_fetch_squares(min(7u, last), lane);
  let i4 = linear_inverse(min(4u, last), s4, lane, size);
  let i5 = linear_inverse(min(5u, last), s5, lane, size);
  let i6 = linear_inverse(min(6u, last), s6, lane, size);
  let i7 = linear_inverse(min(7u, last), s7, lane, size);
  let high = select(select(i4, i5, lane == 5u), select(i6, i7, lane == 7u), lane >= 6u);
  return select(low, high, lane >= 4u);
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
  let run = (blocks + linear.lanes - 1u) / linear.lanes;
  var next0 = linear_fetch(block0 + min(lane, blocks - 1u));
  var next1 = linear_fetch(block1 + min(lane, blocks - 1u));
  let inverse = linear_inverses(lane, size);
  var total = vec2<f32>();
  for (var first = 0u; first < blocks; first += run) {  // as subgroups of linear_dot.wgsl share a column
    let end = min(first + run, blocks);
    var sum0 = vec2<f32>();
    var sum1 = vec2<f32>();
    var sum2 = vec2<f32>();
    var sum3 = vec2<f32>();
    var sum4 = vec2<f32>();
    var sum5 = vec2<f32>();
    var sum6 = vec2<f32>();
    var sum7 = vec2<f32>();
    for (var b = first + lane; b < end; b += size) {
      let p0 = next0;
      let p1 = next1;
      let next = min(select(b + size, end + lane, b + size >= end), blocks - 1u);
      next0 = linear_fetch(block0 + next);
      next1 = linear_fetch(block1 + next);
      let w = LinearPair(p0, p1, linear_bytes(p0, 0u), linear_bytes(p0, 1u), linear_bytes(p1, 0u),
                         linear_bytes(p1, 1u));
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
    total += sum;
  }
  if lane < linear.rows {
    linear_store2(lane, column, total * inverse);
  }
}
