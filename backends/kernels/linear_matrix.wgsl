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
//
// Where k is short that way out takes longer than the sums. Two kinds of products have one of their own (linear_end):
// LINEAR_END_STRAIGHT, x_scale given, no ending, one output, rows and columns multiples of 16: matrices are multiplied by
// x_scale, biases of their shape added, and they store themselves. LINEAR_END_HALVES, x_scale given, no residual, not
// gated, one output: y is written as float16 alone, times `epsilon`, into binding 4, of each four in the order 0 2 1 3
// (weight_matrix.wgsl); an invocation makes four neighbours at a time.

override linear_wide: u32 = 1u;  // 128 columns; 0: 64
override linear_end: u32 = 0u;   // LINEAR_END_*

const LINEAR_END_ANY: u32 = 0u;
const LINEAR_END_STRAIGHT: u32 = 1u;
const LINEAR_END_HALVES: u32 = 2u;

const LINEAR_ROW: u32 = 18u;  // vec4s of a row in workgroup memory: 64 float16, 8 more so that rows lie on other banks
const LINEAR_OUT: u32 = 20u;  // floats of a row on its way out

// Read only, which lets drivers fetch it as they fetch weights.
@group(0) @binding(0) var<storage, read> linear_x: array<vec4<u32>>;

var<workgroup> linear_tile_x: array<vec4<f16>, 2304>;
var<workgroup> linear_tile_w: array<vec4<f16>, 2304>;
var<workgroup> linear_tile_y: array<f32, 2560>;  // [subgroup][16][LINEAR_OUT]
// The same by fours; LINEAR_END_STRAIGHT: [16 columns][16][LINEAR_OUT], biases, in each row the same.
var<workgroup> linear_tile_y4: array<vec4<f32>, 640>;
var<workgroup> linear_tile_bias: array<vec4<f32>, 32>;

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

// Biases of columns `column` and `column + 1`, or of others where there are none.
fn linear_bias_pair(column: u32) -> vec2<f32> {
  var pair = vec2<f32>();
  if linear.has_bias != 0u {
    let last = linear.columns - 1u;
    pair = vec2<f32>(linear_bias[linear.first + min(column, last)], linear_bias[linear.first + min(column + 1u, last)]);
  }
  return pair;
}

// Stores what columns `column` and `column + 1` become.
fn linear_store_pair(row: u32, column: u32, sums: vec2<f32>, bias: vec2<f32>, residual: vec2<f32>) {
  if linear.ending >= LINEAR_GATED {
    linear_store_gated(row, column, sums.x, sums.y);
  } else if row < linear.rows && column < linear.columns {
    let at = linear.first + column;
    let y = vec2<f32>(linear_ending(sums.x + bias.x, residual.x), linear_ending(sums.y + bias.y, residual.y));
    linear_put(row, at, y.x);
    if column + 1u < linear.columns {
      linear_put(row, at + 1u, y.y);
    }
  }
}

// Biases of four columns from `column` on; 0 beyond the last one.
fn linear_bias_quad(column: u32) -> vec4<f32> {
  var bias = vec4<f32>();
  if linear.has_bias != 0u {
    let last = linear.columns - 1u;
    let at = linear.first + vec4<u32>(min(column, last), min(column + 1u, last), min(column + 2u, last),
                                      min(column + 3u, last));
    bias = vec4<f32>(linear_bias[at.x], linear_bias[at.y], linear_bias[at.z], linear_bias[at.w]);
  }
  return bias;
}

// math_gelu_erf but for the exponential, which is the device's own: what it makes is rounded to float16.
fn linear_gelu_erf_near(x: f32) -> f32 {
  let a = math_abs(x);
  let b = math_min(a * 0.707106769, 4.0);
  var q = fma(-5.53047312e-06, b, 7.94939042e-05);
  q = fma(q, b, -0.000473354507);
  q = fma(q, b, 0.00131486158);
  q = fma(q, b, 0.000283061818);
  q = fma(q, b, -0.0194732621);
  q = fma(q, b, 0.102903835);
  q = fma(q, b, 0.636595726);
  q = fma(q, b, 0.128380671);
  let rest = 0.5 * a * exp2(-1.44269504 * fma(q, b, b));
  return math_relu(x) - select(rest, 0.0, a > 5.65685425);
}

fn linear_ending_quad(y: vec4<f32>) -> vec4<f32> {
  if linear.ending == LINEAR_GELU_ERF {
    return vec4<f32>(linear_gelu_erf_near(y.x), linear_gelu_erf_near(y.y), linear_gelu_erf_near(y.z),
                     linear_gelu_erf_near(y.w));
  }
  if linear.ending == LINEAR_PLAIN {
    return y;
  }
  return vec4<f32>(linear_ending(y.x, 0.0), linear_ending(y.y, 0.0), linear_ending(y.z, 0.0), linear_ending(y.w, 0.0));
}

// Four columns from a multiple of four on.
fn linear_store_halves(row: u32, column: u32, y: vec4<f32>) {
  if row < linear.rows && column < linear.columns {
    let at = (row * linear.columns + column) / 4u * 2u;
    let half = y * linear.epsilon;
    linear_y2[at] = pack2x16float(half.xz);
    linear_y2[at + 1u] = pack2x16float(half.yw);
  }
}

