enable f16;
enable subgroups;
enable wgpu_cooperative_matrix;
// Linear of many rows by cooperative matrices (numerics FAST): float16 products, float32 sums. Eight subgroups make a tile
// of 128 x 128 outputs, each 64 x 32, or of 128 x 64, each 32 x 32, where few wide tiles would leave a device idle. Along
// k two blocks at a time go through workgroup memory, x as it lies (linear_half.wgsl), weights decoded
// (weight_matrix.wgsl); what the next step needs is asked for before this one is multiplied.
//
// Formula, outputs, parameters: include/linear.wgsl, but x is what linear_half.wgsl writes, and x_stride counts its
// vec4s of words. Workgroup: 256 x 1 x 1, subgroups of 32; x of the grid goes over columns, y over rows, in tiles.
//
// Nothing reaches the elements of a cooperative matrix: sums go out through workgroup memory, a matrix of each subgroup
// at a time, which its own invocations wait for alone. naga has no arrays of matrices: sum_RC is row R, column C of a
// subgroup's part.

override linear_wide: u32 = 1u;  // 128 columns; 0: 64

const LINEAR_ROW: u32 = 18u;  // vec4s of a row in workgroup memory: 64 float16, 8 more so that rows lie on other banks
const LINEAR_OUT: u32 = 20u;  // floats of a row on its way out

// Read only, which lets drivers fetch it as they fetch weights.
@group(0) @binding(0) var<storage, read> linear_x: array<vec4<u32>>;

var<workgroup> linear_tile_x: array<vec4<f16>, 2304>;
var<workgroup> linear_tile_w: array<vec4<f16>, 2304>;
var<workgroup> linear_tile_y: array<f32, 2560>;  // [subgroup][16][LINEAR_OUT]

// Eight values of x, or zeros.
fn linear_fetch_x(at: u32, is_there: bool) -> vec4<u32> {
  return select(vec4<u32>(), linear_x[at], is_there);
}

fn linear_keep_x(at: u32, x: vec4<u32>) {
  linear_tile_x[at] = vec4<f16>(weight_pair(x.x), weight_pair(x.y));
  linear_tile_x[at + 1u] = vec4<f16>(weight_pair(x.z), weight_pair(x.w));
}

fn linear_keep_w(at: u32, packed: WeightPacked) {
  let w = weight_matrix(packed);
  linear_tile_w[at] = w.a;
  linear_tile_w[at + 1u] = w.b;
  linear_tile_w[at + 2u] = w.c;
  linear_tile_w[at + 3u] = w.d;
}

// What brings a row's sums back to their size.
fn linear_row_scale(row: u32) -> f32 {
  if linear.x_scale != 0.0 {
    return linear.x_scale;
  }
  return bitcast<f32>(linear_x[linear.rows * linear.x_stride + (row >> 2u)][row & 3u]);
}

// Of every fourth row from `row` on.
fn linear_row_scales(row: u32) -> vec4<f32> {
  let last = linear.rows - 1u;
  return vec4<f32>(linear_row_scale(min(row, last)), linear_row_scale(min(row + 4u, last)),
                   linear_row_scale(min(row + 8u, last)), linear_row_scale(min(row + 12u, last)));
}

// Biases of columns `column` and `column + step`, or of others where there are none.
fn linear_bias_pair(column: u32, step: u32) -> vec2<f32> {
  var pair = vec2<f32>();
  if linear.has_bias != 0u {
    let last = linear.columns - 1u;
    pair = vec2<f32>(linear_bias[linear.first + min(column, last)], linear_bias[linear.first + min(column + step, last)]);
  }
  return pair;
}

// Stores what columns `column` and `column + step` become: floats of neighbours, or a word of halves, which are two of
// four (step 2).
fn linear_store_pair(row: u32, column: u32, step: u32, sums: vec2<f32>, bias: vec2<f32>, residual: vec2<f32>) {
  if linear.ending >= LINEAR_GATED {
    linear_store_gated(row, column, sums.x, sums.y);
  } else if row < linear.rows && column < linear.columns {
    let is_there = column + step < linear.columns;
    let at = linear.first + column;
    let at1 = select(at, at + step, is_there);
    let y = vec2<f32>(linear_ending(sums.x + bias.x, residual.x), linear_ending(sums.y + bias.y, residual.y));
    if (linear.round & LINEAR_ROUND_HALVES) != 0u {
      linear_y2[(row * linear.width0 + (at & 0xfffffffcu)) / 2u + (at & 1u)] = pack2x16float(y * linear.epsilon);
    } else {
      linear_put(row, at, y.x);
      if is_there {
        linear_put(row, at1, y.y);
      }
    }
  }
}

