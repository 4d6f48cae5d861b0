// Where the elements of a reduction lie: what those of floats and of integers share. The host merges dimensions until at
// most three are kept and three reduced; kept2 and dim2 are the sizes of the innermost ones, 0 = there is none outside it.

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
  kind: u32,    // reduce_int's alone
}

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
