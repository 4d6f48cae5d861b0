enable subgroups;
// Rows of X [m, k], k in whole blocks of 32, for linear_dot_rows.wgsl: rounded as linear_dot.wgsl does, in its order of
// additions, so that a row's bits are the same there. With round_params.norm X is an RMS norm's input, and multiplied
// by the norm's scale.
//
// Bindings: group 0, 0 = x, 1 = y, 2 = the norm's scale. y has of each row, in vec4<u32>s per block: the upper bytes of
// either half, their lower bytes (LinearRounded), and (scale, scale times the sum of either half, of the row's first
// block 1 / sqrt(mean(x^2) + epsilon)) as float32. Workgroup: 256 x 1 x 1, 32 blocks (x of the grid) of a row (y).
// Subgroups have 8 invocations or more. Comes after include/linear_round.wgsl, workgroup_total.wgsl.

struct RoundParams {
  blocks: u32,    // of a row
  norm: u32,
  epsilon: f32,
  pad: u32,
}

@group(0) @binding(0) var<storage, read_write> round_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> round_y: array<u32>;
@group(0) @binding(2) var<storage, read_write> round_scale: array<vec4<f32>>;
var<immediate> round_params: RoundParams;

@compute @workgroup_size(256, 1, 1)
fn linear_round(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
                @builtin(num_subgroups) subgroups: u32, @builtin(subgroup_invocation_id) lane: u32,
                @builtin(subgroup_size) size: u32) {
  let blocks = round_params.blocks;
  let quads = blocks * 8u;
  let row = group.y * quads;
  let t = subgroup * size + lane;
  let i = min(group.x * 256u + t, quads - 1u);
  var x = round_x[row + i];
  if round_params.norm != 0u {
    x *= round_scale[i];
  }
  let rounded = linear_rounded(x);
  var inverse = 1.0;
  if round_params.norm != 0u && group.x == 0u {
    var squares = 0.0;
    for (var first = 0u; first < quads; first += 1024u) {  // linear_dot.wgsl's tiles
      let end = min(first + 1024u, quads);
      var part = 0.0;
      for (var at = first + t; at < end; at += 256u) {
        part += linear_squared(round_x[row + at]);
      }
      squares += part;
    }
    let total = workgroup_total(squares, subgroup, subgroups, lane);
    inverse = 1.0 / sqrt(total / f32(blocks * 32u) + round_params.epsilon);
  }
  if group.x * 256u + t < quads {
    let block = i >> 3u;
    let w = i & 7u;
    let base = group.y * blocks * 5u + block;
    let at = (base + (w >> 2u) * blocks) * 4u + (w & 3u);
    round_y[at] = rounded.upper;
    round_y[at + blocks * 8u] = rounded.lower;
    if w == 0u {
      let scales = (base + blocks * 4u) * 4u;
      round_y[scales] = bitcast<u32>(rounded.scales.x);
      round_y[scales + 1u] = bitcast<u32>(rounded.scales.y);
      round_y[scales + 2u] = bitcast<u32>(rounded.scales.z);
      round_y[scales + 3u] = bitcast<u32>(inverse);
    }
  }
}