@compute @workgroup_size(256, 1, 1)
fn linear_matrix(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let row0 = group.y * 128u;
  let column0 = group.x * (64u + 64u * linear_wide);
  let subgroup = t / 32u;
  let lane = t % 32u;
  var part_row = (subgroup / 2u) * 32u;
  var part_column = (subgroup % 2u) * 32u;
  if linear_wide == 1u {
    part_row = (subgroup / 4u) * 64u;
    part_column = (subgroup % 4u) * 32u;
  }
  // What this invocation brings: eight values of x of four rows, and a column's block, or half of it.
  let last_row = linear.rows - 1u;
  let last_block = linear.blocks - 1u;
  let x_row = row0 + t / 8u;
  let x_block = t % 8u / 4u;
  let x_at0 = min(x_row, last_row) * linear.x_stride + t % 8u;
  let x_at1 = min(x_row + 32u, last_row) * linear.x_stride + t % 8u;
  let x_at2 = min(x_row + 64u, last_row) * linear.x_stride + t % 8u;
  let x_at3 = min(x_row + 96u, last_row) * linear.x_stride + t % 8u;
  let x_to = (t / 8u) * LINEAR_ROW + (t % 8u) * 2u;
  let halves = 2u - linear_wide;  // threads of a block
  let w_half = t % halves;
  let w_block = t / halves % 2u;
  let w_column = t / (2u * halves);
  let w_at = min(column0 + w_column, linear.columns - 1u) * linear.blocks;
  let w_to = w_column * LINEAR_ROW + w_block * 8u + w_half * 4u;
  let a_at = part_row * LINEAR_ROW;
  let b_at = part_column * LINEAR_ROW;
  var sum_00 = coop_mat16x16<f32, C>();
  var sum_01 = coop_mat16x16<f32, C>();
  var sum_10 = coop_mat16x16<f32, C>();
  var sum_11 = coop_mat16x16<f32, C>();
  var sum_20 = coop_mat16x16<f32, C>();
  var sum_21 = coop_mat16x16<f32, C>();
  var sum_30 = coop_mat16x16<f32, C>();
  var sum_31 = coop_mat16x16<f32, C>();
  let x_first = select(0u, t % 8u / 4u * 4u, x_block > last_block);  // a k of one block has no second one
  var x0 = linear_fetch_x(x_at0 - x_first, x_block <= last_block);
  var x1 = linear_fetch_x(x_at1 - x_first, x_block <= last_block);
  var x2 = linear_fetch_x(x_at2 - x_first, x_block <= last_block);
  var x3 = linear_fetch_x(x_at3 - x_first, x_block <= last_block);
  var w0 = weight_packed(w_at + min(w_block, last_block), w_half);
  var w1 = WeightPacked();
  if linear_wide == 1u {
    w1 = weight_packed(w_at + min(w_block, last_block), 1u);
  }
  for (var block = 0u; block < linear.blocks; block += 2u) {
    workgroupBarrier();
    linear_keep_x(x_to, x0);
    linear_keep_x(x_to + 32u * LINEAR_ROW, x1);
    linear_keep_x(x_to + 64u * LINEAR_ROW, x2);
    linear_keep_x(x_to + 96u * LINEAR_ROW, x3);
    linear_keep_w(w_to, w0);
    if linear_wide == 1u {
      linear_keep_w(w_to + 4u, w1);
    }
    workgroupBarrier();
    // Beyond the last block zeros, times the last one.
    let is_there = block + 2u + x_block <= last_block;
    let x_next = select(0u, (block + 2u) * 4u, is_there);
    let w_next = w_at + min(block + 2u + w_block, last_block);
    x0 = linear_fetch_x(x_at0 + x_next - x_first, is_there);
    x1 = linear_fetch_x(x_at1 + x_next - x_first, is_there);
    x2 = linear_fetch_x(x_at2 + x_next - x_first, is_there);
    x3 = linear_fetch_x(x_at3 + x_next - x_first, is_there);
    w0 = weight_packed(w_next, w_half);
    if linear_wide == 1u {
      w1 = weight_packed(w_next, 1u);
    }
    for (var k = 0u; k < 16u; k += 4u) {
      let b0 = coopLoad<coop_mat16x16<f16, B>>(&linear_tile_w[b_at + k], LINEAR_ROW);
      let b1 = coopLoad<coop_mat16x16<f16, B>>(&linear_tile_w[b_at + k + 16u * LINEAR_ROW], LINEAR_ROW);
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k], LINEAR_ROW);
      sum_00 = coopMultiplyAdd(a0, b0, sum_00);
      sum_01 = coopMultiplyAdd(a0, b1, sum_01);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k + 16u * LINEAR_ROW], LINEAR_ROW);
      sum_10 = coopMultiplyAdd(a1, b0, sum_10);
      sum_11 = coopMultiplyAdd(a1, b1, sum_11);
      if linear_wide == 1u {
        let a2 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k + 32u * LINEAR_ROW], LINEAR_ROW);
        sum_20 = coopMultiplyAdd(a2, b0, sum_20);
        sum_21 = coopMultiplyAdd(a2, b1, sum_21);
        let a3 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k + 48u * LINEAR_ROW], LINEAR_ROW);
        sum_30 = coopMultiplyAdd(a3, b0, sum_30);
        sum_31 = coopMultiplyAdd(a3, b1, sum_31);
      }
    }
  }
  let out_at = subgroup * 16u * LINEAR_OUT;
  var pair_step = 1u;
  var pair_column = lane % 8u * 2u;
  if (linear.round & LINEAR_ROUND_HALVES) != 0u {
    pair_step = 2u;
    pair_column = lane % 8u / 2u * 4u + lane % 2u;
  }
  // Asked for once, not once a matrix.
  let bias0 = linear_bias_pair(column0 + part_column + pair_column, pair_step);
  let bias1 = linear_bias_pair(column0 + part_column + pair_column + 16u, pair_step);
  for (var matrix = 0u; matrix < 4u + 4u * linear_wide; matrix += 1u) {
    subgroupBarrier();
    switch matrix {
      case 0u: { coopStoreT(sum_00, &linear_tile_y[out_at], LINEAR_OUT); }
      case 1u: { coopStoreT(sum_01, &linear_tile_y[out_at], LINEAR_OUT); }
      case 2u: { coopStoreT(sum_10, &linear_tile_y[out_at], LINEAR_OUT); }
      case 3u: { coopStoreT(sum_11, &linear_tile_y[out_at], LINEAR_OUT); }
      default: {
        if linear_wide == 1u {
          switch matrix {
            case 4u: { coopStoreT(sum_20, &linear_tile_y[out_at], LINEAR_OUT); }
            case 5u: { coopStoreT(sum_21, &linear_tile_y[out_at], LINEAR_OUT); }
            case 6u: { coopStoreT(sum_30, &linear_tile_y[out_at], LINEAR_OUT); }
            default: { coopStoreT(sum_31, &linear_tile_y[out_at], LINEAR_OUT); }
          }
        }
      }
    }
    subgroupBarrier();
    // Two columns of every fourth row. Scales and residuals are read before anything is stored: drivers must take what
    // comes after a store for what was stored, and wait for each.
    let at = out_at + lane / 8u * LINEAR_OUT + pair_column;
    let row = row0 + part_row + matrix / 2u * 16u + lane / 8u;
    let column = column0 + part_column + matrix % 2u * 16u + pair_column;
    let bias = select(bias0, bias1, matrix % 2u == 1u);
    let scales = linear_row_scales(row);
    let r0 = linear_residual2(row, column);
    let r1 = linear_residual2(row + 4u, column);
    let r2 = linear_residual2(row + 8u, column);
    let r3 = linear_residual2(row + 12u, column);
    for (var i = 0u; i < 4u; i += 1u) {
      let sums = vec2<f32>(linear_tile_y[at + i * 4u * LINEAR_OUT],
                           linear_tile_y[at + i * 4u * LINEAR_OUT + pair_step]);
      let residual = select(select(r0, r1, i == 1u), select(r2, r3, i == 3u), i >= 2u);
      let scale = select(select(scales.x, scales.y, i == 1u), select(scales.z, scales.w, i == 3u), i >= 2u);
      linear_store_pair(row + i * 4u, column, pair_step, sums * scale, bias, residual);
    }
  }
}
