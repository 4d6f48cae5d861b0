// Rows of a table of quantized weights as float32: y[j, k] = table[index(j), k]. Tables of several parts take a
// dispatch each: rows of other parts are left alone. An index out of range gives NaN.
//
// Bindings: group 0, 0 = indices (int32 or int64), 1 = y, 2 .. 4 = weights (weight_decode.wgsl). Parameters: immediate,
// 32 bytes. Workgroup: 64 x 1 x 1, half a block each; a grid wider than one row of workgroups continues in y.
// Comes after include/gather_index.wgsl.

struct GatherBlocksParams {
  count: u32,         // half blocks of y
  blocks: u32,        // of a row
  k: u32,             // elements of a row
  index_words: u32,   // 2: int64
  rows: u32,          // of the whole table
  first: u32,         // row of the table that is the first bound here
  end: u32,
  nan: u32,           // its bits: a constant may not be one
}

const WEIGHT_BINDING: u32 = 2u;

@group(0) @binding(0) var<storage, read_write> gather_blocks_indices: array<u32>;
@group(0) @binding(1) var<storage, read_write> gather_blocks_y: array<f32>;
var<immediate> gather_blocks_params: GatherBlocksParams;

fn gather_blocks_put(at: u32, left: u32, values: vec4<f32>) {
  for (var i = 0u; i < min(left, 4u); i += 1u) {
    gather_blocks_y[at + i] = values[i];
  }
}

@compute @workgroup_size(64, 1, 1)
fn gather_blocks(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = gather_blocks_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let halves = p.blocks * 2u;
  let j = i / halves;
  let half = i % halves;
  let index = j * p.index_words;
  let row = gather_index(gather_blocks_indices[index], gather_blocks_indices[index + p.index_words - 1u],
                         p.index_words, p.rows);
  let k = half * 16u;
  let left = p.k - min(k, p.k);
  let at = j * p.k + k;
  if row >= p.rows {
    if p.first == 0u {
      let nan = vec4<f32>(bitcast<f32>(p.nan));
      gather_blocks_put(at, left, nan);
      gather_blocks_put(at + 4u, left - min(left, 4u), nan);
      gather_blocks_put(at + 8u, left - min(left, 8u), nan);
      gather_blocks_put(at + 12u, left - min(left, 12u), nan);
    }
    return;
  }
  if row < p.first || row >= p.end {
    return;
  }
  let w = weight_half((row - p.first) * p.blocks + half / 2u, half & 1u);
  gather_blocks_put(at, left, w.a);
  gather_blocks_put(at + 4u, left - min(left, 4u), w.b);
  gather_blocks_put(at + 8u, left - min(left, 8u), w.c);
  gather_blocks_put(at + 12u, left - min(left, 12u), w.d);
}