// naga does not know that what subgroupAny gives is one for a subgroup.
@diagnostic(off, derivative_uniformity)
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
  // Biases come while the first blocks are on their way. Bindings that are not used are not there, and all must be.
  if linear_end == LINEAR_END_STRAIGHT {
    if linear.rows == 0u {
      linear_y[0] = linear_y1[0] + bitcast<f32>(linear_y2[0]);
    }
    let bias = linear_bias_quad(column0 + subgroup * 16u + lane % 4u * 4u);
    linear_tile_y4[(subgroup * 16u + lane / 4u) * (LINEAR_OUT / 4u) + lane % 4u] = bias;
    linear_tile_y4[(subgroup * 16u + lane / 4u + 8u) * (LINEAR_OUT / 4u) + lane % 4u] = bias;
  } else if linear_end == LINEAR_END_HALVES {
    if linear.rows == 0u {
      linear_y2[0] = bitcast<u32>(linear_y[0] + linear_y1[0]);
    }
    if t < 32u {
      linear_tile_bias[t] = linear_bias_quad(column0 + t * 4u);
    }
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
  if linear_end == LINEAR_END_STRAIGHT {
    let bias_at = part_column * (LINEAR_OUT / 4u);
    let bias_at1 = bias_at + 4u * LINEAR_OUT;
    let bias_0 = coopLoadT<coop_mat16x16<f32, C>>(&linear_tile_y4[bias_at], LINEAR_OUT / 4u);
    let bias_1 = coopLoadT<coop_mat16x16<f32, C>>(&linear_tile_y4[bias_at1], LINEAR_OUT / 4u);
    let width = linear.width0;
    let row = row0 + part_row;
    let column = column0 + part_column;
    let at = row * width + column;
    if subgroupAny(row < linear.rows) {
      if subgroupAny(column < linear.columns) {
        let y_00 = sum_00 * linear.x_scale + bias_0;
        let at_00 = at;
        coopStoreT(y_00, &linear_y[at_00], width);
      }
      if subgroupAny(column + 16u < linear.columns) {
        let y_01 = sum_01 * linear.x_scale + bias_1;
        let at_01 = at + 16u;
        coopStoreT(y_01, &linear_y[at_01], width);
      }
    }
    if subgroupAny(row + 16u < linear.rows) {
      if subgroupAny(column < linear.columns) {
        let y_10 = sum_10 * linear.x_scale + bias_0;
        let at_10 = at + 16u * width;
        coopStoreT(y_10, &linear_y[at_10], width);
      }
      if subgroupAny(column + 16u < linear.columns) {
        let y_11 = sum_11 * linear.x_scale + bias_1;
        let at_11 = at + 16u * width + 16u;
        coopStoreT(y_11, &linear_y[at_11], width);
      }
    }
    if linear_wide == 1u {
      if subgroupAny(row + 32u < linear.rows) {
        if subgroupAny(column < linear.columns) {
          let y_20 = sum_20 * linear.x_scale + bias_0;
          let at_20 = at + 32u * width;
          coopStoreT(y_20, &linear_y[at_20], width);
        }
        if subgroupAny(column + 16u < linear.columns) {
          let y_21 = sum_21 * linear.x_scale + bias_1;
          let at_21 = at + 32u * width + 16u;
          coopStoreT(y_21, &linear_y[at_21], width);
        }
      }
      if subgroupAny(row + 48u < linear.rows) {
        if subgroupAny(column < linear.columns) {
          let y_30 = sum_30 * linear.x_scale + bias_0;
          let at_30 = at + 48u * width;
          coopStoreT(y_30, &linear_y[at_30], width);
        }
        if subgroupAny(column + 16u < linear.columns) {
          let y_31 = sum_31 * linear.x_scale + bias_1;
          let at_31 = at + 48u * width + 16u;
          coopStoreT(y_31, &linear_y[at_31], width);
        }
      }
    }
  } else if linear_end == LINEAR_END_HALVES {
    let out_at = subgroup * 4u * LINEAR_OUT;
    let quad_at = out_at + lane / 4u * (LINEAR_OUT / 4u) + lane % 4u;
    for (var matrix = 0u; matrix < 4u + 4u * linear_wide; matrix += 1u) {
      subgroupBarrier();
      switch matrix {
        case 0u: { coopStoreT(sum_00, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
        case 1u: { coopStoreT(sum_01, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
        case 2u: { coopStoreT(sum_10, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
        case 3u: { coopStoreT(sum_11, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
        default: {
          if linear_wide == 1u {
            switch matrix {
              case 4u: { coopStoreT(sum_20, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
              case 5u: { coopStoreT(sum_21, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
              case 6u: { coopStoreT(sum_30, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
              default: { coopStoreT(sum_31, &linear_tile_y4[out_at], LINEAR_OUT / 4u); }
            }
          }
        }
      }
      subgroupBarrier();
      let row = row0 + part_row + matrix / 2u * 16u + lane / 4u;
      let column = part_column + matrix % 2u * 16u + lane % 4u * 4u;
      let bias = linear_tile_bias[column / 4u];
      let y0 = linear_ending_quad(linear_tile_y4[quad_at] * linear.x_scale + bias);
      let y1 = linear_ending_quad(linear_tile_y4[quad_at + 2u * LINEAR_OUT] * linear.x_scale + bias);
      linear_store_halves(row, column0 + column, y0);
      linear_store_halves(row + 8u, column0 + column, y1);
    }
  } else {
    let out_at = subgroup * 16u * LINEAR_OUT;
    let pair_column = lane % 8u * 2u;
    // Asked for once, not once a matrix.
    let bias0 = linear_bias_pair(column0 + part_column + pair_column);
    let bias1 = linear_bias_pair(column0 + part_column + pair_column + 16u);
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
                             linear_tile_y[at + i * 4u * LINEAR_OUT + 1u]);
        let residual = select(select(r0, r1, i == 1u), select(r2, r3, i == 3u), i >= 2u);
        let scale = select(select(scales.x, scales.y, i == 1u), select(scales.z, scales.w, i == 3u), i >= 2u);
        linear_store_pair(row + i * 4u, column, sums * scale, bias, residual);
      }
    }
  }
}
