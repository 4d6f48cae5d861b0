// What reductions of float32 share: the operator, and where elements lie. The host merges dimensions until at
// most three are kept and three reduced; kept2 and dim2 are the sizes of the innermost ones, 0 = there is
// none outside it.

override op: u32 = 0u;

struct ReduceParams {
  count: u32,   // results
  n: u32,       // elements of each, at least 1
  kept2: u32,
  kept1: u32,
  kept_step2: u32,
  kept_step1: u32,
  kept_step0: u32,
  dim2: u32,
  dim1: u32,
  step2: u32,
  step1: u32,
  step0: u32,
}

@group(0) @binding(0) var<storage, read_write> reduce_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> reduce_y: array<f32>;
var<immediate> reduce_params: ReduceParams;

fn reduce_place(i: u32, size2: u32, size1: u32, step2: u32, step1: u32, step0: u32) -> u32 {
  if size2 == 0u { return i * step2; }
  let rest = i / size2;
  let at = i % size2 * step2;
  if size1 == 0u { return at + rest * step1; }
  return at + rest % size1 * step1 + rest / size1 * step0;
}

// Where the elements of result i start, and element j of them from there.
fn reduce_base(i: u32) -> u32 {
  let p = reduce_params;
  return reduce_place(i, p.kept2, p.kept1, p.kept_step2, p.kept_step1, p.kept_step0);
}
fn reduce_element(j: u32) -> u32 {
  let p = reduce_params;
  return reduce_place(j, p.dim2, p.dim1, p.step2, p.step1, p.step0);
}

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
