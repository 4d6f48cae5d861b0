// norm.wgsl with a residual for many rows of up to 512 or 1024 values, FAST: a subgroup of 32 has a row in its
// registers, reads it once and meets at no barrier.
//
// Formula and parameters: norm.wgsl. Bindings: group 0, 0 = x, or, with flag 64, 5 = x as float16 in the order 0 2 1 3
// (linear_matrix.wgsl), 1 = scale, 2 = bias (flag 2), 3 = y (flag 32: not stored), 4 = skip, whole rows, which repeat,
// 6 = their sum (flag 8), 7 = y as float16 (flag 16). Workgroup: 256 x 1 x 1, eight rows; those beyond a dispatch's
// width continue in y. Nothing is read after a store, for which drivers would wait: it might be what was stored.
enable subgroups;

override norm_each: u32 = 4u;  // quads of a row that an invocation has, most: 4 or 8

struct NormParams {
  rows: u32,
  cells: u32,      // quads of a row, at most 32 norm_each
  x_scale: f32,    // what x as float16 is multiplied by
  flags: u32,
  n: f32,
  epsilon: f32,
  up: f32,
  skip_rows: u32,
}

@group(0) @binding(0) var<storage, read_write> norm_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> norm_scale: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> norm_bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> norm_y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> norm_skip: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> norm_x_halves: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> norm_sum: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> norm_halves: array<vec2<u32>>;
var<immediate> norm_params: NormParams;

// Quad `i` of a row, the sum; 0 beyond the row. `skip`: where the other operand's row is.
fn norm_value(base: u32, skip: u32, i: u32) -> vec4<f32> {
  var v = vec4<f32>();
  if i < norm_params.cells {
    if (norm_params.flags & 64u) != 0u {
      let words = norm_x_halves[base + i];
      v = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)).xzyw * norm_params.x_scale;
    } else {
      v = norm_x[base + i];
    }
    v += norm_skip[skip + i];
  }
  return v;
}

// What a quad adds to the squares; 0 beyond the row.
fn norm_square(v: vec4<f32>, mean: f32, i: u32) -> vec4<f32> {
  let d = select(vec4<f32>(), v - mean, i < norm_params.cells);
  return d * d;
}

fn norm_total(v: vec4<f32>) -> f32 {
  var total = (v.x + v.y) + (v.z + v.w);
  total += subgroupShuffleXor(total, 16u);
  total += subgroupShuffleXor(total, 8u);
  total += subgroupShuffleXor(total, 4u);
  total += subgroupShuffleXor(total, 2u);
  total += subgroupShuffleXor(total, 1u);
  return total;
}

fn norm_normed(i: u32, v: vec4<f32>, mean: f32, inverse: f32) -> vec4<f32> {
  let at = min(i, norm_params.cells - 1u);
  var y = (v - mean) * inverse * norm_scale[at];
  if (norm_params.flags & 2u) != 0u {
    y += norm_bias[at];
  }
  return y;
}

fn norm_store(base: u32, i: u32, v: vec4<f32>, y: vec4<f32>) {
  let flags = norm_params.flags;
  if i < norm_params.cells {
    if (flags & 8u) != 0u {
      norm_sum[base + i] = v;
    }
    if (flags & 32u) == 0u {
      norm_y[base + i] = y;
    }
    if (flags & 16u) != 0u {
      let half = y * norm_params.up;
      norm_halves[base + i] = vec2<u32>(pack2x16float(half.xz), pack2x16float(half.yw));
    }
  }
}

@compute @workgroup_size(256, 1, 1)
fn skip_norm_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let row = (group.y * groups.x + group.x) * 8u + subgroup;
  let base = min(row, norm_params.rows - 1u) * norm_params.cells;
  var skip = base;
  if norm_params.skip_rows < norm_params.rows {
    skip = row % norm_params.skip_rows * norm_params.cells;
  }
  let v0 = norm_value(base, skip, lane);
  let v1 = norm_value(base, skip, lane + 32u);
  let v2 = norm_value(base, skip, lane + 64u);
  let v3 = norm_value(base, skip, lane + 96u);
  var v4 = vec4<f32>();
  var v5 = vec4<f32>();
  var v6 = vec4<f32>();
  var v7 = vec4<f32>();
  if norm_each > 4u {
    v4 = norm_value(base, skip, lane + 128u);
    v5 = norm_value(base, skip, lane + 160u);
    v6 = norm_value(base, skip, lane + 192u);
    v7 = norm_value(base, skip, lane + 224u);
  }
  var mean = 0.0;
  if (norm_params.flags & 1u) != 0u {
    mean = norm_total(((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7))) / norm_params.n;
  }
  var squares = (norm_square(v0, mean, lane) + norm_square(v1, mean, lane + 32u)) +
                (norm_square(v2, mean, lane + 64u) + norm_square(v3, mean, lane + 96u));
  if norm_each > 4u {
    squares += (norm_square(v4, mean, lane + 128u) + norm_square(v5, mean, lane + 160u)) +
               (norm_square(v6, mean, lane + 192u) + norm_square(v7, mean, lane + 224u));
  }
  let inverse = 1.0 / sqrt(norm_total(squares) / norm_params.n + norm_params.epsilon);
  let y0 = norm_normed(lane + 0u, v0, mean, inverse);
  let y1 = norm_normed(lane + 32u, v1, mean, inverse);
  let y2 = norm_normed(lane + 64u, v2, mean, inverse);
  let y3 = norm_normed(lane + 96u, v3, mean, inverse);
  var y4 = vec4<f32>();
  var y5 = vec4<f32>();
  var y6 = vec4<f32>();
  var y7 = vec4<f32>();
  if norm_each > 4u {
    y4 = norm_normed(lane + 128u, v4, mean, inverse);
    y5 = norm_normed(lane + 160u, v5, mean, inverse);
    y6 = norm_normed(lane + 192u, v6, mean, inverse);
    y7 = norm_normed(lane + 224u, v7, mean, inverse);
  }
  if row < norm_params.rows {
    norm_store(base, lane + 0u, v0, y0);
    norm_store(base, lane + 32u, v1, y1);
    norm_store(base, lane + 64u, v2, y2);
    norm_store(base, lane + 96u, v3, y3);
    if norm_each > 4u {
      norm_store(base, lane + 128u, v4, y4);
      norm_store(base, lane + 160u, v5, y5);
      norm_store(base, lane + 192u, v6, y6);
      norm_store(base, lane + 224u, v7, y7);
    }
  }
}
