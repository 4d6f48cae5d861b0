enable f16;
enable wgpu_cooperative_matrix;
// Linear of many rows by cooperative matrices (numerics FAST): float16 products, float32 sums. Four subgroups make a tile
// of 128 x 128 outputs, each a quarter; or, where few such tiles would leave a device idle, of 64 x 64, and another four
// take every other block along k. A block of 32 goes through workgroup memory, x as it lies (linear_half.wgsl), weights
// decoded (weight_matrix.wgsl); what the next step needs is asked for before this one is multiplied.
//
// Formula, outputs, parameters: include/linear.wgsl, but x is what linear_half.wgsl writes, and x_stride counts its
// vec4s of words. Workgroup: 128 or 256 invocations, subgroups of 32; x of the grid goes over columns, y over rows, in
// tiles.
//
// Nothing reaches the elements of a cooperative matrix: sums go out through workgroup memory, a few matrices at a time.
// naga has no arrays of matrices: sum_RC is row R, column C of a subgroup's.

override linear_side: u32 = 4u;  // matrices of a subgroup's quarter, each way: 4, or 2
override linear_invocations: u32 = 128u;  // 512 / linear_side

const LINEAR_ROW: u32 = 10u;  // vec4s of a row in workgroup memory: 32 float16, 8 more so that rows lie on other banks

// Read only, which lets drivers fetch it as they fetch weights.
@group(0) @binding(0) var<storage, read> linear_x: array<vec4<u32>>;

var<workgroup> linear_tile_x: array<vec4<f16>, 1280>;  // [four subgroups' own][row]
var<workgroup> linear_tile_w: array<vec4<f16>, 1280>;  // [four subgroups' own][column]
var<workgroup> linear_tile_y: array<f32, 2560>;        // [subgroup][16 rows of one or two matrices, and 4 more]

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
  return bitcast<f32>(linear_x[linear.rows * linear.x_stride + (row >> 2u)][row & 3u]);
}

