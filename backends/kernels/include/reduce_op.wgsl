// What reductions of float32 share: the operator. Comes after include/reduce_place.wgsl.

override op: u32 = 0u;

@group(0) @binding(0) var<storage, read_write> reduce_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> reduce_y: array<f32>;

// Before anything is added: of the largest and smallest the first element.
fn reduce_start(first: f32) -> f32 {
  switch op {
    case 2u, 3u: { return first; }
    case 4u: { return 1.0; }
    default: { return 0.0; }
  }
}

// What one element adds.
fn reduce_term(v: f32, top: f32) -> f32 {
  switch op {
    case 5u, 7u: { return v * v; }
    case 6u: { return math_abs(v); }
    case 9u: { return math_exp(v - top); }
    default: { return v; }
  }
}

fn reduce_join(a: f32, b: f32) -> f32 {
  switch op {
    case 2u: { return larger(a, b); }
    case 3u: { return smaller(a, b); }
    case 4u: { return a * b; }
    default: { return a + b; }
  }
}

fn reduce_finish(v: f32, top: f32) -> f32 {
  switch op {
    case 1u: { return v / f32(reduce_params.n); }
    case 7u: { return math_sqrt(v); }
    case 8u: { return math_log(v); }
    case 9u: { return select(math_log(v) + top, top, math_abs(top) > 3.4028234e38); }
    default: { return v; }
  }
}
