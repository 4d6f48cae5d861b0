// Where element i of a dense result lies in an input that is walked with any steps (Transpose, Slice, Expand,
// Tile are all this). The host merges dimensions until at most six remain; dim5 is the size of the innermost
// one; 0 = there is none outside it. Steps may be negative, as two's complement.

struct StridedParams {
  count: u32,  // elements of the result in this dispatch
  first: u32,  // the first of them
  x_first: u32, // where it lies in the input
  kind: u32,   // of the kernel
  dim5: u32,
  dim4: u32,
  dim3: u32,
  dim2: u32,
  dim1: u32,
  step5: u32,
  step4: u32,
  step3: u32,
  step2: u32,
  step1: u32,
  step0: u32,
}

var<immediate> strided_params: StridedParams;

fn strided_place(i: u32) -> u32 {
  var rest = i;
  var at = strided_params.x_first;
  if strided_params.dim5 == 0u { return at + rest * strided_params.step5; }
  at += rest % strided_params.dim5 * strided_params.step5;
  rest /= strided_params.dim5;
  if strided_params.dim4 == 0u { return at + rest * strided_params.step4; }
  at += rest % strided_params.dim4 * strided_params.step4;
  rest /= strided_params.dim4;
  if strided_params.dim3 == 0u { return at + rest * strided_params.step3; }
  at += rest % strided_params.dim3 * strided_params.step3;
  rest /= strided_params.dim3;
  if strided_params.dim2 == 0u { return at + rest * strided_params.step2; }
  at += rest % strided_params.dim2 * strided_params.step2;
  rest /= strided_params.dim2;
  if strided_params.dim1 == 0u { return at + rest * strided_params.step1; }
  at += rest % strided_params.dim1 * strided_params.step1;
  return at + rest / strided_params.dim1 * strided_params.step0;
}
