enable subgroups;
// As gather_blocks.wgsl, of one row in whole blocks and a table of one part: y, and the row rounded for the product
// that reads it (include/linear_round.wgsl says what is written), multiplied by the scale of a norm before that product
// where gather_round_params.round says so.
//
// Bindings: group 0, 0 = index (int32 or int64), 1 = y, 2 = the rounded row, 3 = the norm's scale, 4 .. 6 = weights
// (weight_decode.wgsl). Parameters: immediate, 48 bytes, the first eight words gather_blocks.wgsl's. Workgroup: 256 x 1
// x 1, 32 blocks. Subgroups have 4 invocations or more. Comes after include/linear_round.wgsl, include/gather_index.wgsl.

struct GatherRoundParams {
  count: u32,
  blocks: u32,        // of the row
  k: u32,
  index_words: u32,   // 2: int64
  rows: u32,          // of the table
  first: u32,
  end: u32,
  nan: u32,           // its bits: a constant may not be one
  round: u32,         // GATHER_ROUND_*
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

const GATHER_ROUND_PLAIN: u32 = 1u;
const GATHER_ROUND_SCALED: u32 = 2u;
const WEIGHT_BINDING: u32 = 4u;

@group(0) @binding(0) var<storage, read_write> gather_round_indices: array<u32>;
@group(0) @binding(1) var<storage, read_write> gather_round_y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gather_round_rounded: array<u32>;
@group(0) @binding(3) var<storage, read_write> gather_round_scale: array<vec4<f32>>;
var<immediate> gather_round_params: GatherRoundParams;

fn linear_round_put(at: u32, word: u32) {
  gather_round_rounded[at] = word;
}

@compute @workgroup_size(256, 1, 1)
fn gather_blocks_round(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
                       @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let p = gather_round_params;
  let quads = p.blocks * 8u;
  let at = group.x * 256u + subgroup * size + lane;
  let quad = min(at, quads - 1u);
  var by = vec4<f32>(1.0);
  if p.round == GATHER_ROUND_SCALED {
    by = gather_round_scale[quad];
  }
  let row = gather_index(gather_round_indices[0], gather_round_indices[p.index_words - 1u], p.index_words, p.rows);
  var raw = weight_quad(min(row, p.rows - 1u) * p.blocks + quad / 8u, quad & 7u);
  if row >= p.rows {
    raw = vec4<f32>(bitcast<f32>(p.nan));
  }
  var x = raw;
  if p.round == GATHER_ROUND_SCALED {
    x *= by;
  }
  let rounded = linear_rounded(x, raw);
  if at < quads {
    gather_round_y[quad] = raw;
    linear_round_store(0u, quad, p.blocks, rounded);
  }
}