@compute @workgroup_size(linear_invocations, 1, 1)
fn linear_matrix(@builtin(local_invocation_index) invocation: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let teams = 4u / linear_side;  // of four subgroups
  let team = invocation / 128u;
  let t = invocation % 128u;
  let part = linear_side * 16u;
  let row0 = group.y * part * 2u;
  let column0 = group.x * part * 2u;
  let quarter = t / 32u;
  let part_row = (quarter / 2u) * part;
  let part_column = (quarter % 2u) * part;
  // What this invocation brings: eight values of x of two or four rows; a column's block, or half of it.
  let last_row = linear.rows - 1u;
  let last_block = linear.blocks - 1u;
  let x_row = row0 + t / 4u;
  let x_at0 = min(x_row, last_row) * linear.x_stride + t % 4u;
  let x_at1 = min(x_row + 32u, last_row) * linear.x_stride + t % 4u;
  let x_at2 = min(x_row + 64u, last_row) * linear.x_stride + t % 4u;
  let x_at3 = min(x_row + 96u, last_row) * linear.x_stride + t % 4u;
  let own = team * part * 2u * LINEAR_ROW;
  let x_to = own + (t / 4u) * LINEAR_ROW + (t % 4u) * 2u;
  let w_half = t % teams;
  let w_at = min(column0 + t / teams, linear.columns - 1u) * linear.blocks;
  let w_to = own + (t / teams) * LINEAR_ROW + w_half * 4u;
  let a_at = own + part_row * LINEAR_ROW;
  let b_at = own + part_column * LINEAR_ROW;
  var sum_00 = coop_mat16x16<f32, C>();
  var sum_01 = coop_mat16x16<f32, C>();
  var sum_02 = coop_mat16x16<f32, C>();
  var sum_03 = coop_mat16x16<f32, C>();
  var sum_10 = coop_mat16x16<f32, C>();
  var sum_11 = coop_mat16x16<f32, C>();
  var sum_12 = coop_mat16x16<f32, C>();
  var sum_13 = coop_mat16x16<f32, C>();
  var sum_20 = coop_mat16x16<f32, C>();
  var sum_21 = coop_mat16x16<f32, C>();
  var sum_22 = coop_mat16x16<f32, C>();
  var sum_23 = coop_mat16x16<f32, C>();
  var sum_30 = coop_mat16x16<f32, C>();
  var sum_31 = coop_mat16x16<f32, C>();
  var sum_32 = coop_mat16x16<f32, C>();
  var sum_33 = coop_mat16x16<f32, C>();
  var x0 = linear_fetch_x(x_at0 + min(team, last_block) * 4u, team <= last_block);
  var x1 = linear_fetch_x(x_at1 + min(team, last_block) * 4u, team <= last_block);
  var x2 = vec4<u32>();
  var x3 = vec4<u32>();
  var w0 = weight_packed(w_at + min(team, last_block), w_half);
  var w1 = WeightPacked();
  if linear_side == 4u {
    x2 = linear_fetch_x(x_at2, true);
    x3 = linear_fetch_x(x_at3, true);
    w1 = weight_packed(w_at, 1u);
  }
  for (var block = team; block < linear.blocks + team; block += teams) {
    workgroupBarrier();
    linear_keep_x(x_to, x0);
    linear_keep_x(x_to + 32u * LINEAR_ROW, x1);
    linear_keep_w(w_to, w0);
    if linear_side == 4u {
      linear_keep_x(x_to + 64u * LINEAR_ROW, x2);
      linear_keep_x(x_to + 96u * LINEAR_ROW, x3);
      linear_keep_w(w_to + 4u, w1);
    }
    workgroupBarrier();
    // Beyond the last block that one again, times zero.
    let is_there = block + teams <= last_block;
    let next = min(block + teams, last_block);
    x0 = linear_fetch_x(x_at0 + next * 4u, is_there);
    x1 = linear_fetch_x(x_at1 + next * 4u, is_there);
    w0 = weight_packed(w_at + next, w_half);
    if linear_side == 4u {
      x2 = linear_fetch_x(x_at2 + next * 4u, is_there);
      x3 = linear_fetch_x(x_at3 + next * 4u, is_there);
      w1 = weight_packed(w_at + next, 1u);
    }
    for (var k = 0u; k < 8u; k += 4u) {
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k], LINEAR_ROW);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k + 16u * LINEAR_ROW], LINEAR_ROW);
      let b0 = coopLoad<coop_mat16x16<f16, B>>(&linear_tile_w[b_at + k], LINEAR_ROW);
      let b1 = coopLoad<coop_mat16x16<f16, B>>(&linear_tile_w[b_at + k + 16u * LINEAR_ROW], LINEAR_ROW);
      sum_00 = coopMultiplyAdd(a0, b0, sum_00);
      sum_01 = coopMultiplyAdd(a0, b1, sum_01);
      sum_10 = coopMultiplyAdd(a1, b0, sum_10);
      sum_11 = coopMultiplyAdd(a1, b1, sum_11);
      if linear_side == 4u {
        let a2 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k + 32u * LINEAR_ROW], LINEAR_ROW);
        let a3 = coopLoadT<coop_mat16x16<f16, A>>(&linear_tile_x[a_at + k + 48u * LINEAR_ROW], LINEAR_ROW);
        let b2 = coopLoad<coop_mat16x16<f16, B>>(&linear_tile_w[b_at + k + 32u * LINEAR_ROW], LINEAR_ROW);
        let b3 = coopLoad<coop_mat16x16<f16, B>>(&linear_tile_w[b_at + k + 48u * LINEAR_ROW], LINEAR_ROW);
        sum_02 = coopMultiplyAdd(a0, b2, sum_02);
        sum_03 = coopMultiplyAdd(a0, b3, sum_03);
        sum_12 = coopMultiplyAdd(a1, b2, sum_12);
        sum_13 = coopMultiplyAdd(a1, b3, sum_13);
        sum_20 = coopMultiplyAdd(a2, b0, sum_20);
        sum_21 = coopMultiplyAdd(a2, b1, sum_21);
        sum_22 = coopMultiplyAdd(a2, b2, sum_22);
        sum_23 = coopMultiplyAdd(a2, b3, sum_23);
        sum_30 = coopMultiplyAdd(a3, b0, sum_30);
        sum_31 = coopMultiplyAdd(a3, b1, sum_31);
        sum_32 = coopMultiplyAdd(a3, b2, sum_32);
        sum_33 = coopMultiplyAdd(a3, b3, sum_33);
      }
    }
  }
  let out_columns = linear_side * 8u;  // of one or two matrices
  let out_row = out_columns + 4u;
  let out_at = (team * 4u + quarter) * 16u * out_row;
  let out_at2 = out_at + 16u;
  let lane = t % 32u + team * 32u;
  let pairs = out_columns / 2u;
  for (var strip = 0u; strip < linear_side * 2u; strip += 1u) {
    workgroupBarrier();
    if linear_side == 4u {
      switch strip {
        case 0u: {
          coopStoreT(sum_00, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_01, &linear_tile_y[out_at2], out_row);
        }
        case 1u: {
          coopStoreT(sum_02, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_03, &linear_tile_y[out_at2], out_row);
        }
        case 2u: {
          coopStoreT(sum_10, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_11, &linear_tile_y[out_at2], out_row);
        }
        case 3u: {
          coopStoreT(sum_12, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_13, &linear_tile_y[out_at2], out_row);
        }
        case 4u: {
          coopStoreT(sum_20, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_21, &linear_tile_y[out_at2], out_row);
        }
        case 5u: {
          coopStoreT(sum_22, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_23, &linear_tile_y[out_at2], out_row);
        }
        case 6u: {
          coopStoreT(sum_30, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_31, &linear_tile_y[out_at2], out_row);
        }
        default: {
          coopStoreT(sum_32, &linear_tile_y[out_at], out_row);
          coopStoreT(sum_33, &linear_tile_y[out_at2], out_row);
        }
      }
    } else {
      switch strip {
        case 0u: { coopStoreT(sum_00, &linear_tile_y[out_at], out_row); }
        case 1u: { coopStoreT(sum_01, &linear_tile_y[out_at], out_row); }
        case 2u: { coopStoreT(sum_10, &linear_tile_y[out_at], out_row); }
        default: { coopStoreT(sum_11, &linear_tile_y[out_at], out_row); }
      }
    }
    workgroupBarrier();
    let column = column0 + part_column + (strip % 2u) * out_columns + lane % pairs * 2u;
    for (var r = lane / pairs; r < 16u; r += 32u * teams / pairs) {
      let at = (quarter * 16u + r) * out_row + lane % pairs * 2u;
      var sums = vec2<f32>(linear_tile_y[at], linear_tile_y[at + 1u]);
      if linear_side == 2u {
        sums += vec2<f32>(linear_tile_y[at + 64u * out_row], linear_tile_y[at + 64u * out_row + 1u]);
      }
      let row = row0 + part_row + strip / 2u * 16u + r;
      linear_store2(row, column, sums * linear_row_scale(min(row, last_row)));
    }
  }
}
