enable subgroups;
// Rows of X [m, k], k in whole blocks of 32, rounded for linear_dot.wgsl and linear_dot_rows.wgsl (include/linear_round.wgsl
// says what is written), where the kernel before did not do it. With round_params.norm X is an RMS norm's input, and
// multiplied by the norm's scale.
//
// Bindings: group 0, 0 = x, 1 = y, 2 = the norm's scale. Workgroup: 256 x 1 x 1, 32 blocks (x of the grid) of a row (y).
// Subgroups have 4 invocations or more. Comes after include/linear_round.wgsl.

struct RoundParams {
  blocks: u32,    // of a row
  norm: u32,
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(0) var<storage, read_write> round_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> round_y: array<u32>;
@group(0) @binding(2) var<storage, read_write> round_scale: array<vec4<f32>>;
var<immediate> round_params: RoundParams;

fn linear_round_put(at: u32, word: u32) {
  round_y[at] = word;
}

@compute @workgroup_size(256, 1, 1)
fn linear_round(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
                @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let blocks = round_params.blocks;
  let quads = blocks * 8u;
  let at = group.x * 256u + subgroup * size + lane;
  let quad = min(at, quads - 1u);
  let raw = round_x[group.y * quads + quad];
  var x = raw;
  if round_params.norm != 0u {
    x *= round_scale[quad];
  }
  let rounded = linear_rounded(x, raw);
  if at < quads {
    linear_round_store(group.y * linear_rounded_words(blocks), quad, blocks, rounded);
  }
}
